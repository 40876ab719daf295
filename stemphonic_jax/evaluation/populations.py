"""How far songs are from real ones in what a judge hears of them, each song a set of windows.

Three distances of the same embeddings, averaged over views, which are stem types or the mix alone:
that of Fréchet, as papers print it; the same for infinitely many songs; and that of kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float

from stemphonic_jax.evaluation import frechet, kernel, scores
from stemphonic_jax.evaluation.scores import Score

RESAMPLES = 200  # of an eigenvalue problem per view
MOST = 20_000  # windows of a view that are compared by the kernel, each with each
FEWEST = 12  # songs of a view from which its line to infinitely many can be told

Windows = Float[np.ndarray, "W D"]


@dataclass(frozen=True, eq=False)
class Views:
  """Windows of `songs` and of real ones by view, of each song in their order, and how it went.

  `made[view][i]` is [W, D] of song i, W = 0 where it has nothing to show.
  """

  made: Mapping[str, Sequence[Windows]]
  real: Mapping[str, Sequence[Windows]]

  def enough(self, what: str) -> Views:
    """The views that have more windows than dimensions on both sides; the log names the others.

    With fewer the covariance has no full rank, and the distance says more of n than of the sound.
    """
    kept = [v for v in self.made if v in self.real and min(_counts(self, v)) > _size(self, v)]
    if left := sorted(self.made.keys() - set(kept)):
      logging.warning(
        "%s is of %s; left out, for there are too few windows: %s",
        what, ", ".join(kept) or "nothing", ", ".join(left),
      )  # fmt: skip
    return Views({v: self.made[v] for v in kept}, {v: self.real[v] for v in kept})


def distances(views: Views, mode: str = "default") -> tuple[dict[str, Score], dict[str, Any]]:
  """The scores "fad", "fad_inf" and "kad", and of each view the values and what they are of.

  Intervals are over songs, of which all views are drawn together; they are moved to the value, as
  resampling makes distances larger. `fad_inf` has none, and is over views of twelve songs or more.
  NaN where there is no view.
  """
  if not views.made:
    return dict.fromkeys(("fad", "fad_inf", "kad"), scores.NOTHING), {}
  detail: dict[str, dict[str, Any]] = {}
  fits, sums = {}, {}
  pairs_of_a_song = mode != "default"
  for view in views.made:
    made, real = (_nonempty(side[view]) for side in (views.made, views.real))
    fits[view] = _Fit(views.made[view], frechet.fitted(np.concatenate(real)))
    sums[view] = _Sums(views.made[view], real, pairs_of_a_song)
    value = frechet.distance(np.concatenate(made), np.concatenate(real), mode)
    detail[view] = {
      "fad": value,
      "fad_inf": _infinite(made, real),
      "kad": sums[view](np.ones(len(views.made[view]))),
      "songs": [len(made), len(real)],
      "windows": list(_counts(views, view)),
    }
  songs = len(next(iter(views.made.values())))

  def over(of: Mapping[str, Any], name: str) -> Score:
    def statistic(numbers: Sequence[int]) -> float:
      weights = np.bincount(numbers, minlength=songs).astype(np.float64)
      found = np.array([one(weights) for one in of.values()])
      return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else np.nan

    return _at(scores.bootstrap(statistic, range(songs), resamples=RESAMPLES, centred=True),
               _mean(detail, name))  # fmt: skip

  infinite = _mean(detail, "fad_inf")
  count = songs if np.isfinite(infinite) else 0
  return {
    "fad": over(fits, "fad"),
    "fad_inf": Score(infinite, np.nan, np.nan, count),
    "kad": over(sums, "kad"),
  }, detail


class _Fit:
  """The Fréchet distance of songs by how often each is taken."""

  def __init__(self, songs: Sequence[Windows], real: frechet.Gaussian):
    self.middle, _ = self.real = real
    self.x = np.concatenate(songs).astype(np.float64) - self.middle
    self.song = np.repeat(np.arange(len(songs)), [len(song) for song in songs])

  def __call__(self, weights: Float[np.ndarray, "S"]) -> float:
    each = weights[self.song]
    count = each.sum()
    if count <= self.x.shape[1]:
      return np.nan
    mean = each @ self.x / count
    products = (self.x * each[:, None]).T @ self.x
    covariance = (products - count * np.outer(mean, mean)) / (count - 1)
    return frechet.frechet(mean + self.middle, covariance, *self.real)


class _Sums:
  """The kernel distance of songs by how often each is taken."""

  def __init__(self, songs: Sequence[Windows], real: Sequence[Windows], pairs_of_a_song: bool):
    self.there = [i for i, song in enumerate(songs) if len(song)]
    made, real = _thinned([songs[i] for i in self.there]), _thinned(real)
    width = kernel.bandwidth(np.concatenate(real))
    self.within = kernel.kernel_sums(made, made, width), kernel.kernel_sums(real, real, width)
    self.across = kernel.kernel_sums(made, real, width)
    self.counts = np.array([len(song) for song in made]), np.array([len(song) for song in real])
    self.pairs_of_a_song = pairs_of_a_song

  def __call__(self, weights: Float[np.ndarray, "S"]) -> float:
    w = weights[self.there]
    if not w.any():
      return np.nan
    within = self.within[0] * np.outer(w, w), self.within[1]
    counts = self.counts[0] * w, self.counts[1]
    across = self.across * w[:, None]
    return kernel.kernel_distance(within, across, counts, self.pairs_of_a_song)


def _thinned(songs: Sequence[Windows]) -> list[Windows]:
  """Every other window of each song, or fewer, where pairs of all would take minutes."""
  step = -(-sum(map(len, songs)) // MOST)
  return [song[::step] for song in songs]


def _infinite(made: Sequence[Windows], real: Sequence[Windows]) -> float:
  """NaN where a third of the songs would be too few."""
  windows = min(sum(map(len, side)) for side in (made, real))
  if min(len(made), len(real)) < FEWEST or windows < 3 * (made[0].shape[1] + 1):
    return np.nan

  def of(ours: Sequence[int], theirs: Sequence[int]) -> float:
    return frechet.distance(
      np.concatenate([made[i] for i in ours]), np.concatenate([real[i] for i in theirs])
    )

  return frechet.at_infinity(of, len(made), len(real))


def _nonempty(songs: Sequence[Windows]) -> list[Windows]:
  return [song for song in songs if len(song)]


def _counts(views: Views, view: str) -> tuple[int, int]:
  made, real = (sum(map(len, side[view])) for side in (views.made, views.real))
  return made, real


def _size(views: Views, view: str) -> int:
  return views.real[view][0].shape[1]


def _mean(detail: Mapping[str, Mapping[str, Any]], name: str) -> float:
  found = np.array([of[name] for of in detail.values()])
  return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else np.nan


def _at(score: Score, value: float) -> Score:
  """The score moved to a value that other code has told more exactly."""
  apart = value - score.value
  return Score(value, score.low + apart, score.high + apart, score.n)

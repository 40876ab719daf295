"""How far songs are from real ones in what a judge hears of them, each song a set of windows.

Three distances of the same embeddings, averaged over views, which are stem types or the mix alone:
that of Fréchet, as papers print it; the same for infinitely many songs; and that of kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float

from stemphonic_jax.evaluation import scores
from stemphonic_jax.evaluation.distances import frechet, kernel
from stemphonic_jax.evaluation.scores import Score

RESAMPLES = 200  # of an eigenvalue problem per view
CHUNK = 64  # songs whose moments are in memory at once
MOST = 10_000  # windows of a view that are compared by the kernel, each with each
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
  songs = len(next(iter(views.made.values())))
  drawn = _draws(songs)
  detail: dict[str, dict[str, Any]] = {}
  resampled: dict[str, list[Float[np.ndarray, "R"]]] = {"fad": [], "kad": []}
  for view, made in views.made.items():
    ours, theirs = _nonempty(made), _nonempty(views.real[view])
    there = np.array([len(song) > 0 for song in made])
    target = frechet.fitted(np.concatenate(theirs))
    to_target = frechet.distance_to(*target)
    kad = _kernel_distances(ours, theirs, mode != "default")
    detail[view] = {
      "fad": frechet.distance(np.concatenate(ours), np.concatenate(theirs), mode),
      "fad_inf": _infinite(ours, theirs),
      "kad": kad(np.ones(len(ours))),
      "songs": [len(ours), len(theirs)],
      "windows": list(_counts(views, view)),
    }
    fits = _gaussians(ours, drawn[:, there], target[0])
    resampled["fad"].append(np.array([np.nan if fit is None else to_target(*fit) for fit in fits]))
    resampled["kad"].append(np.array([kad(weights) for weights in drawn[:, there]]))
  found = {
    name: scores.within(_mean(detail, name), _means(values), songs, centred=True)
    for name, values in resampled.items()
  }
  infinite = _mean(detail, "fad_inf")
  count = songs if np.isfinite(infinite) else 0
  return found | {"fad_inf": Score(infinite, np.nan, np.nan, count)}, detail


def _draws(songs: int, seed: int = 0) -> Float[np.ndarray, "R S"]:
  """How often each song is taken when they are drawn again, with replacement; none of very few."""
  resamples = RESAMPLES if songs >= scores.FEWEST else 0
  drawn = np.random.default_rng(seed).integers(songs, size=(resamples, songs))
  return np.stack([np.bincount(row, minlength=songs) for row in drawn] or [np.ones(songs)]) + 0.0


def _gaussians(
  songs: Sequence[Windows], weights: Float[np.ndarray, "R S"], middle: Float[np.ndarray, "D"]
) -> Iterator[frechet.Gaussian | None]:
  """The Gaussians of songs by how often each is taken, None where they have too few windows.

  Moments of a few songs are in memory at a time, about a `middle`, so that no digit is lost.
  """
  total = 0.0
  for first in range(0, len(songs), CHUNK):
    some = songs[first : first + CHUNK]
    moments = np.stack([frechet.moments(np.asarray(song, np.float64) - middle) for song in some])
    total = total + weights[:, first : first + CHUNK] @ moments
  for row in total:
    if row[0] <= len(middle):
      yield None
      continue
    mean, covariance = frechet.gaussian(row)
    yield mean + middle, covariance


def _kernel_distances(
  songs: Sequence[Windows], real: Sequence[Windows], pairs_of_a_song: bool
) -> Callable[[Float[np.ndarray, "S"]], float]:
  """What gives the kernel distance of songs by how often each is taken."""
  width = kernel.bandwidth(np.concatenate(real))
  made, real = _thinned(songs), _thinned(real)
  own, theirs = kernel.kernel_sums(made, made, width), kernel.kernel_sums(real, real, width)
  across = kernel.kernel_sums(made, real, width)
  counts = np.array([len(song) for song in made]), np.array([len(song) for song in real])

  def distance(w: Float[np.ndarray, "S"]) -> float:
    if not w.any():
      return np.nan
    within = own * np.outer(w, w), theirs
    taken = counts[0] * w, counts[1]
    return kernel.kernel_distance(within, across * w[:, None], taken, pairs_of_a_song)

  return distance


def _thinned(songs: Sequence[Windows]) -> list[Windows]:
  """Every other window of each song, or fewer, where pairs of all would take minutes."""
  step = -(-sum(map(len, songs)) // MOST)
  return [song[::step] for song in songs]


def _infinite(made: Sequence[Windows], real: Sequence[Windows]) -> float:
  """NaN where a third of the songs would be too few."""
  windows = min(sum(map(len, side)) for side in (made, real))
  if min(len(made), len(real)) < FEWEST or windows < 3 * (made[0].shape[1] + 1):
    return np.nan

  middle = real[0].mean(axis=0)

  def of(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> list[float]:
    sides = (
      _gaussians(side, np.stack([np.isin(np.arange(len(side)), some) + 0.0 for some in drawn]),
                 middle)
      for side, drawn in ((made, ours), (real, theirs))
    )  # fmt: skip
    return [
      np.nan if one is None or other is None else frechet.frechet(*one, *other)
      for one, other in zip(*sides, strict=True)
    ]

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


def _means(values: Sequence[Float[np.ndarray, "R"]]) -> list[float]:
  """The mean over views of each resample, of those that gave something."""
  return [
    float(row[np.isfinite(row)].mean()) if np.isfinite(row).any() else np.nan
    for row in np.stack(values, axis=1)
  ]

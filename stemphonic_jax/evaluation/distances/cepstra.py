"""How far a set of sounds is from real ones in mel cepstra, which need no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft
from jaxtyping import Float

from stemphonic_jax.evaluation import scores
from stemphonic_jax.evaluation.distances.frechet import distance_to, gaussian, moments
from stemphonic_jax.evaluation.features import FRAMES_PER_SECOND, SongFeatures
from stemphonic_jax.evaluation.scores import Score

CEPSTRA = 16
SIZE = 2 * CEPSTRA  # of an embedding
FRAMES = round(FRAMES_PER_SECOND)  # of a window, one second
RANGE_DB = 80.0
LEAST = 4 * SIZE  # windows, for a covariance of full rank
RESAMPLES = 200  # of an eigenvalue problem per type

Windows = Float[np.ndarray, "W 32"]


def embed(bands: Float[np.ndarray, "F M"]) -> Windows:
  """Mean and spread of 16 mel cepstra in each second that sounds, of a sound at a common level."""
  bands = np.asarray(bands, np.float32)
  power = (10.0 ** (bands / 10.0)).sum(axis=1)
  level = 10.0 * np.log10(max(power.mean(), 1e-9))
  count = len(bands) // FRAMES
  shaped = np.maximum(bands - level, -RANGE_DB)[: count * FRAMES].reshape(
    count, FRAMES, bands.shape[1]
  )
  cepstra = scipy.fft.dct(shaped, norm="ortho")[:, :, :CEPSTRA]
  heard = power[: count * FRAMES].reshape(count, FRAMES).mean(axis=1) > power.mean() * 1e-4
  return np.concatenate([cepstra.mean(axis=1), cepstra.std(axis=1)], axis=1)[heard]


def stem_distance(songs: Sequence[SongFeatures], reference: Sequence[SongFeatures]) -> Score:
  """Fréchet distance of stems to real stems of their type, averaged over types (Sec. 4.4).

  Of mel cepstra instead of VGGish, in units of the real stems' spread: not numbers of the paper.
  It grows where songs are few, so compare sets of like size. It does not see whether stems fit.
  """
  kinds = sorted({stem.type for song in reference for stem in song.stems.values()})

  def of(kind: str) -> Callable[[SongFeatures], Windows]:
    def windows(song: SongFeatures) -> Windows:
      found = [embed(stem.bands) for stem in song.stems.values() if stem.type == kind]
      return np.concatenate([np.empty((0, SIZE)), *found])

    return windows

  return _score(songs, reference, [of(kind) for kind in kinds])


def mix_distance(songs: Sequence[SongFeatures], reference: Sequence[SongFeatures]) -> Score:
  """Fréchet distance of mixes to real mixes, as `stem_distance`; the balance of stems counts."""
  return _score(songs, reference, [lambda song: embed(song.bands)])


def _score(
  songs: Sequence[SongFeatures],
  reference: Sequence[SongFeatures],
  views: Sequence[Callable[[SongFeatures], Windows]],
) -> Score:
  """The distance averaged over those `views` of which songs and reference have enough windows."""
  found, targets = [], []
  for view in views:
    real = np.concatenate([view(song) for song in reference] or [np.empty((0, SIZE))])
    made = [view(song) for song in songs]
    if len(real) >= LEAST and sum(map(len, made)) >= LEAST:
      scale = np.maximum(real.std(axis=0), 1e-6)
      targets.append(distance_to(*gaussian(moments(real / scale))))
      found.append([moments(some / scale) for some in made])
  if not found:
    return scores.NOTHING
  rows = np.stack(found, axis=1).reshape(len(songs), -1)

  def distance(numbers: Sequence[int]) -> float:
    totals = np.bincount(numbers, minlength=len(songs)) @ rows
    sums = totals.reshape(len(targets), -1)
    enough = [(s, to) for s, to in zip(sums, targets, strict=True) if s[0] >= LEAST]
    return float(np.mean([to(*gaussian(s)) for s, to in enough])) if enough else np.nan

  return scores.bootstrap(distance, range(len(songs)), resamples=RESAMPLES, centred=True)

"""Does a stem sound like its type?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from stemphonic_jax.evaluation import scores
from stemphonic_jax.evaluation.features import FRAMES_PER_SECOND, SongFeatures, StemFeatures
from stemphonic_jax.evaluation.scores import Score

RANGE_DB = 80.0  # below its loudest band a stem is as good as silent
LEAST = round(0.5 * FRAMES_PER_SECOND)  # frames


def identity(songs: Sequence[SongFeatures], reference: Sequence[SongFeatures]) -> Score:
  """The share of stems whose nearest real stem, of all those in `reference`, is of their type.

  Nearest in `timbre`, standardised. A silent stem is of no type, so silence is not rewarded; stems
  of types that the reference lacks do not count. Chance is about the share of the type in the
  reference. It does not see what is played.
  """
  known = [(s.type, timbre(s)) for song in reference for s in song.stems.values()]
  kinds = np.array([kind for kind, heard in known if heard is not None])
  real = np.array([heard for _, heard in known if heard is not None])
  if not len(real):
    return scores.NOTHING
  mean, spread = real.mean(axis=0), np.maximum(real.std(axis=0), 1e-3)
  real = (real - mean) / spread

  def right(stem: StemFeatures) -> bool | None:
    if stem.type not in kinds:
      return None
    heard = timbre(stem)
    if heard is None:
      return False
    away = np.square((heard - mean) / spread - real).sum(axis=1)
    return bool(kinds[away.argmin()] == stem.type)

  judged = [[right(stem) for stem in song.stems.values()] for song in songs]
  return scores.mean([one for one in some if one is not None] for some in judged)


def timbre(stem: StemFeatures) -> Float32[np.ndarray, "3M"] | None:
  """Each mel band's mean below the stem's level, spread and mean rise, in dB, where it sounds.

  None where it sounds for less than half a second.
  """
  bands = np.asarray(stem.bands, np.float32)
  bands = np.maximum(bands, bands.max() - RANGE_DB)
  rise = np.maximum(np.diff(bands, axis=0, prepend=bands[:1]), 0.0)[stem.sounding]
  bands = bands[stem.sounding]
  if len(bands) < LEAST:
    return None
  level = 10.0 * np.log10((10.0 ** (bands / 10.0)).sum(axis=1).mean())
  return np.concatenate([bands.mean(axis=0) - level, bands.std(axis=0), rise.mean(axis=0)])

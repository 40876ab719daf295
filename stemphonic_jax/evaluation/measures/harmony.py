"""Do pitched stems of a song sound notes that belong together, and at the right moment?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32

from stemphonic_jax.evaluation.features import (
  CHROMA_HOP,
  CHROMA_PER_SECOND,
  HOP,
  SongFeatures,
  StemFeatures,
)
from stemphonic_jax.evaluation.measures import pairs
from stemphonic_jax.evaluation.measures.lags import Track, in_time, track
from stemphonic_jax.evaluation.scores import Score

UNPITCHED = ("drums", "percussion", "SFX")
REACH, APART = 8.0, 0.5  # seconds to slide, several chords, and less than one
LEAST = round(2.0 * CHROMA_PER_SECOND)  # frames in which both sound

Notes = tuple[Float32[np.ndarray, "P 12"], Bool[np.ndarray, "P"]]


def harmony(songs: Sequence[SongFeatures]) -> Score:
  """AUC of the correlation between pitch classes of two stems, frame by frame where both sound.

  Of true pairs against stems of other songs, in any key: a common key alone wins many comparisons
  (see `chords`). It does not see octaves, nor what drums, percussion and SFX do.
  """

  def agree(a: Notes, b: Notes, song: SongFeatures) -> float:
    frames = min(len(a[0]), len(b[0]))
    both = a[1][:frames] & b[1][:frames]
    if both.sum() < LEAST:
      return np.nan
    return float((a[0][:frames] * b[0][:frames])[both].sum() / both.sum())

  return pairs.auc(songs, notes, agree)


def chords(songs: Sequence[SongFeatures]) -> Score:
  """AUC of how much better pitch classes of two stems agree than with one slid by up to 8 s.

  Stems that share a key and not the chords, or the chords and not the time, are at chance. It does
  not see whether the key is right, and stems that stay on one chord say nothing.
  """
  lengths = [len(stem.chroma) for song in songs for stem in song.stems.values()]
  reach, apart = round(REACH * CHROMA_PER_SECOND), round(APART * CHROMA_PER_SECOND)
  size = max(lengths, default=0) + reach

  def hear(stem: StemFeatures) -> Track | None:
    heard = notes(stem)
    return heard and track(*heard, size)

  def agree(a: Track, b: Track, song: SongFeatures) -> float:
    return in_time(a, b, reach=reach, near=0, apart=apart, least=LEAST)

  return pairs.auc(songs, hear, agree)


def notes(stem: StemFeatures) -> Notes | None:
  """Pitch classes of a pitched stem, each frame centred and of length 1, and when it sounds.

  None of an unpitched stem, and where it sounds for less than two seconds.
  """
  frames = np.arange(len(stem.chroma)) * CHROMA_HOP // HOP
  sounding = stem.sounding[np.minimum(frames, len(stem.sounding) - 1)]
  if stem.type in UNPITCHED or sounding.sum() < LEAST:
    return None
  chroma = np.asarray(stem.chroma)
  centred = chroma - chroma.mean(axis=1, keepdims=True)
  length = np.linalg.norm(centred, axis=1, keepdims=True)
  return centred / np.maximum(length, 1e-12), sounding

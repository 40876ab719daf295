"""Is a song in the key that its prompt names?"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from stemphonic_jax.data.keys import KEYS, TONICS, in_one_spelling
from stemphonic_jax.data.sources.demo.theory import SCALES, Key
from stemphonic_jax.evaluation import scores
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.measures.harmony import notes
from stemphonic_jax.evaluation.scores import Score

NAMED = re.compile(rf"\b(?:{'|'.join(KEYS)})\b")


def key(songs: Sequence[SongFeatures]) -> Score:
  """AUC of how much of the notes lies in the scale asked for, against its eleven transpositions.

  Of all pitched stems of a song together. Keys a fifth apart share six of seven notes, so that one
  beside that asked for wins most comparisons; a key and its relative share all, and are not told
  apart. It does not see whether the stems agree with each other.
  """
  return scores.mean(_comparisons(song) for song in songs)


def named_key(text: str) -> Key | None:
  """The first key that a text names, in any spelling that a model reads; None where it has none."""
  if (found := NAMED.search(in_one_spelling(text))) is None:
    return None
  tonic, mode = found[0].split()
  return Key(TONICS.index(tonic), mode)


def _comparisons(song: SongFeatures) -> list[float]:
  """Which transpositions hold less of the notes of a song; none where there is nothing to ask."""
  asked = named_key(song.caption)
  heard = [found for stem in song.stems.values() if (found := notes(stem))]
  if asked is None or not heard:
    return []
  classes = sum(frames[sounding].mean(axis=0) for frames, sounding in heard)
  scale = np.roll(np.isin(np.arange(12), SCALES[asked.mode]), asked.tonic)
  inside, *others = (classes @ np.roll(scale, step) for step in range(12))
  return [float(inside > other) + 0.5 * (inside == other) for other in others]

"""Is a song in the key that its prompt names?"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from stemphonic_jax.data.sources.demo.theory import SCALES, Key
from stemphonic_jax.evaluation import scores
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.measures.harmony import notes
from stemphonic_jax.evaluation.scores import Score

NAMED = re.compile(r"\b([A-G])([#♯b♭]?)[ -](major|minor)\b(?! key)")  # but no "A minor key"
LETTERS = dict(zip("CDEFGAB", SCALES["major"], strict=True))
ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}


def key(songs: Sequence[SongFeatures]) -> Score:
  """AUC of how much of the notes lies in the scale asked for, against its eleven transpositions.

  Of all pitched stems of a song together. Keys a fifth apart share six of seven notes, so that one
  beside that asked for wins most comparisons; a key and its relative share all, and are not told
  apart. It does not see whether the stems agree with each other.
  """
  return scores.mean(_comparisons(song) for song in songs)


def named_key(text: str) -> Key | None:
  """The first key that a text names, as "F# minor" or "Bb major"; None where it names none."""
  if (found := NAMED.search(text)) is None:
    return None
  letter, accidental, mode = found.groups()
  return Key((LETTERS[letter] + ACCIDENTALS[accidental]) % 12, mode)


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

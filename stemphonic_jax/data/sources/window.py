"""A stretch of a mix, read without the rest of it, from files that a check has found sound."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stemphonic_jax.audio import files, stems_mp4
from stemphonic_jax.data.sources.entries import Entry, Part
from stemphonic_jax.data.stems import Mix, Stem


def read_window(
  entry: Entry, types: Mapping[str, str], rate: int, start: float, seconds: float
) -> Mix:
  """The stems named in `types` from second `start` on, `seconds` long; silence after their end.

  For a data set that has been checked (data/preparing/check.py): no more is verified here than that
  what is asked for can be read. DataError where it cannot.
  """
  samples = round(seconds * rate)
  stems = {
    part.name: Stem(part.type, _part(part, rate, start, samples), part.label, part.bleed)
    for part in entry.parts
    if part.name in types
  }
  return Mix(entry.id, stems, entry.caption, entry.bpm, rate)


def _part(part: Part, rate: int, start: float, samples: int) -> np.ndarray:
  total = np.zeros((samples, 2), np.float32)
  for path in part.files:
    audio, own_rate = _read(path, part.stream, start, samples / rate)
    if len(audio):
      audio = files.to_stereo(path, audio, own_rate, rate)[:samples]
      total[: len(audio)] += audio
  return total


def _read(path: Path, stream: int | None, start: float, seconds: float) -> tuple[np.ndarray, int]:
  if stream is not None:
    audio, rate = stems_mp4.read_stream(path, stream)
    return audio[round(start * rate) : round((start + seconds) * rate)], rate
  return files.decode_stretch(path, start, seconds)

"""An entry of a catalogue -> its mix: the one place where files of a data set become stems.

All sets are read by the same rules, and what the rules did is written down in `Findings`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stemphonic_jax.audio import files, stems_mp4
from stemphonic_jax.audio.activity import THRESHOLD_DBFS
from stemphonic_jax.audio.lengths import LONGEST
from stemphonic_jax.data.sources.entries import Entry, Part
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.errors import DataError

FULL_SCALE = 1.0 - 2.0**-15  # the largest number of a 16-bit file
CLIPPED_RUN = 3  # samples in a row at full scale; one or two are a peak that was normalised
BLOCK = 1 << 16  # samples whose energy is summed in float32


@dataclass(frozen=True)
class StemFindings:
  """What was found of one stem.

  `dbfs`, `peak_dbfs` and `seconds` are of the stem at the rate of the mix, before it is padded;
  `clipped` counts samples in runs at full scale in its files, `rate` (Hz) is the lowest of their
  rates and `channels` their most.
  """

  dbfs: float
  peak_dbfs: float
  clipped: int
  seconds: float
  rate: int
  channels: int
  note: str = ""


@dataclass(frozen=True)
class Findings:
  """What was found of one mix, for a report: its stems by name, and notes of what was left out."""

  stems: Mapping[str, StemFindings]
  notes: tuple[str, ...]


def read_entry(
  entry: Entry,
  rate: int,
  *,
  tolerance: float = 1.0,
  min_seconds: float = 1.0,
  max_seconds: float = LONGEST,
) -> tuple[Mix, Findings]:
  """The mix of an entry at `rate` Hz, and what was found while reading it.

  - Mono is duplicated; other rates are resampled.
  - The files of one stem are summed, the shorter ones padded with silence at their ends.
  - A stem whose peak stays under -60 dBFS is left out, with a note.
  - Stems that differ by at most `tolerance` seconds, or by any of a ragged entry, are padded to
    the longest.
  - Clipping is counted and noted, and costs nothing.

  DataError, which costs the whole mix: a file that is damaged, cut off, empty or longer than
  `max_seconds`, has more than two channels or holds NaN; stems further apart than `tolerance`; a
  mix shorter than `min_seconds` or without a stem. MissingError: a file or ffmpeg is not there.
  """
  stems: dict[str, Stem] = {}
  found: dict[str, StemFindings] = {}
  notes = list(entry.notes)
  for part in entry.parts:
    if not part.files:
      raise DataError(f"mix {entry.id}: stem {part.name!r} has no files")
    audio, finding = _read_part(part, rate, max_seconds)
    if finding.peak_dbfs < THRESHOLD_DBFS:
      notes.append(f"{part.name}: silent, left out")
      continue
    stems[part.name] = Stem(part.type, audio, part.label, part.bleed)
    found[part.name] = finding
  if not stems:
    raise DataError(f"mix {entry.id}: no stem that sounds, of {len(entry.parts)}")
  samples = _longest(entry.id, stems, rate, math.inf if entry.ragged else tolerance)
  for name, stem in stems.items():
    if missing := samples - len(stem.audio):
      stems[name] = replace(stem, audio=np.pad(stem.audio, ((0, missing), (0, 0))))
      note = f"padded by {missing / rate:.3f} s"
      found[name] = replace(found[name], note="; ".join(filter(None, (found[name].note, note))))
  mix = Mix(entry.id, stems, entry.caption, entry.bpm, rate)
  if mix.seconds < min_seconds:
    raise DataError(
      f"mix {entry.id}: lasts {mix.seconds:.3f} s, expected at least {min_seconds:g} s"
    )
  return mix, Findings(found, tuple(notes))


def _read_part(part: Part, rate: int, max_seconds: float) -> tuple[np.ndarray, StemFindings]:
  """The sum of a part's files as float32 [samples, 2]."""
  total, rates, channels, clipped = None, [], [], 0
  for path in part.files:
    audio, found = _decode(path, part.stream, max_seconds)
    rates.append(found)
    channels.append(audio.shape[1])
    clipped += count_clipped(audio)
    audio = files.to_stereo(path, audio, found, rate)
    total = audio if total is None else _add(total, audio)
  peak = max(float(total.max()), -float(total.min()))
  notes = {
    f"sum of {len(part.files)} files": len(part.files) > 1,
    f"resampled from {' and '.join(str(r) for r in sorted(set(rates)))} Hz": set(rates) != {rate},
    "mono": max(channels) == 1,
    f"{clipped} samples clipped": clipped > 0,
  }
  return total, StemFindings(
    dbfs=_decibels(_energy(total) / total.size, 10.0),
    peak_dbfs=_decibels(peak, 20.0),
    clipped=clipped,
    seconds=len(total) / rate,
    rate=min(rates),
    channels=max(channels),
    note="; ".join(note for note, holds in notes.items() if holds),
  )


def _decode(path: Path, stream: int | None, max_seconds: float) -> tuple[np.ndarray, int]:
  if stream is None:
    return files.decode(path, max_seconds)
  return stems_mp4.read_stream(path, stream, max_seconds)


def _add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """The sum, as long as the longer of the two, in whose place it is."""
  short, long = sorted((a, b), key=len)
  long[: len(short)] += short
  return long


def _longest(mix: str, stems: Mapping[str, Stem], rate: int, tolerance: float) -> int:
  """The samples of the longest stem; DataError where the shortest is too far from it."""
  names = sorted(stems, key=lambda name: len(stems[name].audio))
  shortest, longest = (len(stems[name].audio) for name in (names[0], names[-1]))
  if longest - shortest > tolerance * rate:
    raise DataError(
      f"mix {mix}: {names[0]} lasts {shortest / rate:.3f} s and {names[-1]} {longest / rate:.3f} s,"
      f" expected at most {tolerance:g} s between them; export them from one start to one end, or"
      f" allow more (--tolerance, data.tolerance)"
    )
  return longest


def count_clipped(audio: np.ndarray) -> int:
  """Samples [samples, channels] at full scale that have others beside them in their channel."""
  if audio.max() < FULL_SCALE and audio.min() > -FULL_SCALE:
    return 0
  full = np.abs(audio) >= FULL_SCALE
  starts = full[:-2] & full[1:-1] & full[2:]
  runs = np.zeros_like(full)
  for offset in range(CLIPPED_RUN):
    runs[offset : offset + len(starts)] |= starts
  return int(runs.sum())


def _energy(audio: np.ndarray) -> float:
  """The sum of squares, in blocks: float32 does for one, and no temporary array is needed."""
  flat = audio.reshape(-1)
  return sum(float(np.dot(b, b)) for b in (flat[i : i + BLOCK] for i in range(0, len(flat), BLOCK)))


def _decibels(ratio: float, factor: float) -> float:
  return round(factor * math.log10(ratio), 2) if ratio > 0.0 else -math.inf

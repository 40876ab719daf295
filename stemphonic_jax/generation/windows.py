"""What an edit makes anew: holes in a song, and the stretches of it that a model looks at for them.

All in latent frames from the song's beginning. A model hears at most its longest window; a hole
that does not fit is filled stretch by stretch, each hearing the one before it.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Bool, Float32

from stemphonic_jax.audio.lengths import at_most, samples_of
from stemphonic_jax.audio.metre import COMMON, bar_seconds
from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation import values

OVERLAP = 0.25  # of a window, that at least is known beside what is made in it
FADE = 0.03  # seconds in which old audio goes over into new


@dataclass(frozen=True)
class Hole:
  """Frames `first` to `last` that are made anew, of which samples `start` to `stop` are heard."""

  first: int
  last: int
  start: int
  stop: int


@dataclass(frozen=True)
class Stretch:
  """A window that begins at frame `begin`, in which frames `first` to `last` are made."""

  begin: int
  first: int
  last: int


def holes(ranges: Any, samples: int, rate: int, hop: int) -> list[Hole]:
  """The holes that ranges in seconds are; None is one, the whole song.

  Their edges are moved outwards to whole frames, which the log says. UsageError for a range that
  is empty or not within the song, and for those that overlap.
  """
  if ranges is None:
    return [Hole(0, -(-samples // hop), 0, samples)]
  found = []
  for start, end in sorted(pairs(ranges)):
    low, high = check_range(start, end, samples, rate)
    first, last = low // hop, -(-high // hop)
    hole = Hole(first, last, first * hop, min(last * hop, samples))
    if (hole.start, hole.stop) != (low, high):
      edges = hole.start / rate, hole.stop / rate
      logging.info("range %g-%g s: rounded to whole latent frames, %.3f-%.3f s", start, end, *edges)
    found.append(hole)
  for one, other in itertools.pairwise(found):
    if other.first < one.last:
      raise UsageError(
        f"ranges overlap, or share a latent frame, at {other.start / rate:.2f} s; join them"
      )
  return found


def check_range(start: float, end: float, samples: int, rate: int) -> tuple[int, int]:
  """A range in samples; UsageError where it is empty or not within the song."""
  low, high = samples_of(start, rate), samples_of(end, rate)
  if not 0 <= low < high <= samples:
    raise UsageError(
      f"range {start:g}-{end:g}: expected start < end within 0-{at_most(samples / rate)} s, the"
      f" length of this song"
    )
  return low, high


def pairs(ranges: Any) -> list[tuple[float, float]]:
  """One (start, end) in seconds, or a list of them; UsageError for anything else."""
  try:
    given = list(ranges)
    given = [given] if len(given) == 2 and np.ndim(given[0]) == 0 else given
    found = [(start, end) for start, end in given]
  except (TypeError, ValueError):
    raise UsageError(f"range: got {str(ranges)[:60]!r}, expected (start, end) in seconds") from None
  found = [tuple(values.number("range", edge) for edge in pair) for pair in found]
  if not found:
    raise UsageError(
      "range: got none, expected (start, end) in seconds; leave it out for the whole"
    )
  if any(not math.isfinite(edge) for pair in found for edge in pair):
    raise UsageError("range: got nan or infinity, expected seconds")
  return found


def stretches(hole: Hole, frames: int, size: int, bar: float | None) -> list[Stretch]:
  """The windows of `size` frames, one after the other, in which a hole in a longer song is filled.

  What is made goes on from what is known: from left to right, but for a hole at the beginning.
  Windows begin on a bar where it is known how many frames that is.
  """
  if hole.first == 0 and hole.last < frames:
    mirrored = Hole(frames - hole.last, frames, 0, 0)
    found = [
      Stretch(frames - s.begin - size, frames - s.last, frames - s.first)
      for s in _from_left(mirrored, frames, size, None)
    ]
    return [_moved(s, _on_bar(s.begin, bar), size) for s in found]
  return list(_from_left(hole, frames, size, bar))


def _from_left(hole: Hole, frames: int, size: int, bar: float | None) -> Iterator[Stretch]:
  overlap, first = int(OVERLAP * size), hole.first
  while first < hole.last:
    left = hole.last - first
    before = (
      overlap if left > size - overlap else max((size - left) // 2, min(overlap, size - left))
    )
    begin = min(max(first - before, 0), frames - size)
    begin = _on_bar(begin, bar) if _on_bar(begin, bar) + size > first else begin
    last = min(hole.last, begin + size)
    yield Stretch(begin, first, last)
    first = last


def _on_bar(frame: int, bar: float | None) -> int:
  """The frame nearest to the bar line at or before a frame."""
  return frame if bar is None else min(frame, round(math.floor(frame / bar + 1e-6) * bar))


def _moved(stretch: Stretch, begin: int, size: int) -> Stretch:
  inside = begin <= stretch.first and stretch.last <= begin + size
  return Stretch(begin, stretch.first, stretch.last) if inside else stretch


def bar_samples(request: Mapping[str, Any], rate: int) -> float | None:
  """Samples in a bar, of what song.json says was asked; None where the tempo is not known."""
  bar = bar_seconds(request["bpm"], request.get("metre", COMMON))
  return bar and bar * rate


def blend(
  old: Float32[np.ndarray, "N 2"],
  new: Float32[np.ndarray, "M 2"],
  hole: Hole,
  rate: int,
) -> Float32[np.ndarray, "N 2"]:
  """`old` with `new`, which starts at sample 0 of it, in a hole: outside, not a bit is changed.

  Within the hole, at each edge that is not an end of the song, old goes over into new.
  """
  fade = min(round(FADE * rate), (hole.stop - hole.start) // 2)
  weight = np.ones((hole.stop - hole.start, 1), np.float32)
  rise = np.float32(np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / max(fade, 1)) ** 2)[:, None]
  if hole.start > 0:
    weight[:fade] = rise
  if hole.stop < len(old):
    weight[len(weight) - fade :] = rise[::-1]
  place = slice(hole.start, hole.stop)
  mixed = old.copy()
  mixed[place] = np.where(weight == 1, new[place], (1 - weight) * old[place] + weight * new[place])
  return mixed


def unknown(holes_: Sequence[Hole], frames: int) -> Bool[np.ndarray, "T"]:
  """Which frames of a song are in a hole."""
  mask = np.zeros(frames, bool)
  for hole in holes_:
    mask[hole.first : hole.last] = True
  return mask

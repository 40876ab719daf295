"""When stems play, as it was asked of them, in a song that became longer, or a loop."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float32

from stemphonic_jax.audio.activity import active_ranges, frame_activity

Ranges = Sequence[tuple[float, float]]


def moved(activity: Mapping[str, Ranges], by: float, seconds: float) -> dict[str, Ranges]:
  """Ranges that come `by` seconds later, as far as they are within a song of `seconds`.

  A stem of which nothing is left is left open.
  """
  found = {}
  for name, ranges in activity.items():
    edges = ((max(0.0, a + by), min(seconds, b + by)) for a, b in ranges)
    if inside := [(a, b) for a, b in edges if a < b]:
      found[name] = _joined(inside)
  return found


def continued(
  ranges: Ranges,
  audio: Float32[np.ndarray, "samples 2"],
  new: Bool[np.ndarray, "T"],
  hop: int,
  rate: int,
) -> Ranges:
  """`ranges`, and those in which a stem is heard in its `new` frames."""
  lane = frame_activity(audio, hop, rate) & new
  seconds = len(audio) / rate
  heard = [(a, min(b, seconds)) for a, b in active_ranges(lane, hop, rate)]
  return _joined([*ranges, *heard], hop / rate)


def _joined(ranges: Iterable[tuple[float, float]], gap: float = 0.0) -> Ranges:
  """The same in order, those that are no more than a `gap` apart as one."""
  found: list[tuple[float, float]] = []
  for start, end in sorted(ranges):
    if found and start - found[-1][1] <= gap:
      found[-1] = found[-1][0], max(end, found[-1][1])
    else:
      found.append((start, end))
  return tuple(found)

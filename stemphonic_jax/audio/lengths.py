"""Lengths are compared in samples, because seconds that come from a division or a text are rounded.

A model's length need not be a round number: 8192 samples at 44.1 kHz are 0.18575963718820862 s,
which people write as 0.1858.
"""

from __future__ import annotations

import math

SHORTEST = 0.1  # seconds that are made
LONGEST = 1800.0  # seconds of a file that is read: half an hour of stereo is 635 MB


def samples_of(seconds: float, rate: int) -> int:
  """The nearest whole number of samples at `rate` Hz."""
  return round(seconds * rate)


def frames_of(seconds: float, rate: int, hop: int) -> int:
  """Latent frames that cover `seconds`: 394 for 32 s at 44.1 kHz and a hop of 3584."""
  return math.ceil(samples_of(seconds, rate) / hop)


def within(seconds: float, low: float, high: float, rate: int) -> bool:
  """Whether a length lies between two others, in samples; nan and infinity do not."""
  if not math.isfinite(seconds):
    return False
  return samples_of(low, rate) <= samples_of(seconds, rate) <= samples_of(high, rate)


def cut_to(seconds: float, most: float, rate: int, hop: int) -> float:
  """`most` where `seconds` is beyond it by less than a latent frame of `hop` samples, else itself.

  Whoever cuts audio by it says so.
  """
  if not math.isfinite(seconds):
    return seconds
  beyond = samples_of(seconds, rate) - samples_of(most, rate)
  return most if 0 < beyond < hop else seconds


def whole_times(seconds: float, part: float, rate: int) -> int:
  """How often a length fits into another, in samples."""
  return samples_of(seconds, rate) // samples_of(part, rate)


def at_most(seconds: float, digits: int = 4) -> str:
  """A number for messages that is not above `seconds`: an upper limit that itself is taken."""
  return f"{_floor(seconds, digits):.{digits}f}".rstrip("0").rstrip(".")


def at_least(seconds: float, digits: int = 2) -> str:
  """A number for messages that is not below `seconds`: of what is longer than a limit."""
  return f"{-_floor(-seconds, digits):.{digits}f}"


def _floor(seconds: float, digits: int) -> float:
  """Rounded down, but for what is a rounding error itself: a sample is a thousand times longer."""
  scale = 10.0**digits
  return math.floor(seconds * scale + 1e-9 * scale) / scale

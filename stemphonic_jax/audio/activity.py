"""Stem-wise activity (Sec. 3.3): when a stem sounds, as one {0, 1} per latent frame.

A *lane* is int8 [T]: 1 active, 0 silent. T = ceil(samples / hop), where `hop` is the number of
audio samples per latent frame. A *range* is (start, end) in seconds. Frame t covers the samples
[t * hop, (t + 1) * hop) and is active as soon as any part of it is, so that what is detected and
what is drawn agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stemphonic_jax.errors import UsageError

THRESHOLD_DBFS = -60.0  # "a preset cutoff loudness (e.g., -60 dB)", Sec. 3.3
# A rest of less than half a second is phrasing, not an absence that somebody would draw; the paper
# says "segments" and gives no length. Five frames of its 12.3 Hz are shorter, six are not.
MIN_GAP = 0.48  # seconds


def frame_activity(
  audio: np.ndarray,
  hop: int,
  rate: int,
  threshold_dbfs: float = THRESHOLD_DBFS,
  min_gap: float = MIN_GAP,
) -> np.ndarray:
  """Silence detection on a waveform [samples, channels] -> lane int8 [T].

  A frame is active where its RMS reaches `threshold_dbfs` (the last frame counts as zero-padded, as
  the encoder sees it); silences of less than `min_gap` seconds between active frames are closed.
  """
  samples, channels = audio.shape
  whole = samples // hop
  frames = audio[: whole * hop].reshape(whole, hop * channels)
  energy = np.einsum("ts,ts->t", frames, frames)
  if whole * hop < samples:
    energy = np.append(energy, np.square(audio[whole * hop :]).sum())
  active = energy >= 10.0 ** (threshold_dbfs / 10.0) * hop * channels
  return _close_gaps(active.astype(np.int8), math.ceil(min_gap * rate / hop))


def _close_gaps(lane: np.ndarray, frames: int) -> np.ndarray:
  """Fills runs of fewer than `frames` zeros that lie between two runs of 1."""
  active = np.flatnonzero(lane)
  gaps = np.diff(active) - 1
  for before, gap in zip(active[:-1], gaps, strict=True):
    if 0 < gap < frames:
      lane[before + 1 : before + 1 + gap] = 1
  return lane


def lanes_from_ranges(
  ranges: Sequence[tuple[float, float]], frames: int, hop: int, rate: int
) -> np.ndarray:
  """The lane int8 [frames] that is 1 in every frame touched by one of `ranges` (seconds).

  UsageError for a range that ends before it starts or lies outside the frames.
  """
  lane = np.zeros(frames, np.int8)
  for start, end in ranges:
    first, last = (
      round(start * rate),
      round(end * rate),
    )  # in samples, where a frame's edge is exact
    if not 0 <= first < last <= frames * hop:
      raise UsageError(
        f"activity {start:g}-{end:g} s: expected start < end within 0-{frames * hop / rate:g} s"
      )
    lane[first // hop : math.ceil(last / hop)] = 1
  return lane


def active_ranges(lane: np.ndarray, hop: int, rate: int) -> list[tuple[float, float]]:
  """The runs of 1 as (start, end) in seconds; `lanes_from_ranges` of them gives the lane again."""
  edges = np.diff(np.asarray(lane, np.int8), prepend=0, append=0)
  starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
  seconds = hop / rate
  return [(float(s * seconds), float(e * seconds)) for s, e in zip(starts, ends, strict=True)]


def parse_ranges(text: str, what: str = "activity") -> list[tuple[float, float]]:
  """Reads '0-8,16-32' as [(0.0, 8.0), (16.0, 32.0)]; UsageError where it does not read so."""
  ranges = []
  for part in text.split(","):
    start, dash, end = part.partition("-")
    try:
      bounds = float(start), float(end)
    except ValueError:
      bounds = (math.nan, math.nan)
    if not dash or not 0 <= bounds[0] < bounds[1] < math.inf:
      raise UsageError(
        f"{what} {part.strip()!r}: expected START-END in seconds, START < END, as in 0-8,16-32"
      )
    ranges.append(bounds)
  return ranges

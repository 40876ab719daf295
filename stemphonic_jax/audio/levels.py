"""Levels: root-mean-square in dBFS, peaks, envelopes, mixing stems with gains, a mix at a level."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from stemphonic_jax.errors import UsageError

MIX_DBFS = -16.0  # level at which the paper compares and plays mixes
KNEE = 0.8  # of full scale, from which on a tape would bend samples


def dbfs(audio: np.ndarray) -> float:
  """RMS over samples and channels, in dB relative to full scale; -inf for silence.

  A constant 1.0 is 0 dBFS and a full-scale sine -3.01 dBFS (no 3 dB sine correction).
  """
  power = float(np.mean(np.square(audio, dtype=np.float64))) if audio.size else 0.0
  return 10.0 * float(np.log10(power)) if power > 0.0 else -np.inf


def mix(stems: Mapping[str, np.ndarray], gains: Mapping[str, float] | None = None) -> np.ndarray:
  """The mix w = sum_k g_k w_k (Sec. 3.1); linear gains, 1 where none is given.

  A plain float32 sum in the order of `stems`: it may exceed 1.0, and nothing limits it.
  """
  gains = gains or {}
  if unknown := [name for name in gains if name not in stems]:
    raise UsageError(f"gain for {unknown[0]!r}, which is not a stem here: {', '.join(stems)}")
  if not stems:
    raise UsageError("nothing to mix: no stems were given")
  total = np.zeros_like(next(iter(stems.values())), np.float32)
  for name, audio in stems.items():
    total += np.float32(gains.get(name, 1.0)) * audio
  return total


def normalize(
  audio: np.ndarray, target_dbfs: float = MIX_DBFS, most: float = math.inf
) -> np.ndarray:
  """Scales the whole to `target_dbfs` RMS, or to less where a sample would be beyond ±`most`.

  Nothing is limited: that would change the balance of the stems. Silence stays silence.
  """
  level = dbfs(audio)
  if level == -np.inf:
    return audio.copy()
  gain = 10.0 ** ((target_dbfs - level) / 20.0)
  peak = float(max(audio.max(), -audio.min()))
  return np.clip(audio * np.float32(min(gain, most / peak)), -most, most)  # to the last bit


def saturate(audio: np.ndarray) -> np.ndarray:
  """Audio within ±1: samples beyond ±KNEE are bent as by a tape, all others are as they were."""
  loud = np.abs(audio) > KNEE
  if not loud.any():
    return audio
  room = np.float32(1 - KNEE)
  bent = KNEE + room * np.tanh((np.abs(audio[loud]) - np.float32(KNEE)) / room)
  found = audio.copy()
  found[loud] = np.copysign(bent, audio[loud])
  return found


def envelope(audio: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
  """Lowest and highest sample of [samples, channels] in each of at most `most` equal pieces.

  A piece is one row of samples of all channels: that is a hundred times as fast as each by itself.
  """
  size = max(1, -(-len(audio) // most))
  end = len(audio) // size * size
  parts = [np.ascontiguousarray(audio[:end]).reshape(end // size, -1)]
  parts += [audio[end:].reshape(1, -1)] if end < len(audio) else []
  low, high = zip(*((part.min(axis=1), part.max(axis=1)) for part in parts), strict=True)
  return np.concatenate(low), np.concatenate(high)

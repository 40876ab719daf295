"""Tempo of a mix whose data set does not state it.

An estimator is any function of (audio [samples, 2], rate in Hz) to beats per minute or None, so
that a better one can take the place of librosa's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from stemphonic_jax.data.stems import BPM_RANGE

Estimator = Callable[[Float32[np.ndarray, "samples 2"], int], float | None]
SECONDS = 90.0  # from the middle of the mix; tempo does not need more


def estimate(audio: Float32[np.ndarray, "samples 2"], rate: int) -> float | None:
  """Librosa's beat tracker on the middle of a mix; None where no beat is found (rests, drones)."""
  import librosa  # half a second to import, and several to compile at first use

  length = round(SECONDS * rate)
  start = max(0, (len(audio) - length) // 2)
  mono = audio[start : start + length].mean(axis=1)
  low = librosa.resample(mono, orig_sr=rate, target_sr=22_050, res_type="soxr_mq")
  bpm = float(np.squeeze(librosa.beat.beat_track(y=low, sr=22_050)[0]))
  return bpm if BPM_RANGE[0] <= bpm <= BPM_RANGE[1] else None

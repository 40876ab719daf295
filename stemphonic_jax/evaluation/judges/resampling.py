"""Resampling by a Kaiser-windowed sinc, as the peers do it that a number is compared with."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float


def kaiser_sinc(
  x: Float[np.ndarray, "N"], rate: int, target: int, cutoff: float, half: float, beta: float
) -> Float[np.ndarray, "M"]:
  """x at `target` Hz: the filter passes `cutoff` of the lower Nyquist frequency.

  It is `half` samples of the lower rate long to each side, under a Kaiser window of `beta`. Outside
  of x is silence. There are as many samples as begin within the length of x.
  """
  ratio = math.gcd(rate, target)
  step, count = rate // ratio, target // ratio  # so many samples become so many
  scale = min(1.0, target / rate)  # of the lower rate per sample of x
  reach = math.ceil(half / scale)
  # Of output i: the distance of each of its inputs, in samples of x.
  away = np.arange(-reach, reach + step)[None] - np.arange(count)[:, None] * step / count
  inside = np.abs(away) * scale < half
  window = np.i0(beta * np.sqrt(1 - np.square(np.where(inside, away * scale / half, 1.0))))
  kernels = np.sinc(cutoff * scale * away) * window * inside * (cutoff * scale / np.i0(beta))
  blocks = max(1, -(-len(x) // step))
  padded = np.pad(x, (reach, reach + blocks * step - len(x)))
  frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + step)[::step]
  return (frames @ kernels.T).reshape(-1)[: math.ceil(len(x) * target / rate)]


def as_resampy(x: Float[np.ndarray, "N"], rate: int, target: int) -> Float[np.ndarray, "M"]:
  """resampy's kaiser_best (0.4), which gudgud96's frechet_audio_distance uses, but for -62 dB.

  It rounds the step through its table, which widens its filter by 0.02 %.
  """
  y = kaiser_sinc(x, rate, target, cutoff=0.9173473712608761, half=50.0, beta=12.984585)
  return y[: len(x) * target // rate]


def as_fadtk(x: Float[np.ndarray, "N"], rate: int, target: int) -> Float[np.ndarray, "M"]:
  """torchaudio's sinc_interp_kaiser with the numbers of microsoft/fadtk."""
  cutoff = 0.9475937167399596
  return kaiser_sinc(x, rate, target, cutoff, half=64 / cutoff, beta=14.769656459379492)

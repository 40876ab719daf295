"""Two stems slid along each other: how much they agree where they are, and where they might be.

A *track* is a vector per frame, of which only frames count in which its stem sounds. Correlations
at all lags come from three products of spectra: of the vectors, and of what sounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage
from jaxtyping import Bool, Complex, Float, Int


@dataclass(frozen=True, eq=False)
class Track:
  """Spectra over time of a centred track, of its energy, and of when it sounds."""

  vectors: Complex[np.ndarray, "Q D"]
  energy: Complex[np.ndarray, "Q"]
  sounding: Complex[np.ndarray, "Q"]
  size: int  # of the transforms, in frames


def track(x: Float[np.ndarray, "F D"], sounding: Bool[np.ndarray, "F"], size: int) -> Track:
  """The track of `x`, centred where it sounds, with room for a `size` of F + the largest lag."""
  heard = sounding[:, None].astype(np.float32)
  centred = (x - (x * heard).sum(axis=0) / max(heard.sum(), 1.0)) * heard
  parts = centred, np.square(centred).sum(axis=1), heard[:, 0]
  size = scipy.fft.next_fast_len(size, real=True)
  return Track(*(scipy.fft.rfft(part, size, axis=0) for part in parts), size)


def correlation(
  a: Track, b: Track, lags: Int[np.ndarray, "L"], least: float
) -> Float[np.ndarray, "L"]:
  """Correlation of a(t) with b(t + lag), over the frames in which both sound then.

  NaN where these are fewer than `least`.
  """

  def slid(x: Complex[np.ndarray, "Q"], y: Complex[np.ndarray, "Q"]) -> Float[np.ndarray, "L"]:
    return scipy.fft.irfft(np.conj(x) * y, a.size)[lags]  # negative lags count from the end

  product = scipy.fft.irfft((np.conj(a.vectors) * b.vectors).sum(axis=1), a.size)[lags]
  energies = slid(a.energy, b.sounding), slid(a.sounding, b.energy)
  norm = np.sqrt(np.maximum(energies[0], 0.0) * np.maximum(energies[1], 0.0))
  enough = slid(a.sounding, b.sounding) >= least
  return np.where(enough, product / np.maximum(norm, 1e-6), np.nan)


def in_time(a: Track, b: Track, *, reach: int, near: int, apart: int, least: int) -> float:
  """How much better two tracks agree where they are than slid by up to `reach` frames.

  The correlation at lag 0 less its median over lags from `apart` on, each lag taken as the best of
  those up to `near` beside it. NaN where both sound in fewer than `least` frames.

  Tempo or key alone give nothing: stems that have them in common agree as well at other lags, and
  without a common start lag 0 is a lag like any other, above the median half of the time.
  """
  lags = np.arange(-reach - near, reach + near + 1)
  agreed = correlation(a, b, lags, least)
  if np.isnan(agreed[reach + near]):
    return np.nan
  best = scipy.ndimage.maximum_filter1d(np.nan_to_num(agreed, nan=-1.0), 2 * near + 1)
  others = best[(np.abs(lags) >= apart) & (np.abs(lags) <= reach) & ~np.isnan(agreed)]
  return float(best[reach + near] - np.median(others)) if len(others) else np.nan

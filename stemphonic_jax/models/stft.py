"""Short-time Fourier transform on a grid that cuts a signal into whole frames, and its inverse.

Frame f covers the `size` samples around f·stride … (f + 1)·stride, with zeros outside the signal.
`size` is an even number of strides, so frames are shifted copies of blocks of `stride` samples:
no gather in the transform and no scatter in its inverse.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

SHRINK = 0.3  # of the magnitude asked for: what is consistent must exceed it to count fully


def stft(signal: Float[Array, "*batch N"], size: int, stride: int) -> Complex[Array, "*batch F K"]:
  """Spectra under a periodic Hann window: F = N / stride frames of K = size / 2 + 1 bins."""
  margin = (size - stride) // 2
  padded = jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(margin, margin)])
  return windowed(padded, size, stride)


def windowed(
  signal: Float[Array, "*batch N"], size: int, stride: int
) -> Complex[Array, "*batch F K"]:
  """Spectra of the windows that lie wholly in the signal: F = (N − size) / stride + 1 of them."""
  overlap = size // stride
  frames = signal.shape[-1] // stride - overlap + 1
  whole = signal[..., : (frames + overlap - 1) * stride]
  blocks = whole.reshape(*signal.shape[:-1], frames + overlap - 1, stride)
  framed = jnp.concatenate([blocks[..., i : i + frames, :] for i in range(overlap)], -1)
  return jnp.fft.rfft(framed * hann(size))


def istft(
  spectra: Complex[Array, "*batch F K"], size: int, stride: int
) -> Float[Array, "*batch N"]:
  """The signal whose STFT is closest to `spectra` in least squares (Griffin and Lim 1984)."""
  frames, margin = spectra.shape[-2], (size - stride) // 2
  inside = slice(margin, margin + frames * stride)  # outside it the weight reaches zero
  signal = _overlap_add(jnp.fft.irfft(spectra, size) * hann(size), stride)
  weight = _overlap_add(jnp.broadcast_to(jnp.square(hann(size)), (frames, size)), stride)
  return signal[..., inside] / weight[inside]


def griffin_lim(
  magnitude: Float[Array, "*batch F K"],
  phase: Complex[Array, "*batch F K"],
  iterations: int,
  size: int,
  stride: int,
) -> Complex[Array, "*batch F K"]:
  """Factors u such that `magnitude` · u is nearly the STFT of a signal; starts from unit phases.

  Alternates between spectra of a signal and spectra of that magnitude, extrapolating as Perraudin,
  Balazs and Søndergaard (2013) do. An iteration sees size − stride samples more on each side.
  """

  def refine(carry, _):
    factor, extrapolated = carry
    consistent = stft(istft(extrapolated, size, stride), size, stride)
    # |u| falls below one where neighbouring frames cancel in a bin. It lowers the error a little,
    # and it keeps rounding errors from choosing the phase of such a bin.
    power = jnp.square(consistent.real) + jnp.square(consistent.imag)
    better = consistent * jax.lax.rsqrt(power + jnp.square(SHRINK * magnitude) + 1e-20)
    return (better, magnitude * (better + 0.99 * (better - factor))), None

  return jax.lax.scan(refine, (phase, magnitude * phase), length=iterations)[0][0]


def follow_peaks(
  magnitude: Float[Array, "*batch F K"], before: Float[Array, "*batch K"], size: int, stride: int
) -> Complex[Array, "*batch F K"]:
  """Unit phases by which what sounds in one frame goes on in the next; no gradient.

  Each peak of a frame is a tone: it goes on from the phase its bin had, by as much as its frequency
  turns in a stride, and the bins nearest to it keep to it (Beauregard, Harish and Wyse 2015).
  `before` are the phases, in radians, of the frame that comes before the first. A frame depends on
  all that precede it.
  """
  bins = jnp.arange(magnitude.shape[-1])
  level = jnp.log(jax.lax.stop_gradient(magnitude) + 1e-6)
  padded = jnp.pad(level, [(0, 0)] * (level.ndim - 1) + [(1, 1)], mode="edge")
  lower, upper = padded[..., :-2], padded[..., 2:]
  peak = (level > lower) & (level >= upper)
  curve = jnp.where(peak, lower - 2 * level + upper, -1)  # of the parabola through three bins
  tone = bins + jnp.where(peak, (lower - upper) / (2 * curve), 0)
  last = jax.lax.cummax(jnp.where(peak, bins, -len(bins)), axis=peak.ndim - 1)
  next_ = jax.lax.cummin(jnp.where(peak, bins, 2 * len(bins)), axis=peak.ndim - 1, reverse=True)
  nearest = jnp.where(bins - last <= next_ - bins, last, next_).clip(0, len(bins) - 1)
  turn = 2 * jnp.pi * stride / size * jnp.take_along_axis(tone, nearest, -1)
  turn += jnp.pi * (nearest - bins)  # of a tone's bins, in a window that it fills

  def go_on(phase, frame):
    nearest, turn = frame
    phase = jnp.mod(jnp.take_along_axis(phase, nearest, -1) + turn, 2 * jnp.pi)
    return phase, phase

  frames = tuple(jnp.moveaxis(x, -2, 0) for x in (nearest, turn))
  _, phases = jax.lax.scan(go_on, jax.lax.stop_gradient(before), frames)
  return jnp.exp(1j * jnp.moveaxis(phases, 0, -2))


def hann(size: int) -> Float[np.ndarray, "size"]:
  return np.hanning(size + 1)[:-1].astype(np.float32)


def _overlap_add(framed: Float[Array, "*batch F S"], stride: int) -> Float[Array, "*batch M"]:
  """Sums frames, each `stride` samples after the one before it."""
  *batch, frames, size = framed.shape
  overlap = size // stride
  blocks = framed.reshape(*batch, frames, overlap, stride)
  none = [(0, 0)] * len(batch)
  parts = [
    jnp.pad(blocks[..., i, :], [*none, (i, overlap - 1 - i), (0, 0)]) for i in range(overlap)
  ]
  return sum(parts).reshape(*batch, -1)

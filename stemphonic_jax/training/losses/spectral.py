"""Multi-resolution STFT loss of audio, as in Stable Audio's autoencoder and auraloss."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stemphonic_jax.models.stft import stft

WINDOWS = (2048, 1024, 512, 256, 128, 64, 32)  # samples; the stride is a quarter
POWER_FLOOR = 1e-8  # below it two magnitudes count as equal (auraloss); silence stays finite


def stereo_spectral_loss(
  real: Float[Array, "B N 2"],
  fake: Float[Array, "B N 2"],
  *,
  rate: float | None = None,
  windows: tuple[int, ...] = WINDOWS,
) -> Float[Array, ""]:
  """Loss of sum and difference of the channels (weight 1) plus that of left and right (½ each).

  Weighted by the ear's sensitivity if the sampling `rate` in Hz is given, flat if not.
  """
  losses = []
  for spectra in _spectra(jnp.stack([real, fake]).transpose(0, 3, 1, 2), rate, windows):
    left, right = spectra[:, 0], spectra[:, 1]
    middle = (spectral_distance(*(left + right)) + spectral_distance(*(left - right))) / 2
    sides = (spectral_distance(*left) + spectral_distance(*right)) / 2
    losses.append(middle + sides)
  return sum(losses) / len(losses)


def mono_spectral_loss(
  real: Float[Array, "B N"],
  fake: Float[Array, "B N"],
  *,
  rate: float | None = None,
  windows: tuple[int, ...] = WINDOWS,
) -> Float[Array, ""]:
  """The same of one channel."""
  found = _spectra(jnp.stack([real, fake]), rate, windows)
  return sum(spectral_distance(*spectra) for spectra in found) / len(windows)


def _spectra(
  audio: Float[Array, "*B N"], rate: float | None, windows: tuple[int, ...]
) -> Iterator[Array]:
  """Of each window length, padded to whole strides of the longest."""
  more = -audio.shape[-1] % (max(windows) // 4)
  audio = jnp.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(0, more)])
  for size in windows:
    spectra = stft(audio, size, size // 4)
    yield spectra if rate is None else spectra * a_weighting(np.fft.rfftfreq(size, 1 / rate))


def spectral_distance(real: Array, fake: Array) -> Float[Array, ""]:
  """Spectral convergence plus mean log-magnitude error of two batches of spectra.

  The convergence is the norm of the error over the norm of the target, both over the whole batch,
  so that a silent row has no weight instead of all of it.
  """
  real, fake = (
    jnp.sqrt(jnp.maximum(jnp.square(x.real) + jnp.square(x.imag), POWER_FLOOR))
    for x in (real, fake)
  )
  error = jnp.sqrt(jnp.sum(jnp.square(real - fake)) + POWER_FLOOR)
  convergence = error / jnp.sqrt(jnp.sum(jnp.square(real)))
  return convergence + jnp.mean(jnp.abs(jnp.log(real) - jnp.log(fake)))


def a_weighting(frequency: Float[np.ndarray, "K"]) -> Float[np.ndarray, "K"]:
  """Gain of the ear's A-weighting (IEC 61672) at frequencies in Hz; one at 1 kHz."""

  def response(f: Float[np.ndarray, "K"]) -> Float[np.ndarray, "K"]:
    low = (f**2 + 20.6**2) * np.sqrt((f**2 + 107.7**2) * (f**2 + 737.9**2))
    return 12194**2 * f**4 / (low * (f**2 + 12194**2))

  return (response(frequency) / response(np.array(1000.0))).astype(np.float32)

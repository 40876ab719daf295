"""A light autoencoder for laptops and the demo: coarse spectra in, an inverse STFT out.

Nearly all of it runs at the latent rate (12.3 Hz), so it trains in minutes on a CPU, where Oobleck
would take days. What it gives up is phase, in two steps that were both measured:

  * The latents carry levels of left and right on bands, a quarter tone apart or less; no phase.
  * Both channels are given one and the same phase, found by Griffin-Lim on their mean. A mono sum
    then never cancels, panning is exact, and only phase differences between the channels are lost.
    (Separate phases smear the panning: on true magnitudes the log-spectral error of left − right
    was 0.48 against 0.33, with windows of 41 ms.)

Windows are of 81 ms, for pitch. With 41 ms, 12 iterations of Griffin-Lim leave the stems of 24
pieces a harmony (evaluation/measures/harmony.py) of 0.90 from true levels, and of 0.77 from 64
principal components of them; with 81 ms it is 0.96 and 0.93. Real stems have 0.96. Attacks lose
little by it: synchrony is 0.76 from true levels instead of 0.77, of real stems 0.79.

Where Griffin-Lim begins is heard in tones that are held. From a fixed pattern they flutter; from
phases that follow the peaks (models/stft.py) less: of the stems of 64 pieces, through the demo's
autoencoder, 0.92 instead of 0.90 are then nearest to their own type, and harmony is 0.93 instead of
0.91. Only tones are followed, in bands of up to `TONAL` bins: in wider ones all of a band would be
one tone, and noise a row of pulses (kurtosis 15 when all bins were followed, 3.1 as it is).

What levels of a window of 81 ms say spreads over the window when it is heard: attacks are soft, and
are heard before they come. The latents know better where they are, from levels every 20 ms. So a
small network may say by how much the waveform should be louder or softer than it came out, in eight
bands, every 5 ms: its *envelope*, which is trained last, on what the decoder then makes of stems.
To predict how loud it should be, rather than by how much it is not, does harm: that flattens what
is rough by nature.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Complex, Float

from stemphonic_jax.models.layers import Dense, LayerNorm
from stemphonic_jax.models.stft import follow_peaks, griffin_lim, istft, stft
from stemphonic_jax.models.vae import Posterior, pad_to_frames

FLOOR = 1e-4  # −80 dB: magnitude, relative to a full-scale sine, below which levels are linear
GOLDEN = (5**0.5 - 1) / 2  # multiples of it, modulo one, fill 0..1 evenly
FLUTTER = 8.0  # radians by which latents of size one turn the phases of bins
TONAL = 6  # bins: in bands up to this wide, peaks are tones
KERNEL = 3  # latent frames that a block sees

# Of an envelope.
SHORTER = 4  # times: windows and strides, against those of the levels
COARSE = 1  # resolution of its bands: eight of 3584 samples / SHORTER
BLOCKS = 2  # of its network
SOFTER, LOUDER = 3.5, 1.2  # at most, as logarithms: −30 and +10 dB


def band_matrix(bins: int, resolution: int) -> Float[np.ndarray, "K J"]:
  """Weights of J overlapping triangular bands in K bins; each bin's weights add up to one.

  Bands are single bins up to bin number `resolution`, then widen in proportion to frequency
  (1 / resolution of it).
  """
  bin_ = np.arange(bins, dtype=np.float64)
  warped = np.where(
    bin_ < resolution, bin_, resolution * (1 + np.log(np.maximum(bin_ / resolution, 1)))
  )
  bands = round(warped[-1]) + 1
  centres = np.interp(np.linspace(0, warped[-1], bands), warped, bin_)
  return np.stack([np.interp(bin_, centres, row) for row in np.eye(bands)], 1).astype(np.float32)


def levels_of(
  audio: Float[Array, "*batch N"], bands: Float[np.ndarray, "K J"], size: int, stride: int
) -> Float[Array, "*batch F J"]:
  """log(1 + magnitude / FLOOR) of STFT frames in bands; N is a multiple of `stride`.

  Zero (1e-8) for silence.
  """
  return _level(_power(audio, bands, size, stride))


def _power(
  audio: Float[Array, "*batch N"], bands: Float[np.ndarray, "K J"], size: int, stride: int
) -> Float[Array, "*batch F J"]:
  """Mean power of the bins of each band, one for a full-scale sine."""
  spectra = stft(audio, size, stride) / (size / 4)
  return (jnp.square(spectra.real) + jnp.square(spectra.imag)) @ (bands / bands.sum(0))


def _level(power: Float[Array, "..."]) -> Float[Array, "..."]:
  return jnp.log1p(jnp.sqrt(jnp.maximum(power, 1e-24)) / FLOOR)  # a slope at silence


def magnitude_of(
  levels: Float[Array, "*batch F J"], bands: Float[np.ndarray, "K J"], size: int
) -> Float[Array, "*batch F K"]:
  """Magnitudes of the bins of an STFT that have these levels; the reverse of `levels_of`."""
  return FLOOR * jnp.expm1(jnp.maximum(levels @ bands.T, 0)) * (size / 4)


def phases_of(
  magnitude: Float[Array, "B A F K"],
  start: Complex[Array, "B F K"],
  tonal: int,
  refinements: int,
  size: int,
  stride: int,
) -> Complex[Array, "B F K"]:
  """One phase for all channels: Griffin-Lim's of their mean, from peaks that are followed.

  They are in the first `tonal` bins; in the others, and in the frame before the first, `start`.
  """
  mono = jnp.mean(magnitude, 1)
  tonal = min(tonal, start.shape[-1])
  tones = follow_peaks(mono[..., :tonal], jnp.angle(start[:, 0, :tonal]), size, stride)
  start = jnp.concatenate([tones, start[..., tonal:]], -1)
  return griffin_lim(mono, start, refinements, size, stride)


class Block(nn.Module):
  """ConvNeXt block: mixes `KERNEL` frames channel by channel, then the channels of each frame."""

  @nn.compact
  def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    width, pad = x.shape[-1], KERNEL // 2
    taps = self.param("taps", nn.initializers.lecun_normal(), (KERNEL, width))
    padded = jnp.pad(x, ((0, 0), (pad, pad), (0, 0)))
    # Shifted multiply-adds: 16 times as fast as a grouped convolution on a CPU.
    y = sum(padded[:, i : i + x.shape[1]] * taps[i] for i in range(KERNEL))
    y = nn.gelu(Dense(4 * width, bias=True, name="in")(LayerNorm(name="norm")(y)))
    return x + Dense(width, bias=True, zero=True, name="out")(y)


class Stack(nn.Module):
  """Linear in, `depth` blocks of `width` channels, linear out, all at the latent rate.

  Blocks start as identities, so a fresh stack is a linear map: see models/principal.py.
  """

  width: int
  depth: int
  features: int
  zero: bool = False  # whether all that comes out is zero at the start

  @nn.compact
  def __call__(self, x: Float[Array, "B T I"]) -> Float[Array, "B T O"]:
    x = Dense(self.width, bias=True, name="in")(x)
    for i in range(self.depth):
      x = Block(name=f"block_{i}")(x)
    return Dense(self.features, bias=True, zero=self.zero, name="out")(x)


class Spectral(nn.Module):
  """Encodes levels of left and right in `stacked` STFT frames as one latent frame, and back.

  `size` and `stride` are of the STFT, in samples; `resolution` is that of `band_matrix`;
  `refinements` are the iterations of Griffin-Lim. The hop is stride · stacked. Where it
  `has_envelope`, that ends the decoder; whether it has, its file says (weights/autoencoder.py).
  """

  size: int = 3584
  stride: int = 896
  stacked: int = 4
  resolution: int = 72
  latent: int = 64
  width: int = 256
  depth: int = 2
  refinements: int = 12
  has_envelope: bool = False

  def setup(self):
    if self.size % (2 * self.stride) or self.stacked % (self.size // self.stride):
      raise ValueError(
        f"size {self.size}, stride {self.stride}, stacked {self.stacked}: expected an even number"
        " of strides in a window, and a whole number of windows' lengths in a latent frame"
      )
    self.bands = band_matrix(self.size // 2 + 1, self.resolution)
    self.encoder = Stack(self.width, self.depth, 2 * self.latent)
    self.decoder = Stack(self.width, self.depth, self.stacked * 2 * self.bands.shape[1])
    if self.has_envelope:
      if self.stride % SHORTER:
        raise ValueError(f"stride {self.stride}: expected a multiple of {SHORTER} for an envelope")
      self.short = self.size // SHORTER, self.stride // SHORTER
      self.coarse = band_matrix(self.short[0] // 2 + 1, COARSE)
      gains = self.stacked * SHORTER * self.coarse.shape[1]
      self.envelope = Stack(self.width, BLOCKS, gains, zero=True)

  def __call__(self, audio: Float[Array, "B N 2"]) -> Float[Array, "B M 2"]:
    """Reconstruction from the posterior's mean; M is N rounded up to whole frames."""
    return self.decode(self.encode(audio).mean)

  def encode(self, audio: Float[Array, "B N 2"]) -> Posterior:
    """Posterior of [B, ceil(N / hop), C]."""
    return Posterior(*jnp.split(self.encoder(self.levels(audio)), 2, -1))

  def decode(self, latents: Float[Array, "B T C"]) -> Float[Array, "B N 2"]:
    """Audio of T·hop samples."""
    audio = self._waveform(latents)
    if self.has_envelope:
      gains = jnp.clip(self._gains(latents), -SOFTER, LOUDER)
      spectra = stft(audio, *self.short) * jnp.exp(gains @ self.coarse.T)[:, None]
      audio = istft(spectra, *self.short)
    return audio.transpose(0, 2, 1)

  def envelope_loss(
    self, latents: Float[Array, "B T C"], audio: Float[Array, "B N 2"]
  ) -> Float[Array, ""]:
    """Mean absolute error of the gains, against those that the decoded waveform lacks."""
    audio = pad_to_frames(audio, self.hop).transpose(0, 2, 1)
    real, made = (
      _level(jnp.mean(_power(sound, self.coarse, *self.short), 1))
      for sound in (audio, jax.lax.stop_gradient(self._waveform(latents)))
    )
    return jnp.mean(jnp.abs(self._gains(latents) - jnp.clip(real - made, -SOFTER, LOUDER)))

  def _gains(self, latents: Float[Array, "B T C"]) -> Float[Array, "B S J"]:
    """Logarithms of what short frames of both channels are to be multiplied by, in bands."""
    return self.envelope(latents).reshape(len(latents), -1, self.coarse.shape[1])

  def _waveform(self, latents: Float[Array, "B T C"]) -> Float[Array, "B 2 N"]:
    """What the levels say, without an envelope."""
    (B, T, _), J = latents.shape, self.bands.shape[1]
    levels = self.decoder(latents).reshape(B, T * self.stacked, 2, J).transpose(0, 2, 1, 3)
    magnitude = magnitude_of(levels, self.bands, self.size)
    size, stride, tonal = self.size, self.stride, TONAL * self.resolution
    start = self.start_phase(latents)
    factor = phases_of(magnitude, start, tonal, self.refinements, size, stride)
    return istft(magnitude * factor[:, None], size, stride)

  def levels(self, audio: Float[Array, "B N 2"]) -> Float[Array, "B T L"]:
    """log(1 + magnitude / FLOOR) of all STFT frames, channels and bands of a latent frame.

    Zero (1e-8) for silence; L = stacked · 2 · J in this order.
    """
    audio = pad_to_frames(audio, self.hop).transpose(0, 2, 1)
    levels = levels_of(audio, self.bands, self.size, self.stride)
    B, _, F, J = levels.shape
    return levels.transpose(0, 2, 1, 3).reshape(B, F // self.stacked, self.stacked * 2 * J)

  def head_loss(
    self, latents: Float[Array, "B T C"], audio: Float[Array, "B N 2"]
  ) -> Float[Array, ""]:
    """Mean absolute error of the decoder's levels; needs no inverse STFT."""
    return jnp.mean(jnp.abs(self.decoder(latents) - self.levels(audio)))

  def start_phase(self, latents: Float[Array, "B T C"]) -> Complex[Array, "B F K"]:
    """Unit phases that Griffin-Lim begins with in noise: a fixed pattern, turned by the latents.

    In the pattern each bin advances by its centre frequency, and bins are spread quadratically, so
    that noise is no row of pulses. It repeats in every latent frame, and steady noise would with
    it: its autocorrelation at a latent frame (12.3 Hz) was 0.98, a flutter. The latents of noise
    vary a little, so each bin is also turned by a sum of latents with quasi-random weights, which
    brings it to 0.09.
    """
    bins, overlap = np.arange(self.size // 2 + 1, dtype=np.float64), self.size // self.stride
    spread = GOLDEN * np.square(bins)  # in turns
    advance = np.outer(np.arange(self.stacked), bins) / overlap
    pattern = np.exp(2j * np.pi * (spread / 2 + advance)).astype(np.complex64)
    weights = np.cos(2 * np.pi * np.outer(1 + np.arange(self.latent), spread))
    turn = latents @ (FLUTTER * np.sqrt(2 / self.latent) * weights).astype(np.float32)
    B, T, K = turn.shape
    phase = jnp.exp(1j * turn)[:, :, None] * pattern
    return phase.reshape(B, T * self.stacked, K)

  @property
  def hop(self) -> int:
    """Samples per latent frame."""
    return self.stride * self.stacked

  @property
  def halo(self) -> int:
    """Latent frames on each side that one encoded frame can see, and one decoded ahead."""
    network = max(self.depth, BLOCKS * self.has_envelope) * (KERNEL // 2)
    window = (self.size - self.stride) // 2
    refined = 2 * window * (1 + self.refinements)
    envelope = 2 * (window // SHORTER) * self.has_envelope
    return network + -(-(max(window, refined) + envelope) // self.hop)

  @property
  def reach(self) -> None:
    """A decoded frame sees all that precede it: tones go on."""
    return None

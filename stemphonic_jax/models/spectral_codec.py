"""A codec for laptops and one kind of stem: levels on bands, their principal components, codes.

It has the face of `encodec.EnCodec` and is fitted in seconds, without a gradient: a column of codes
is one frame of an STFT, as levels on 257 bands (models/spectral.py), of which principal components
are quantised (models/quantiser.py). What speaks for one per kind of stem is that its codebook then
has to tell apart the sounds of that kind only: MusicGen-Stem has one codebook for bass, one for
drums, and four for the rest.

It gives up phase, which Griffin-Lim finds again from peaks that are followed.

Letters: B rows, N samples, T frames, J bands, W components, K levels of the quantiser, V entries.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from stemphonic_jax.models import quantiser
from stemphonic_jax.models.principal import principal_components
from stemphonic_jax.models.spectral import TONAL, band_matrix, levels_of, magnitude_of, phases_of
from stemphonic_jax.models.stft import istft
from stemphonic_jax.models.vae import in_windows

ITERATIONS = 12  # of k-means: more gain nothing that is heard


class SpectralCodec(nn.Module):
  """By default 640 samples (20 ms at 32 kHz) are a column of `levels` codes below `entries`.

  `size` and `stride` are of the STFT, in samples; `resolution` is that of `band_matrix`;
  `refinements` are the iterations of Griffin-Lim.
  """

  size: int = 2560
  stride: int = 640
  resolution: int = 64
  components: int = 48
  levels: int = 4
  entries: int = 512
  refinements: int = 24

  def setup(self):
    if self.size % (2 * self.stride):
      raise ValueError(
        f"size {self.size}, stride {self.stride}: expected an even number of strides"
      )
    self.bands = band_matrix(self.size // 2 + 1, self.resolution)
    zeros, count = nn.initializers.zeros, self.bands.shape[1]
    self.mean = self.param("mean", zeros, (count,))
    self.directions = self.param(
      "directions", nn.initializers.orthogonal(), (count, self.components)
    )
    shape = (self.levels, self.entries, self.components)
    self.codebooks = self.param("codebooks", nn.initializers.normal(1.0), shape)

  def __call__(self, audio: Float[Array, "B N"]) -> Float[Array, "B M"]:
    """Reconstruction; M is N rounded up to whole frames."""
    return self.decode(self.encode(audio))

  def encode(self, audio: Float[Array, "B N"]) -> Int[Array, "B K T"]:
    """Codes of ceil(N / hop) frames."""
    return quantiser.encode(self.codebooks, (self.spectra(audio) - self.mean) @ self.directions)

  def decode(self, codes: Int[Array, "B K T"]) -> Float[Array, "B N"]:
    """Audio of T·hop samples; a frame depends on all that precede it, since tones go on."""
    spectra = quantiser.decode(self.codebooks, codes) @ self.directions.T + self.mean
    magnitude = magnitude_of(spectra, self.bands, self.size)[:, None]
    # Where there is no tone any phase will do, but one pattern that comes again would be heard.
    angle = jax.random.uniform(jax.random.key(0), magnitude.shape[2:], maxval=2 * jnp.pi)
    start = jnp.broadcast_to(jnp.exp(1j * angle), magnitude[:, 0].shape)
    tonal, refined = TONAL * self.resolution, self.refinements
    factor = phases_of(magnitude, start, tonal, refined, self.size, self.stride)
    return istft(magnitude[:, 0] * factor, self.size, self.stride)

  def spectra(self, audio: Float[Array, "B N"]) -> Float[Array, "B T J"]:
    """Levels on bands: the logarithm of what a full-scale sine has as 1e4, 0 for silence."""
    whole = jnp.pad(audio, ((0, 0), (0, -audio.shape[1] % self.hop)))
    return levels_of(whole, self.bands, self.size, self.stride)

  def encode_chunked(
    self, apply: Callable[..., Any], audio: Float[Array, "B N"], window: int
  ) -> Int[Array, "B K T"]:
    """Codes of long audio, `window` frames at a time; as in `encodec.EnCodec`."""

    def columns(x: Float[Array, "B M"]) -> Int[Array, "B W K"]:
      return jnp.swapaxes(apply(x, method="encode"), 1, 2)

    sizes = {"inputs": self.hop, "outputs": 1, "halo": self.halo, "window": window}
    return jnp.swapaxes(in_windows(columns, audio, **sizes), 1, 2)

  def decode_chunked(
    self, apply: Callable[..., Any], codes: Int[Array, "B K T"], window: int
  ) -> Float[Array, "B N"]:
    """Audio of many codes, at once: tones go on from window to window."""
    return apply(codes, method="decode")

  @property
  def hop(self) -> int:
    """Samples per frame."""
    return self.stride

  @property
  def halo(self) -> int:
    """Frames on each side that one encoded frame can see."""
    return -(-(self.size - self.stride) // (2 * self.stride))


@functools.partial(jax.jit, static_argnums=0)
def fit(codec: SpectralCodec, key: Key[Array, ""], audio: Float[Array, "B N"]) -> dict[str, Array]:
  """Parameters of a codec for what is in `audio`: principal components, then k-means.

  A few minutes of one kind of stem are enough; there must be more frames than entries.
  """
  bare = jax.tree.map(jnp.zeros_like, codec.init(key, audio[:1, : codec.hop]))
  spectra = jax.lax.map(lambda row: codec.apply(bare, row[None], method="spectra")[0], audio)
  frames = spectra.reshape(-1, spectra.shape[-1])
  mean, directions, _ = principal_components(frames, codec.components)
  places = (frames - mean) @ directions
  averages = quantiser.fit(key, places, codec.levels, codec.entries, ITERATIONS)
  return {"mean": mean, "directions": directions, "codebooks": averages.codebooks}

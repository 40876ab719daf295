"""CLAP (Wu et al. 2023): audio and text in one space, where their cosine says whether they fit.

B clips or texts, F frames, M bands, S tokens, D width of the space.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from stemphonic_jax.models.htsat import HTSAT
from stemphonic_jax.models.layers import Dense
from stemphonic_jax.models.roberta import Roberta


class CLAP(nn.Module):
  """Two encoders, and from each a map to vectors of `width`; they come out with length 1."""

  audio: HTSAT
  text: Roberta
  width: int = 512

  def setup(self):
    self.audio_projection = Projection(self.width)
    self.text_projection = Projection(self.width)

  def embed_audio(self, x: Float[Array, "B F M"]) -> Float[Array, "B D"]:
    """Log-mel spectrograms in dB to vectors."""
    return unit(self.audio_projection(self.audio(x)))

  def embed_text(self, tokens: Int[Array, "B S"], mask: Bool[Array, "B S"]) -> Float[Array, "B D"]:
    """Token ids to vectors."""
    return unit(self.text_projection(self.text(tokens, mask)))

  def __call__(
    self, x: Float[Array, "B F M"], tokens: Int[Array, "B S"], mask: Bool[Array, "B S"]
  ) -> Float[Array, "B"]:
    """Cosines of pairs."""
    return jnp.sum(self.embed_audio(x) * self.embed_text(tokens, mask), -1)


class Projection(nn.Module):
  """Two layers with a ReLU between them."""

  width: int

  @nn.compact
  def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B D"]:
    x = nn.relu(Dense(self.width, bias=True, name="hidden")(x))
    return Dense(self.width, bias=True, name="out")(x)


def unit(x: Float[Array, "B D"]) -> Float[Array, "B D"]:
  """Vectors of length 1."""
  return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

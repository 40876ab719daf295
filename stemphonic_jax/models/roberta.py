"""The encoder of RoBERTa (Liu et al. 2019), as CLAP reads text with it: one vector for each text.

B texts, S tokens, D width, H heads.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from stemphonic_jax.models.htsat import gelu, norm
from stemphonic_jax.models.layers import Dense

PADDING = 1  # its id, and the place before the first in the table of positions


class Roberta(nn.Module):
  """Token ids to the pooled vector of the first token, [B, D]; what `mask` leaves out is not read.

  `positions` is the length of the table, two more than of the longest text.
  """

  vocabulary: int = 50265
  positions: int = 514
  width: int = 768
  depth: int = 12
  heads: int = 12
  hidden: int = 3072
  epsilon: float = 1e-5
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, tokens: Int[Array, "B S"], mask: Bool[Array, "B S"]) -> Float[Array, "B D"]:
    place = jnp.where(mask, jnp.cumsum(mask, 1), 0) + PADDING
    kind = self.param("kind", nn.initializers.normal(0.02), (self.width,))  # of two texts, the one
    x = nn.Embed(self.vocabulary, self.width, name="words")(tokens) + kind
    x = x + nn.Embed(self.positions, self.width, name="positions")(place)
    x = norm("embedding_norm", self.epsilon)(x)
    for i in range(self.depth):
      x = Block(self.heads, self.hidden, self.epsilon, self.dtype, name=f"block_{i}")(x, mask)
    return jnp.tanh(Dense(self.width, bias=True, dtype=self.dtype, name="pool")(x[:, 0]))


class Block(nn.Module):
  """Attention of the tokens to each other, then a feed-forward layer, each normed with its sum."""

  heads: int
  hidden: int
  epsilon: float
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "B S D"], mask: Bool[Array, "B S"]) -> Float[Array, "B S D"]:
    B, S, D = x.shape
    fused = Dense(3 * D, bias=True, parts=3, dtype=self.dtype, name="qkv")(x)
    q, k, v = (part.reshape(B, S, self.heads, -1) for part in fused)
    y = jax.nn.dot_product_attention(q, k, v, mask=mask[:, None, None]).reshape(B, S, D)
    y = Dense(D, bias=True, dtype=self.dtype, name="attention_out")(y)
    x = norm("attention_norm", self.epsilon)(x + y)
    y = gelu(Dense(self.hidden, bias=True, dtype=self.dtype, name="in")(x))
    y = Dense(D, bias=True, dtype=self.dtype, name="out")(y)
    return norm("norm", self.epsilon)(x + y)

"""The encoder of T5, which turns prompts into what the DiT attends to; it is frozen.

Both kinds are here: T5 1.0 with ReLU (Stable Audio Open has t5-base) and v1.1 with gated GELU (the
paper has t5-v1_1-xxl). They differ from the usual encoder in four ways: positions enter as a bias
of every attention, learned in block 0; products of queries and keys are not scaled; norms are by
the root mean square; and there are no biases. B texts, S tokens, E width, H heads, K head width.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from stemphonic_jax.models.layers import Dense


class T5(nn.Module):
  """Token ids to embeddings [B, S, E] in float32, zeros where `mask` is False.

  `width` is E, `hidden` that of the feed-forward layers. `dtype` is that of the products,
  `param_dtype` that of the parameters: XXL is kept in bfloat16, as it is published.
  """

  vocabulary: int
  width: int
  depth: int
  heads: int
  head_width: int
  hidden: int
  gated: bool
  buckets: int = 32
  distance: int = 128
  epsilon: float = 1e-6
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, tokens: Int[Array, "B S"], mask: Bool[Array, "B S"]) -> Float[Array, "B S E"]:
    embed = nn.Embed(self.vocabulary, self.width, param_dtype=self.param_dtype, name="tokens")
    x = embed(tokens).astype(jnp.float32)

    init = nn.initializers.normal(1.0)
    learned = self.param("position_bias", init, (self.buckets, self.heads), self.param_dtype)
    places = np.arange(tokens.shape[1])
    bucket = position_bucket(places[None] - places[:, None], self.buckets, self.distance)
    bias = learned.astype(jnp.float32)[bucket].transpose(2, 0, 1)[None]

    for i in range(self.depth):
      x = Block(
        heads=self.heads,
        head_width=self.head_width,
        hidden=self.hidden,
        gated=self.gated,
        epsilon=self.epsilon,
        dtype=self.dtype,
        param_dtype=self.param_dtype,
        name=f"block_{i}",
      )(x, bias, mask)
    return jnp.where(mask[..., None], RMSNorm(self.epsilon, self.param_dtype, name="norm")(x), 0)


def position_bucket(
  offset: Int[np.ndarray, "..."], buckets: int, distance: int
) -> Int[np.ndarray, "..."]:
  """The row of the learned bias for each offset key − query, in tokens.

  Half of the buckets is for keys that come later. Of each half, one half is for single offsets, the
  other for ranges that widen by a constant factor up to `distance`, and everything beyond it.
  """
  half = buckets // 2
  single = half // 2
  far = np.abs(offset)
  octave = np.log(np.maximum(far, single) / single) / np.log(distance / single)
  ranged = np.minimum(single + (octave * (half - single)).astype(int), half - 1)
  return np.where(offset > 0, half, 0) + np.where(far < single, far, ranged)


class Block(nn.Module):
  """Attention of the tokens to each other, then a feed-forward layer, both on normed inputs."""

  heads: int
  head_width: int
  hidden: int
  gated: bool
  epsilon: float
  dtype: DTypeLike
  param_dtype: DTypeLike

  @nn.compact
  def __call__(
    self, x: Float[Array, "B S E"], bias: Float[Array, "1 H S S"], mask: Bool[Array, "B S"]
  ) -> Float[Array, "B S E"]:
    kinds = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    attention = Attention(self.heads, self.head_width, **kinds, name="self_attention")
    feed_forward = FeedForward(self.hidden, self.gated, **kinds, name="feed_forward")
    attention_norm, feed_forward_norm = (
      RMSNorm(self.epsilon, self.param_dtype, name=f"{part}_norm")
      for part in ("attention", "feed_forward")
    )
    x = x + attention(attention_norm(x), bias, mask)
    return x + feed_forward(feed_forward_norm(x))


class Attention(nn.Module):
  """Multi-head attention in float32; the heads together need not be as wide as the model."""

  heads: int
  head_width: int
  dtype: DTypeLike
  param_dtype: DTypeLike

  @nn.compact
  def __call__(
    self, x: Float[Array, "B S E"], bias: Float[Array, "1 H S S"], mask: Bool[Array, "B S"]
  ) -> Float[Array, "B S E"]:
    B, S, E = x.shape
    kinds = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    q, k, v = (
      Dense(self.heads * self.head_width, **kinds, name=name)(x).reshape(B, S, self.heads, -1)
      for name in ("query", "key", "value")
    )
    y = jax.nn.dot_product_attention(q, k, v, bias, mask[:, None, None], scale=1.0)
    return Dense(E, **kinds, name="out")(y.reshape(B, S, -1))


class FeedForward(nn.Module):
  """ReLU, or a value times the GELU (by tanh) of a gate."""

  hidden: int
  gated: bool
  dtype: DTypeLike
  param_dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "B S E"]) -> Float[Array, "B S E"]:
    kinds = {"dtype": self.dtype, "param_dtype": self.param_dtype}
    y = Dense(self.hidden, **kinds, name="in")(x)
    if self.gated:
      y = y * nn.gelu(Dense(self.hidden, **kinds, name="gate")(x), approximate=True)
    else:
      y = nn.relu(y)
    return Dense(x.shape[-1], **kinds, name="out")(y)


class RMSNorm(nn.Module):
  """Divides by the root mean square, in float32: no mean is taken off."""

  epsilon: float
  param_dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "B S E"]) -> Float[Array, "B S E"]:
    gain = self.param("gain", nn.initializers.ones, (x.shape[-1],), self.param_dtype)
    power = jnp.mean(jnp.square(x), -1, keepdims=True)
    return x * jax.lax.rsqrt(power + self.epsilon) * gain.astype(jnp.float32)

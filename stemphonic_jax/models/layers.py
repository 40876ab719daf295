"""Layers shared by the transformers: products, partial rotary embedding, attention, SwiGLU.

Activations stay in float32; products run in `dtype` and accumulate in float32, which is the fast
form of bfloat16 on CPUs with matrix units, on GPUs and on TPUs alike.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(
  x: Float[Array, "... I"], kernel: Float[Array, "I O"], dtype: DTypeLike
) -> Float[Array, "... O"]:
  """x @ kernel with operands in `dtype`, accumulated in float32.

  Activations are flattened to [rows, width] here and in the gradient: left batched, XLA's CPU
  backward pass takes about 1.7 times as long.
  """
  return _forward(x, kernel, dtype)[0]


def _matmul(a: Array, b: Array) -> Array:
  return jax.lax.dot(a, b, preferred_element_type=jnp.float32)


def _forward(x, kernel, dtype):
  rows, kernel = x.reshape(-1, x.shape[-1]).astype(dtype), kernel.astype(dtype)
  return _matmul(rows, kernel).reshape(*x.shape[:-1], kernel.shape[-1]), (rows, kernel)


def _backward(dtype, saved, gradient):
  rows, kernel = saved
  g = gradient.reshape(-1, gradient.shape[-1]).astype(dtype)
  dx = _matmul(g, kernel.T).reshape(*gradient.shape[:-1], kernel.shape[0])
  return dx, _matmul(rows.T, g)


product.defvjp(_forward, _backward)


class Dense(nn.Module):
  """Linear map with float32 parameters; `zero` starts it at zero, as a residual branch ends.

  Where the parameters hold `lora_in` and `lora_out` (lora.py), their product is part of the kernel.
  """

  features: int
  bias: bool = False
  zero: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
    init = nn.initializers.zeros if self.zero else nn.initializers.lecun_normal()
    y = product(x, self.param("kernel", init, (x.shape[-1], self.features)), self.dtype)
    if self.has_variable("params", "lora_in"):
      low, high = (self.get_variable("params", name) for name in ("lora_in", "lora_out"))
      y = y + product(product(x, low, self.dtype), high, self.dtype)
    return y + self.param("bias", nn.initializers.zeros, (self.features,)) if self.bias else y


class LayerNorm(nn.Module):
  """Layer norm with a gain and no bias (Stable Audio Open)."""

  @nn.compact
  def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    centred = x - jnp.mean(x, -1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), -1, keepdims=True)
    gain = self.param("gain", nn.initializers.ones, (x.shape[-1],))
    return centred * jax.lax.rsqrt(variance + 1e-5) * gain


class Projection(nn.Module):
  """Two-layer SiLU perceptron without biases that brings a condition to the model's width."""

  width: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... D"]:
    hidden = nn.silu(Dense(self.width, dtype=self.dtype, name="hidden")(x))
    return Dense(self.width, dtype=self.dtype, name="out")(hidden)


def rotary_table(length: int, head_width: int) -> tuple[Float[Array, "T R"], Float[Array, "T R"]]:
  """Cosines and sines for positions 0..length−1, base 10 000, in float32.

  Only the first max(K/2, 32) of the K dimensions of a head are turned (all of them where K < 32).
  """
  turned = min(head_width, max(head_width // 2, 32))
  frequency = 10_000.0 ** (-jnp.arange(0, turned, 2, dtype=jnp.float32) / turned)
  angle = jnp.arange(length, dtype=jnp.float32)[:, None] * frequency
  return jnp.cos(angle), jnp.sin(angle)


def rotate(
  x: Float[Array, "B T H K"], table: tuple[Float[Array, "T R"], Float[Array, "T R"]]
) -> Float[Array, "B T H K"]:
  """Applies the rotary position embedding to the leading 2·R dimensions, in halves."""
  cos, sin = (part[:, None] for part in table)
  half = cos.shape[-1]
  a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1)


class SelfAttention(nn.Module):
  """Multi-head attention of a sequence to itself, with rotary positions."""

  heads: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B T D"],
    rotary: tuple[Float[Array, "T R"], Float[Array, "T R"]],
    mask: Bool[Array, "B T"] | None = None,
  ) -> Float[Array, "B T D"]:
    B, T, D = x.shape
    qkv = Dense(3 * D, dtype=self.dtype, name="qkv")(x).reshape(B, T, 3, self.heads, -1)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    mask = None if mask is None else mask[:, None, None, :]
    y = jax.nn.dot_product_attention(rotate(q, rotary), rotate(k, rotary), v, mask=mask)
    return Dense(D, zero=True, dtype=self.dtype, name="out")(y.reshape(B, T, D))


class FeedForward(nn.Module):
  """SwiGLU: x·SiLU(gate) at four times the width."""

  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    width = x.shape[-1]
    value, gate = jnp.split(Dense(8 * width, bias=True, dtype=self.dtype, name="in")(x), 2, -1)
    out = Dense(width, bias=True, zero=True, dtype=self.dtype, name="out")
    return out(value * nn.silu(gate))

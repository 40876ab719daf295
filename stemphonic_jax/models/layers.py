"""Layers shared by the transformers: products, partial rotary embedding, attention, SwiGLU.

Activations stay in float32; products run in `dtype` and accumulate in float32, which is the fast
form of bfloat16 on CPUs with matrix units, on GPUs and on TPUs alike.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from stemphonic_jax.models.machine import Machine, here

# Axes of a mesh (training/distributed/mesh.py). Where there is none, nothing here changes anything.
ROW_AXES = ("data", "fsdp")  # rows of a batch are split over both together
TENSOR_AXIS = "tensor"  # heads and hidden columns are split over this one
PRODUCT = "product"  # name of what a Dense makes, for policies of rematerialisation
CYCLES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 3.0, 4.0)  # per beat: of four bars to a sixteenth
FLASH = True  # attention by cuDNN's kernel on the GPUs that have it; False: by XLA, to compare


def by_rows(x: Float[Array, "B ..."], *others: str | None) -> Float[Array, "B ..."]:
  """x, said to be split over the mesh it is on: rows, and with `others` the other dimensions.

  Said of activations before and after every product, it leaves XLA one choice for parameters that
  are split too: to gather them when they are needed. Left to choose, XLA moves the activations,
  which are several times as large. Without a mesh, or with rows that do not divide, x as it is.
  """
  mesh = jax.typeof(x).sharding.mesh
  axes = tuple(axis for axis in ROW_AXES if axis in mesh.axis_names)
  if mesh.size == 1 or not axes or x.shape[0] % math.prod(mesh.shape[axis] for axis in axes):
    return x
  rest = others or (PartitionSpec.UNCONSTRAINED,) * (x.ndim - 1)
  return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(axes, *rest)))


def on_mesh(x: Float[Array, "..."]) -> bool:
  """Whether x is on a mesh of several devices."""
  return jax.typeof(x).sharding.mesh.size > 1


def tensor_parts(x: Float[Array, "..."], *sizes: int) -> int:
  """Into how many parts the mesh that x is on splits dimensions of these sizes; 1 is not at all."""
  parts = jax.typeof(x).sharding.mesh.shape.get(TENSOR_AXIS, 1)
  return parts if all(size % parts == 0 for size in sizes) else 1


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(
  x: Float[Array, "... I"], kernel: Float[Array, "I O"], dtype: DTypeLike
) -> Float[Array, "... O"]:
  """x @ kernel with operands in `dtype`, accumulated in float32.

  Activations are flattened to [rows, width] here and in the gradient: left batched, XLA's CPU
  backward pass takes about 1.7 times as long.
  """
  return _forward(x, kernel, dtype)[0]


def _matmul(a: Array, b: Array, over: tuple[int, int] = (1, 0)) -> Array:
  """Sum over axis over[0] of a and over[1] of b; XLA's library would not take b.T spelt out."""
  i, j = over
  return jax.lax.dot_general(a, b, (((i,), (j,)), ((), ())), preferred_element_type=jnp.float32)


def _forward(x, kernel, dtype):
  rows = by_rows(x).reshape(-1, x.shape[-1]).astype(dtype)
  y = _matmul(rows, kernel.astype(dtype)).reshape(*x.shape[:-1], kernel.shape[-1])
  return by_rows(y), (rows, kernel)


def _backward(dtype, saved, gradient):
  # The kernel is cast once more: kept in bfloat16 it would be a copy per layer of a scan, and XLA's
  # CPU backend widens whatever goes through a scan in bfloat16, and with it the product.
  rows, kernel = saved
  g = by_rows(gradient).reshape(-1, gradient.shape[-1]).astype(dtype)
  dx = _matmul(g, kernel.astype(dtype), (1, 1)).reshape(*gradient.shape[:-1], kernel.shape[0])
  if on_mesh(rows):  # where zeros appended to rows would move them all
    return by_rows(dx), _outer(rows, g)
  return by_rows(dx), jax.lax.platform_dependent(rows, g, cpu=_outer_on_cpu, default=_outer)


def _outer(rows: Array, g: Array) -> Array:
  return _matmul(rows, g, (0, 0))


def _outer_on_cpu(rows: Array, g: Array) -> Array:
  """The same; in 16 bits the narrower operand is transposed first, and zeros are appended to both.

  Without zeros XLA folds the transposition back, and the product leaves the library with bfloat16
  matrix units and takes 2 to 3 times as long; the wider operand takes 5 times as long to transpose.
  """
  if rows.dtype == jnp.float32:
    return _outer(rows, g)
  if rows.shape[1] > g.shape[1]:
    return jax.lax.optimization_barrier(_outer_on_cpu(g, rows)).T
  more = 32 - len(rows) % 32
  return _matmul(jnp.pad(rows.T, ((0, 0), (0, more))), jnp.pad(g, ((0, more), (0, 0))))


product.defvjp(_forward, _backward)


class Dense(nn.Module):
  """Linear map; `zero` starts it at zero, as a residual branch ends.

  Its result is `parts` arrays where these are more than one, side by side in the kernel's columns.
  Where the parameters hold `lora_in` and `lora_out` (lora.py), their product is part of the kernel.
  """

  features: int
  bias: bool = False
  zero: bool = False
  dtype: DTypeLike = jnp.float32
  param_dtype: DTypeLike = jnp.float32
  parts: int = 1

  @nn.compact
  def __call__(
    self, x: Float[Array, "... I"]
  ) -> Float[Array, "... O"] | list[Float[Array, "... P"]]:
    init = nn.initializers.zeros if self.zero else nn.initializers.lecun_normal()
    kernel = self.param("kernel", init, (x.shape[-1], self.features), self.param_dtype)
    # One product for all parts, but where columns are split between devices: there each device
    # needs its share of every part, and columns are cheaper to move as parameters than as results.
    cuts = self.parts if tensor_parts(x, self.features // self.parts) > 1 else 1
    ys = [product(x, part, self.dtype) for part in jnp.split(kernel, cuts, -1)]
    if self.has_variable("params", "lora_in"):
      low, high = (self.get_variable("params", name) for name in ("lora_in", "lora_out"))
      low = product(x, low, self.dtype)
      more = (product(low, part, self.dtype) for part in jnp.split(high, cuts, -1))
      ys = [y + z for y, z in zip(ys, more, strict=True)]
    if self.bias:
      bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
      ys = [y + part for y, part in zip(ys, jnp.split(bias, cuts), strict=True)]
    ys = [checkpoint_name(y, PRODUCT) for y in ys]
    if self.parts == 1:
      return ys[0]
    return ys if cuts > 1 else jnp.split(ys[0], self.parts, -1)


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


def rotary_table(
  length: int, head_width: int, beats: Float[Array, "B"] | None = None
) -> tuple[Float[Array, "*B T R"], Float[Array, "*B T R"]]:
  """Cosines and sines for positions 0..length−1, base 10 000, in float32.

  Only the first max(K/2, 32) of the K dimensions of a head are turned (all of them where K < 32).
  With `beats`, of each row from one position to the next, half of them are, and further ones turn
  with the CYCLES of the beat: frames at the same place of the bar are alike however far apart.
  Where a row's beats are 0 these stand still.
  """
  turned = head_width // 2 if beats is not None else min(head_width, max(head_width // 2, 32))
  frequency = 10_000.0 ** (-jnp.arange(0, turned, 2, dtype=jnp.float32) / turned)
  if beats is not None:
    cycles = 2 * jnp.pi * jnp.array(CYCLES) * beats[:, None]
    frequency = jnp.concatenate([jnp.tile(frequency, (len(beats), 1)), cycles], 1)
  angle = jnp.arange(length, dtype=jnp.float32)[:, None] * frequency[..., None, :]
  return jnp.cos(angle), jnp.sin(angle)


def rotate(
  x: Float[Array, "B T H K"], table: tuple[Float[Array, "*B T R"], Float[Array, "*B T R"]]
) -> Float[Array, "B T H K"]:
  """Applies the rotary position embedding to the leading 2·R dimensions, in halves."""
  cos, sin = (part[..., None, :] for part in table)
  half = cos.shape[-1]
  a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
  return jnp.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1)


def attend(
  query: Float[Array, "B T H K"],
  key: Float[Array, "B S G K"],
  value: Float[Array, "B S G K"],
  dtype: DTypeLike,
  mask: Bool[Array, "B S"] | None = None,
  machine: Machine | None = None,
  causal: bool = False,
) -> Float[Array, "B T D"]:
  """Softmax attention, heads side by side in the result; H/G neighbouring queries share a key.

  Products run in `dtype`. How it is computed follows from the machine that it is compiled for, this
  one where it is None: see `attention_by`. A `causal` query t sees keys 0..t only.
  """
  (B, T, H, K), G = query.shape, key.shape[2]
  heads = TENSOR_AXIS if tensor_parts(query, H, G) > 1 else None
  query, key, value = (by_rows(x, None, heads, None) for x in (query, key, value))
  machine = machine or here()
  by = attention_by(query, dtype, mask, machine)
  if by == "head":
    return _attend_head_by_head(query, key, value, dtype, mask, causal)
  if () < machine.capability < (8, 0):
    dtype = jnp.float32  # jax asks for bfloat16 by name, which these GPUs refuse
  return attend_at_once(query, key, value, dtype, mask, by, causal).reshape(B, T, H * K)


def attention_by(
  query: Float[Array, "B T H K"],
  dtype: DTypeLike,
  mask: Bool[Array, "B S"] | None,
  machine: Machine | None = None,
) -> str:
  """Who computes attention on a machine (None: this one): "head" after head, "xla", or "cudnn".

  Head by head takes less than half of the others' time on one CPU, because logits are made, used
  and forgotten within the cache; where rows are split between devices, it would gather them all.
  cuDNN never writes the logits, and wants 16 bits, Ampere or later, and heads as wide as a multiple
  of 8 up to 128. A mask would have to be a bias of all logits there, so that it is XLA's.
  """
  machine = machine or here()
  if machine.platform == "cpu":
    return "xla" if on_mesh(query) else "head"
  fits = dtype in (jnp.bfloat16, jnp.float16) and query.shape[-1] % 8 == 0 < query.shape[-1] <= 128
  return "cudnn" if FLASH and fits and mask is None and machine.capability >= (8, 0) else "xla"


def attend_at_once(
  query: Float[Array, "B T H K"],
  key: Float[Array, "B S G K"],
  value: Float[Array, "B S G K"],
  dtype: DTypeLike,
  mask: Bool[Array, "B S"] | None,
  implementation: str,
  causal: bool = False,
) -> Float[Array, "B T H K"]:
  """Attention of all rows and heads by jax.nn.dot_product_attention, with its own gradient.

  For cuDNN odd lengths are made even, without which jax refuses its gradient: by a query that is
  cut off again, and a key that is not attended to.
  """
  (B, T), S = query.shape[:2], key.shape[1]
  query, key, value = (x.astype(dtype) for x in (query, key, value))
  mask = None if mask is None else mask[:, None, None, :]
  lengths = None
  if implementation == "cudnn":
    query, key, value = (
      jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (query, key, value)
    )
    lengths = jnp.full(B, S, jnp.int32) if S % 2 else None
  y = jax.nn.dot_product_attention(
    query,
    key,
    value,
    mask=mask,
    is_causal=causal,
    key_value_seq_lengths=lengths,
    implementation=implementation,
  )
  return y[:, :T].astype(jnp.float32)


def _attend_head_by_head(query, key, value, dtype, mask, causal):
  (B, T, H, K), (S, G) = query.shape, key.shape[1:3]

  def heads(x: Array, rows: int) -> Array:
    return jnp.moveaxis(x, 1, -2).reshape(B * G, rows, K)

  q = heads((query * K**-0.5).reshape(B, T, G, H // G, K), H // G * T)
  mask = jnp.ones((B, S), bool) if mask is None else mask
  period = T if causal else 0
  y = _attend(q, heads(key, S), heads(value, S), jnp.repeat(mask, G, 0), dtype, period)
  return jnp.moveaxis(y.reshape(B, H, T, K), 1, 2).reshape(B, T, H * K)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _attend(q: Array, k: Array, v: Array, mask: Array, dtype: DTypeLike, period: int = 0) -> Array:
  """Attention of each head; with a `period` causal, query i at place i of so many, over again."""
  return _over_heads(partial(_attend_head, dtype, period), q, k, v, mask)


def _over_heads(function: Callable, *arrays: Array) -> Any:
  return jax.lax.map(lambda head: function(*head), arrays)


def _seen(mask: Array, queries: int, period: int) -> Array:
  """The keys that each query sees, or all of them."""
  if not period:
    return mask
  return mask & (jnp.arange(len(mask)) <= (jnp.arange(queries) % period)[:, None])


def _attend_head(dtype, period, q, k, v, mask):
  q, k, v = (x.astype(dtype) for x in (q, k, v))
  mask = _seen(mask, len(q), period)
  logits = jnp.where(mask, _matmul(q, k, (1, 1)), jnp.finfo(jnp.float32).min)
  weights = jnp.exp(logits - jnp.max(logits, -1, keepdims=True))
  # Divided by their sum after they have met the values, which are fewer.
  return _matmul(weights.astype(dtype), v) / jnp.sum(weights, -1, keepdims=True)


def _attend_head_backward(dtype, period, q, k, v, mask, g):
  q, k, v, g = (x.astype(dtype) for x in (q, k, v, g))
  mask = _seen(mask, len(q), period)
  weights = jax.nn.softmax(jnp.where(mask, _matmul(q, k, (1, 1)), jnp.finfo(jnp.float32).min))
  d = _matmul(g, v, (1, 1))
  d = weights * (d - jnp.sum(weights * d, -1, keepdims=True))
  d = jnp.where(mask, d, 0).astype(dtype)  # which only a row with nothing to attend to needs
  return _matmul(d, k), _matmul(d, q, (0, 0)), _matmul(weights.astype(dtype), g, (0, 0))


def _attend_backward(dtype, period, saved, gradient):
  return *_over_heads(partial(_attend_head_backward, dtype, period), *saved, gradient), None


_attend.defvjp(lambda *a: (_attend(*a), a[:4]), _attend_backward)


class SelfAttention(nn.Module):
  """Multi-head attention of a sequence to itself, with rotary positions."""

  heads: int
  dtype: DTypeLike = jnp.float32
  machine: Machine | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B T D"],
    rotary: tuple[Float[Array, "*B T R"], Float[Array, "*B T R"]],
    mask: Bool[Array, "B T"] | None = None,
  ) -> Float[Array, "B T D"]:
    B, T, D = x.shape
    qkv = Dense(3 * D, parts=3, dtype=self.dtype, name="qkv")(x)
    q, k, v = (part.reshape(B, T, self.heads, -1) for part in qkv)
    y = attend(rotate(q, rotary), rotate(k, rotary), v, self.dtype, mask, self.machine)
    return Dense(D, zero=True, dtype=self.dtype, name="out")(y)


class FeedForward(nn.Module):
  """SwiGLU: x·SiLU(gate) at four times the width."""

  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    width = x.shape[-1]
    value, gate = Dense(8 * width, bias=True, parts=2, dtype=self.dtype, name="in")(x)
    out = Dense(width, bias=True, zero=True, dtype=self.dtype, name="out")
    return out(value * nn.silu(gate))

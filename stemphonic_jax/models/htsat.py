"""HTSAT (Chen et al. 2022): log-mel spectrograms to vectors by windows of attention; it hears CLAP.

A spectrogram of M bands is cut into 4 chunks that are laid under one another, which makes a square
of 4 M rows and columns, and that is treated as a Swin transformer treats a picture: patches of 4 x
4, then stages of blocks that attend within windows of 8 x 8 patches, every other block with windows
shifted by half, and between stages 4 patches made one of twice the width.

B spectrograms, F frames, M bands, Y rows and X columns of patches, D width, H heads, N windows, S =
64 patches of a window.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from stemphonic_jax.models.layers import Dense

FOLD, PATCH, WINDOW = 4, 4, 8
EPSILON = 1e-5
APART = -100.0  # added between patches of a window that are no neighbours


class HTSAT(nn.Module):
  """Spectrograms [B, F, M] in dB to vectors [B, D], D = width · 2 ** (stages − 1).

  F is at most 16 M; shorter ones are stretched to it. M is so large that every stage has whole
  windows: 64, or 16 · 2 ** (stages − 2) and multiples.
  """

  width: int = 128
  depths: tuple[int, ...] = (2, 2, 12, 2)
  heads: tuple[int, ...] = (4, 8, 16, 32)
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "B F M"]) -> Float[Array, "B D"]:
    B, _, M = x.shape
    x = stretched(Standardise(name="bands")(x), FOLD * FOLD * M)
    x = x.reshape(B, FOLD, FOLD * M, M).transpose(0, 1, 3, 2)  # chunk, band, frame of the chunk
    side = FOLD * M // PATCH
    x = x.reshape(B, side, PATCH, side, PATCH).transpose(0, 1, 3, 2, 4).reshape(B, side, side, -1)
    x = Dense(self.width, bias=True, dtype=self.dtype, name="patch")(x)
    x = norm("patch_norm")(x)
    for i, (depth, heads) in enumerate(zip(self.depths, self.heads, strict=True)):
      if i:
        x = Merge(self.dtype, name=f"merge_{i - 1}")(x)
      for j in range(depth):
        # The last stage is one window, which cannot be shifted.
        shift = WINDOW // 2 if j % 2 and x.shape[1] > WINDOW else 0
        x = Block(heads, shift, self.dtype, name=f"stage_{i}_{j}")(x)
    return jnp.mean(norm("norm")(x), (1, 2))


def norm(name: str, epsilon: float = EPSILON) -> nn.LayerNorm:
  """Layer norm with gain and bias; the variance is not taken from a difference of squares."""
  return nn.LayerNorm(epsilon, use_fast_variance=False, name=name)


class Standardise(nn.Module):
  """Each band less its mean in training, by its deviation there: a batch norm that is done."""

  @nn.compact
  def __call__(self, x: Float[Array, "B F M"]) -> Float[Array, "B F M"]:
    ones, zeros = nn.initializers.ones, nn.initializers.zeros
    mean, bias = (self.param(name, zeros, (x.shape[-1],)) for name in ("mean", "bias"))
    variance, scale = (self.param(name, ones, (x.shape[-1],)) for name in ("variance", "scale"))
    return (x - mean) * (jax.lax.rsqrt(variance + EPSILON) * scale) + bias


def stretched(x: Float[Array, "B F M"], length: int) -> Float[Array, "B T M"]:
  """x at `length` frames from its first to its last, by cubics through 4 frames (a = −0.75)."""
  frames = x.shape[1]
  if frames == length:
    return x
  place = np.arange(length) * ((frames - 1) / (length - 1))
  first = np.floor(place).astype(int)
  after = place - first
  near = [_cubic(np.abs(after - i), -0.75) for i in (-1, 0, 1, 2)]
  rows = [np.clip(first + i, 0, frames - 1) for i in (-1, 0, 1, 2)]
  return sum(
    x[:, row] * weight.astype(np.float32)[:, None] for row, weight in zip(rows, near, strict=True)
  )


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
  """The weight of a frame that is x frames away, 0 to 2 (Keys 1981)."""
  inner = ((a + 2) * x - (a + 3)) * x * x + 1
  outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
  return np.where(x <= 1, inner, outer)


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """GELU by the error function; flax's, by what is left of it, takes longer."""
  return 0.5 * x * (1 + jax.lax.erf(x * np.float32(0.5**0.5)))


class Merge(nn.Module):
  """Four neighbouring patches to one of twice the width."""

  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "B Y X D"]) -> Float[Array, "B Y2 X2 D2"]:
    x = jnp.concatenate([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], -1)
    return Dense(x.shape[-1] // 2, dtype=self.dtype, name="reduce")(norm("norm")(x))


class Block(nn.Module):
  """Attention within windows, then a feed-forward layer, both on normed inputs."""

  heads: int
  shift: int
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "B Y X D"]) -> Float[Array, "B Y X D"]:
    width = x.shape[-1]
    y = jnp.roll(norm("attention_norm")(x), (-self.shift, -self.shift), (1, 2))
    y = Attention(self.heads, self.dtype, name="attention")(windows(y), self._apart(x.shape[1:3]))
    x = x + jnp.roll(unwindowed(y, *x.shape[1:3]), (self.shift, self.shift), (1, 2))
    y = Dense(4 * width, bias=True, dtype=self.dtype, name="in")(norm("feed_forward_norm")(x))
    y = gelu(y)
    return x + Dense(width, bias=True, dtype=self.dtype, name="out")(y)

  def _apart(self, sides: tuple[int, int]) -> np.ndarray:
    """What is added between patches of a window, [N, S, S]: shifting brought far ones together."""
    if not self.shift:
      return np.zeros((1, 1, 1), np.float32)
    row, column = (
      (np.arange(n) >= n - WINDOW).astype(int) + (np.arange(n) >= n - self.shift) for n in sides
    )
    region = (3 * row[:, None] + column).reshape(1, *sides, 1)
    region = windows(region).reshape(-1, WINDOW * WINDOW)
    return np.where(region[:, :, None] == region[:, None], 0.0, APART).astype(np.float32)


def windows(x: Shaped[Array | np.ndarray, "B Y X D"]) -> Shaped[Array | np.ndarray, "B N S D"]:
  """[B, Y, X, D] as windows of neighbours: [B, N, S, D]."""
  B, Y, X, D = x.shape
  x = x.reshape(B, Y // WINDOW, WINDOW, X // WINDOW, WINDOW, D)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(B, -1, WINDOW * WINDOW, D)


def unwindowed(x: Float[Array, "B N S D"], rows: int, columns: int) -> Float[Array, "B Y X D"]:
  """The inverse of `windows`."""
  B, D = len(x), x.shape[-1]
  x = x.reshape(B, rows // WINDOW, columns // WINDOW, WINDOW, WINDOW, D)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(B, rows, columns, D)


class Attention(nn.Module):
  """Multi-head attention of the patches of a window, with a learned bias for each offset."""

  heads: int
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N S D"], apart: Float[np.ndarray, "W P Q"]
  ) -> Float[Array, "B N S D"]:
    *shape, D = x.shape
    fused = Dense(3 * D, bias=True, parts=3, dtype=self.dtype, name="qkv")(x)
    q, k, v = (part.reshape(*shape, self.heads, -1) for part in fused)
    init = nn.initializers.normal(0.02)
    table = self.param("position_bias", init, ((2 * WINDOW - 1) ** 2, self.heads))
    bias = table[offsets()].transpose(2, 0, 1) + apart[:, None]
    scores = jnp.einsum("bnshd,bnthd->bnhst", q, k) * (D // self.heads) ** -0.5 + bias
    y = jnp.einsum("bnhst,bnthd->bnshd", nn.softmax(scores), v)
    return Dense(D, bias=True, dtype=self.dtype, name="out")(y.reshape(*shape, D))


def offsets() -> np.ndarray:
  """The row of the learned bias for each query and key of a window, [S, S]."""
  row, column = np.divmod(np.arange(WINDOW * WINDOW), WINDOW)
  down, right = (place[:, None] - place + WINDOW - 1 for place in (row, column))
  return down * (2 * WINDOW - 1) + right

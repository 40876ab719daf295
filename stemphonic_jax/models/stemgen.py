"""The network of StemGen, which listens: codes of a target stem under those of its context.

Both are K levels of codes of the same codec (Sec. 2.1). Of each the embeddings of all levels are
added up, and so is that of the instrument; the two sums lie side by side, and what follows is a
transformer of LLaMA's kind that looks both ways: rotary positions, RMSNorm, SwiGLU, no biases. It
predicts the codes of one level at those frames of the target that are masked.

A context that is not given is a learned vector in place of its sum: silence is a context too. An
instrument that is not given is one row more.

Letters: B rows, K levels, T frames, V entries of a codebook, D model width, H heads, W head width.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from stemphonic_jax.models.dit import REMAT
from stemphonic_jax.models.layers import Dense, SelfAttention
from stemphonic_jax.models.machine import Machine
from stemphonic_jax.models.t5 import RMSNorm

EPSILON = 1e-6  # of norms
BASE = 10_000.0  # of positions
CATEGORIES = 18  # instruments: of General MIDI, its 16 families, drums and sound effects (Sec. 3)

Rotary = tuple[Float[Array, "T R"], Float[Array, "T R"]]


def rotary(length: int, head_width: int) -> Rotary:
  """Cosines and sines that turn a whole head (layers.rotary_table turns a part)."""
  frequency = BASE ** (-jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width)
  angle = jnp.arange(length, dtype=jnp.float32)[:, None] * frequency
  return jnp.cos(angle), jnp.sin(angle)


class Block(nn.Module):
  """Attention of all frames to each other, and SwiGLU, both on normed inputs."""

  heads: int
  hidden: int
  dtype: DTypeLike = jnp.float32
  machine: Machine | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "B T D"], places: Rotary) -> Float[Array, "B T D"]:
    norms = [RMSNorm(EPSILON, jnp.float32, name=f"{part}_norm") for part in ("self", "feed")]
    attention = SelfAttention(self.heads, self.dtype, self.machine, name="self_attention")
    x = x + attention(norms[0](x), places)
    gate = Dense(2 * self.hidden, parts=2, dtype=self.dtype, name="feed_in")
    value, gated = gate(norms[1](x))
    return x + Dense(x.shape[-1], zero=True, dtype=self.dtype, name="feed_out")(
      value * nn.silu(gated)
    )


class StemGen(nn.Module):
  """Logits [B, T, V] of one level of the target's codes.

  Entry V of a target's table is the mask. `width` is that of both channels together; `hidden` of
  the SwiGLU is 8/3 of it where it is 0. `instruments` are counted without the null one.
  """

  levels: int
  vocabulary: int
  width: int
  depth: int
  heads: int
  instruments: int = CATEGORIES
  hidden: int = 0
  dtype: DTypeLike = jnp.float32
  remat: str = "none"
  machine: Machine | None = None

  def setup(self):
    half, normal = self.width // 2, nn.initializers.normal(0.02)
    self.context_table = self.param("context_table", normal, (self.levels, self.vocabulary, half))
    self.target_table = self.param("target_table", normal, (self.levels, self.vocabulary + 1, half))
    self.instrument_table = self.param("instrument_table", normal, (self.instruments + 1, half))
    self.null_context = self.param("null_context", normal, (half,))
    self.out_norm = RMSNorm(EPSILON, jnp.float32)
    lecun = nn.initializers.lecun_normal(batch_axis=0)
    self.head_table = self.param("head_table", lecun, (self.levels, self.width, self.vocabulary))
    self.blocks = self.param("blocks", self._init_blocks)

  @property
  def mask(self) -> int:
    """The code of places that are to be predicted."""
    return self.vocabulary

  @property
  def _block(self) -> Block:
    hidden = self.hidden or round(self.width * 8 / 3)
    return Block(self.heads, hidden, self.dtype, self.machine, parent=None)

  def _init_blocks(self, key: Array) -> dict:
    """One Block, initialised under vmap: its parameters stacked on a leading `depth` axis."""
    x, places = jnp.zeros((1, 1, self.width)), rotary(1, self.width // self.heads)
    init = self._block.init
    return jax.vmap(lambda k: init(k, x, places)["params"])(jax.random.split(key, self.depth))

  def __call__(
    self,
    context: Int[Array, "B K T"],
    hears: Bool[Array, "B"],
    target: Int[Array, "B K T"],
    instrument: Int[Array, "B"],
    level: Int[Array, "B"],
  ) -> Float[Array, "B T V"]:
    """Logits of a level for each row, under the context where it `hears` one."""
    codes = range(self.levels)
    heard = sum(jnp.take(self.context_table[k], context[:, k], 0) for k in codes)
    heard = jnp.where(hears[:, None, None], heard, self.null_context)
    made = sum(jnp.take(self.target_table[k], target[:, k], 0) for k in codes)
    what = jnp.take(self.instrument_table, instrument, 0)[:, None]
    x = jnp.concatenate([heard + what, made + what], -1)
    places = rotary(x.shape[1], self.width // self.heads)

    def apply_block(x: Array, layer: Any) -> tuple[Array, None]:
      return self._block.apply({"params": layer}, x, places), None

    x, _ = jax.lax.scan(REMAT[self.remat](apply_block), x, self.blocks)
    product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    heads = jnp.take(self.head_table, level, 0).astype(self.dtype)
    return product("btd,bdv->btv", self.out_norm(x).astype(self.dtype), heads)

"""Attention between the stems of a group, which lets rows meet. Not in the paper.

The paper's rows never meet: its loss is a mean over rows, so nothing in training can make them fit,
and what fits at inference comes from one noise going through similar maps (Sec. 3.2). Here each
frame also attends to the same frame of all rows with an equal `group`, its own among them. There
are no positions, so the order of stems does not matter, and their number is any. The vector `group`
is the only switch: with `arange` every row is alone.

Rows are looked at in blocks of P neighbours, within which groups lie whole (data/batching): P·P
logits a frame instead of B·B, and blocks may be on different devices.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from stemphonic_jax.models.layers import Dense


def attend_to_group(
  query: Float[Array, "B T H K"],
  key: Float[Array, "B T H K"],
  value: Float[Array, "B T H V"],
  group: Int[Array, "B"],
  block: int = 0,
) -> Float[Array, "B T H V"]:
  """Softmax attention of every frame over the rows of its group, frame by frame and head by head.

  Groups lie within `block` neighbouring rows, or anywhere where it is 0. In float32: there are few
  products, and what rows of other groups weigh is zero to the bit. ValueError where rows do not
  divide into blocks.
  """
  B, T, H, K = query.shape
  P = block or B
  if B % P:
    raise ValueError(f"{B} rows do not divide into blocks of {P}")
  query, key, value = (x.reshape(B // P, P, T, H, -1) for x in (query, key, value))
  group = group.reshape(B // P, P)
  same = group[:, :, None] == group[:, None]
  logits = jnp.einsum("nithk,njthk->nijth", query, key) * K**-0.5
  logits = jnp.where(same[..., None, None], logits, jnp.finfo(jnp.float32).min)
  weights = jax.nn.softmax(logits, 2)
  return jnp.einsum("nijth,njthv->nithv", weights, value).reshape(B, T, H, -1)


class StemAttention(nn.Module):
  """Multi-head attention of each frame to that frame of the stems of its group; begins at zero.

  Queries and keys are half as wide as values: who is heard needs less than what. So it costs a
  sixth of what the rest of a block does.
  """

  heads: int
  block: int = 0
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "B T D"], group: Int[Array, "B"]) -> Float[Array, "B T D"]:
    B, T, D = x.shape
    query, key = Dense(D, parts=2, dtype=self.dtype, name="query_key")(x)
    value = Dense(D, dtype=self.dtype, name="value")(x)
    q, k, v = (part.reshape(B, T, self.heads, -1) for part in (query, key, value))
    y = attend_to_group(q, k, v, group, self.block).reshape(B, T, D)
    return Dense(D, zero=True, dtype=self.dtype, name="out")(y)

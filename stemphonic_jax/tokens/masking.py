"""What StemGen is trained to predict: some frames of one level, under coarser levels and a context.

SoundStorm's law (Borsos et al. 2023), with the one change of StemGen, Sec. 2.1: of the target

    levels coarser than the drawn one   whole
    the drawn level                     masked in a share cos(π/2·u) of its frames, u ~ U(0, 1)
    finer levels                        masked everywhere, also before a beginning: there is none

The context is never masked. What the paper does not give: the level is drawn for each row, so are u
and the conditions that are left out.

Letters: B rows, K levels, T frames.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

GOLDEN = 2654435769  # of 2**32: its multiples, modulo that, are spread evenly however many


def share(u: Float[Array, "*B"]) -> Float[Array, "*B"]:
  """The share of frames that is masked: all at u = 0, none at 1, 0.64 on average."""
  return jnp.cos(jnp.pi / 2 * u)


def draw_masks(
  key: Key[Array, ""], row: Int[Array, "B"], levels: int, frames: int
) -> tuple[Int[Array, "B"], Bool[Array, "B T"]]:
  """A level for each row id, and which of its frames are masked: at least one.

  The u of neighbouring rows are spread over the interval (stratified), and each is uniform.
  """
  spread = (row.astype(jnp.uint32) * jnp.uint32(GOLDEN)).astype(jnp.float32) / 2.0**32
  u = jax.random.uniform(jax.random.fold_in(key, 0)) + spread
  count = jnp.maximum(1, jnp.floor(share(u % 1) * frames))

  def draw(row: Array, count: Array) -> tuple[Array, Array]:
    level, place = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 1), row))
    rank = jax.random.permutation(place, frames)
    return jax.random.randint(level, (), 0, levels), rank < count

  return jax.vmap(draw)(row, count)


def masked(
  codes: Int[Array, "B K T"], level: Int[Array, "B"], hidden: Bool[Array, "B T"], mask: int
) -> Int[Array, "B K T"]:
  """The codes with those masked that are `hidden` in the level, and all of finer levels."""
  k = jnp.arange(codes.shape[1])[:, None]
  at = level[:, None, None]
  return jnp.where((k > at) | ((k == at) & hidden[:, None]), mask, codes)


def draw_conditions(
  key: Key[Array, ""], row: Int[Array, "B"], rate: float = 0.2, neither: float = 0.1
) -> tuple[Bool[Array, "B"], Bool[Array, "B"]]:
  """Whether each row hears its context, and is told its instrument.

  Each is left out with probability `rate`, independently of the other, as guidance per source
  needs; and both with `neither` on top, which would else be learned in 4 % of the rows.
  """
  draw = jax.vmap(lambda r: jax.random.uniform(jax.random.fold_in(key, r), (3,)))
  u = draw(row)
  given = (u[:, :2] >= rate) & (u[:, 2:] >= neither)
  return given[:, 0], given[:, 1]

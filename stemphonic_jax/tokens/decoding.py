"""Codes column after column: one jitted pass with a cache of keys and values.

Each column is drawn from the logits of the one before: divided by a temperature, of which those
under the `top_k`-th are left out, one draw for each stream. Guidance looks at every column with the
text and without, two rows of a batch,

    logits = null + scale·(given − null)                                                       (1)

and both read the same codes, so that nothing but the text is guided.

Codes may be given, anywhere: a beginning, or streams of stems that stay. All streams are drawn at
every column, and where a code is given, that is what goes into the columns, to the bit. A stream
that is made anew therefore hears in frame t what was given up to frame t − 1.

A cache has room for as many columns as there will be; it begins small and grows in few steps, since
a step reads all of it.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from stemphonic_jax.models.musicgen import MusicGen, empty, grow
from stemphonic_jax.tokens import delay

ROOM = 512  # columns by which a cache grows


def decode(
  model: MusicGen,
  params: Any,
  keys: Key[Array, "B"],
  text: Int[Array, "B S"] | Float[Array, "B S E"],
  mask: Bool[Array, "B S"],
  given: Int[Array, "B K T"],
  is_given: Bool[Array, "B K T"],
  guidance: Float[Array, ""] | float = 3.0,
  temperature: Float[Array, ""] | float = 1.0,
  *,
  delays: Sequence[int],
  guided: bool = True,
  top_k: int = 250,
  beginning: int = 0,
) -> Int[Array, "B K T"]:
  """Codes of B rows, equal to `given` where that is so; this is what a generation compiles.

  The first `beginning` frames are given in every row and stream, and read at once. A row's draws
  follow from its key alone. Not `guided`, a row costs half; `top_k` of 1 takes the likeliest code,
  0 draws from all. ValueError where the delays or `beginning` do not fit.
  """
  frames = given.shape[-1]
  if not 0 <= beginning <= frames:
    raise ValueError(f"beginning: got {beginning} frames, expected 0 to {frames}")
  wanted = delay.delay(given, delays, model.special)
  fixed = delay.delay(is_given, delays, True)
  variables, views = {"params": params}, 2 if guided else 1
  if guided:
    text, mask = jnp.concatenate([text, text]), jnp.concatenate([mask, jnp.zeros_like(mask)])
  listened = model.apply(variables, text, mask, method="listen")
  memory = model.apply(variables, listened, method="memory")

  def every_view(codes: Array) -> Array:
    return jnp.concatenate([codes] * views)

  def column(carry: tuple, xs: tuple) -> tuple[tuple, Array]:
    """Reads column n, and makes the next."""
    codes, cache = carry
    n, wanted, fixed = xs
    logits, cache = model.apply(variables, every_view(codes), n, cache, memory, mask, method="step")
    if guided:
      shown, null = jnp.split(logits, 2)
      logits = null + guidance * (shown - null)
    drawn = draw(jax.vmap(jax.random.fold_in, (0, None))(keys, n), logits, top_k, temperature)
    codes = jnp.where(fixed, wanted, drawn)
    return (codes, cache), codes

  # The last column of a beginning is read by the scan, whose next column is the first drawn.
  last = wanted.shape[-1] - 1
  cache = empty(model, views * len(given), 0)
  if beginning:
    read = every_view(wanted[..., :beginning])
    _, cache = model.apply(variables, read, listened, mask, method="begin")
  places = jnp.arange(last)
  coming = tuple(jnp.moveaxis(x[..., 1:], -1, 0) for x in (wanted, fixed))
  carry, made, n = (wanted[..., beginning], cache), [], beginning
  while n < last:
    until = min(last, (n // ROOM + 1) * ROOM)
    carry = carry[0], grow(carry[1], until)
    xs = jax.tree.map(lambda x, n=n, until=until: x[n:until], (places, *coming))
    carry, drawn = jax.lax.scan(column, carry, xs)
    made.append(jnp.moveaxis(drawn, 0, -1))
    n = until
  return delay.undelay(jnp.concatenate([wanted[..., : beginning + 1], *made], -1), delays)


def draw(
  keys: Key[Array, "B"],
  logits: Float[Array, "B K V"],
  top_k: int,
  temperature: Float[Array, ""] | float,
) -> Int[Array, "B K"]:
  """One code for each stream of a row: the likeliest, or a draw from the `top_k` likeliest."""
  if top_k == 1:
    return jnp.argmax(logits, -1)
  if 0 < top_k < logits.shape[-1]:
    least = jax.lax.top_k(logits, top_k)[0][..., -1:]
    logits = jnp.where(logits >= least, logits, -jnp.inf)
  return jax.vmap(jax.random.categorical)(keys, logits / temperature)

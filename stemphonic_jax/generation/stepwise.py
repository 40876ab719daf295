"""A pass piece by piece, so that one can look in between: the same to the bit, in the same time."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from stemphonic_jax import sampler
from stemphonic_jax.guidance import PLAIN, Views
from stemphonic_jax.models.conditioning import Conditions
from stemphonic_jax.models.dit import DiT

STEPS = 4  # of a piece

_begin = jax.jit(sampler.begin, static_argnames=("steps", "start", "share"))
_end = jax.jit(sampler.end)


@functools.lru_cache(maxsize=4)
def program(dit: DiT) -> Callable:
  """What is compiled for a piece: once for guided steps, and once for the others."""
  names = ("steps", "is_guided", "views", "in_turn", "order")
  return jax.jit(functools.partial(sampler.advance, dit), static_argnames=names)


def one_pass(
  dit: DiT,
  look: Callable[[float], None],
  params: Any,
  key: jax.Array,
  guidance: Any,
  group: Any,
  turns: Any,
  conditions: Conditions,
  *,
  steps: int,
  interval: tuple[int, int] | None,
  views: Views = PLAIN,
  in_turn: bool = False,
  start: int = 0,
  share: float = 1.0,
  order: int = 1,
) -> jax.Array:
  """As `sampler.one_pass`, for one that `look`s after each piece at the share that is done."""
  noise, x = _begin(key, group, turns, conditions, steps=steps, start=start, share=share)
  pieces, state = sampler.pieces(steps, interval, start, STEPS), sampler.at_rest(x)
  for first, last, is_guided in pieces:
    options = {"views": views, "in_turn": in_turn} if is_guided else {}
    state = program(dit)(
      params,
      guidance,
      conditions,
      noise,
      state,
      first,
      last,
      start,
      steps=steps,
      is_guided=is_guided,
      order=order,
      **options,
    )
    state[0].block_until_ready()
    look((last - start) / (steps - start))
  return _end(conditions, state[0])

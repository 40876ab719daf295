"""Codes by unmasking, level after level, in one jitted scan (StemGen, Sec. 2.1.1).

A level begins masked. Each step draws a candidate for every masked frame, ranks them by

    ρ(x_n) = w_c·c(x_n) + w_s·(1 − n/N) + w_r·X        X ~ U(0, 1)                             (1)

where c is the probability of the candidate, and keeps the best. What is kept stays, and of N masked
frames ⌊cos(π/2·i/steps)·N⌋ are masked after step i, fewer at each and none after the last. Codes
that are given are not seen until their level begins: in training all finer levels are hidden.

Guidance weighs the context a and the instrument i by themselves, each seen without the other:

    log p(t|a, i) ← λ_a·log p(t|a) + λ_i·log p(t|i) + (1 − λ_a − λ_i)·log p(t)                 (3)

Weights of 1 for both are no guidance: p(t|a, i), as the paper has it.

Letters: B rows, K levels, T frames, V entries of a codebook, W views (what of a and i is shown).
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from stemphonic_jax.models.stemgen import StemGen
from stemphonic_jax.tokens.decoding import draw
from stemphonic_jax.tokens.masking import masked

STEPS = (128, 64, 32)  # of the levels for FRAMES frames; finer ones have the last number
FRAMES, FEWEST = 1000, 8
WEIGHTS = (0.1, 0.1, 1.0)  # of confidence, of order, of chance

View = tuple[bool, bool]  # whether the context is heard, whether the instrument is told
PLAIN: View = (True, True)


def steps_of(levels: int, frames: int) -> tuple[int, ...]:
  """Steps of each level: 128, 64, 32, 32 for 20 s, in proportion for less, at least 8."""
  numbers = [STEPS[min(level, len(STEPS) - 1)] for level in range(levels)]
  return tuple(max(FEWEST, round(number * frames / FRAMES)) for number in numbers)


def steps_from(first: int, levels: int) -> tuple[int, ...]:
  """Steps of each level in the same proportion, where the coarsest has `first` of them."""
  numbers = [STEPS[min(level, len(STEPS) - 1)] for level in range(levels)]
  return tuple(max(1, round(first * number / STEPS[0])) for number in numbers)


def views(context: float = 3.0, instrument: float = 3.0) -> dict[View, float]:
  """What guidance looks at, and the factors of (3), without those that are zero."""
  if context == instrument == 1:
    return {PLAIN: 1.0}
  found = {(True, False): context, (False, True): instrument}
  found[(False, False)] = 1 - context - instrument
  return {view: factor for view, factor in found.items() if factor}


def still_masked(
  step: Int[Array, ""],
  steps: Int[Array, ""],
  number: Int[Array, "B"],
  before: Int[Array, "B"],
) -> Int[Array, "B"]:
  """Frames that are masked after a step, from 0 on, of `number` at first and `before` it.

  One fewer at least, and one is left until the last step (VampNet's rule).
  """
  left = jnp.floor(jnp.cos(jnp.pi / 2 * (step + 1) / steps) * number).astype(jnp.int32)
  after = jnp.minimum(before, jnp.maximum(1, jnp.minimum(left, before - 1)))
  return jnp.where(step + 1 == steps, 0, after)


def rank(
  confidence: Float[Array, "B T"], chance: Float[Array, "B T"], weights: Float[Array, "3"]
) -> Float[Array, "B T"]:
  """ρ of (1)."""
  frames = confidence.shape[-1]
  order = 1 - jnp.arange(frames) / frames
  return weights[0] * confidence + weights[1] * order + weights[2] * chance


def decode(
  model: StemGen,
  params: Any,
  keys: Key[Array, "B"],
  context: Int[Array, "B K T"],
  hears: Bool[Array, "B"],
  instrument: Int[Array, "B"],
  given: Int[Array, "B K T"],
  is_given: Bool[Array, "B K T"],
  factors: Float[Array, "W"],
  weights: Float[Array, "3"],
  temperature: Float[Array, ""] | float = 1.0,
  *,
  shown: tuple[View, ...],
  steps: Sequence[int],
  top_k: int = 0,
) -> Int[Array, "B K T"]:
  """Codes of B stems, equal to `given` where that is so; this is what a generation compiles.

  Without a context, as for the first stem of a song, `hears` is False. `shown` and `factors` are
  those of `views`, `steps` those of each level, `top_k` and `temperature` of a draw as in
  decoding.py. A row's draws follow from its key alone.
  """
  variables, B, W = {"params": params}, len(context), len(shown)
  heard, told = (np.array(part)[:, None] for part in zip(*shown, strict=True))

  def tiled(x: Array) -> Array:
    return jnp.tile(x, (W, *(1,) * (x.ndim - 1)))

  hears = (hears[None] & heard).reshape(-1)
  instrument = jnp.where(told, instrument[None], model.instruments).reshape(-1)
  number = jnp.sum(~is_given, -1)

  def step(codes: Array, xs: tuple) -> tuple[Array, None]:
    place, level, i, steps = xs
    levels = jnp.full(B, level)
    seen = masked(codes, levels, jnp.zeros((B, codes.shape[-1]), bool), model.mask)
    logits = model.apply(variables, tiled(context), hears, tiled(seen), instrument, tiled(levels))
    logits = jax.nn.log_softmax(logits).reshape(W, B, *logits.shape[1:])
    logits = jnp.einsum("w,wbtv->btv", factors, logits, precision="highest")
    own = jax.vmap(jax.random.split)(jax.vmap(jax.random.fold_in, (0, None))(keys, place))
    drawn = draw(own[:, 0], logits, top_k, temperature)
    confidence = jnp.take_along_axis(jax.nn.softmax(logits), drawn[..., None], -1)[..., 0]
    chance = jax.vmap(lambda key: jax.random.uniform(key, drawn.shape[1:]))(own[:, 1])
    now = codes[:, level]
    hidden = now == model.mask
    before = jnp.sum(hidden, -1)
    after = still_masked(i, steps, number[:, level], before)
    best = jnp.where(hidden, rank(confidence, chance, weights), -jnp.inf)
    order = jnp.argsort(jnp.argsort(-best, -1), -1)
    keep = hidden & (order < (before - after)[:, None])
    return codes.at[:, level].set(jnp.where(keep, drawn, now)), None

  plan = [(level, i, count) for level, count in enumerate(steps) for i in range(count)]
  level, i, count = (jnp.asarray(part) for part in zip(*plan, strict=True))
  begin = jnp.where(is_given, given, model.mask)
  return jax.lax.scan(step, begin, (jnp.arange(len(plan)), level, i, count))[0]

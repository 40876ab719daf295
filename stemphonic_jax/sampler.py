"""One jitted pass from noise to latents: Euler steps, guided only inside an interval.

Time runs over the grid t = 1, 1 − 1/N, …, 0. Steps are counted from 1, and the guided interval
(first, last) is inclusive (Sec. 4.1: steps 3..28 of 32). Inside it the network sees 2·R rows, R
with their conditions and R with the null conditions; outside it sees R. Three scans in a row
(before, inside, after) keep unguided steps at half the cost, where a branch in one scan would not.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from stemphonic_jax.flow import shared_noise, turn
from stemphonic_jax.models.conditioning import Conditions, null_conditions
from stemphonic_jax.models.dit import DiT

Velocity = Callable[[Float[Array, "R T C"], Float[Array, "R"]], Float[Array, "R T C"]]


def phases(steps: int, interval: tuple[int, int] | None) -> tuple[int, int, int]:
  """Numbers of steps before, inside and after the guided interval; None means nothing is guided.

  Raises ValueError where `steps` is under 1 or the interval does not lie in 1..steps.
  """
  if steps < 1:
    raise ValueError(f"steps: got {steps}, expected at least 1")
  if interval is None:
    return steps, 0, 0
  first, last = interval
  if not 1 <= first <= last <= steps:
    raise ValueError(f"guided interval: got {first}..{last}, expected it within 1..{steps}")
  return first - 1, last - first + 1, steps - last


def network_rows(steps: int, interval: tuple[int, int] | None) -> int:
  """Network rows that one generated stem costs; 58 in the paper's setting, 64 without interval."""
  before, guided, after = phases(steps, interval)
  return before + 2 * guided + after


def guide(both: Velocity, scale: Float[Array, ""] | float) -> Velocity:
  """Classifier-free guidance: v = v_null + scale·(v_cond − v_null).

  `both` maps 2·R rows, the first half conditioned and the second half null, in one network call.
  """

  def guided(x: Float[Array, "R T C"], t: Float[Array, "R"]) -> Float[Array, "R T C"]:
    v = both(jnp.concatenate([x, x]), jnp.concatenate([t, t]))
    conditioned, null = jnp.split(v, 2)
    return null + scale * (conditioned - null)

  return guided


def sample(
  noise: Float[Array, "R T C"],
  conditional: Velocity,
  guided: Velocity,
  steps: int = 32,
  interval: tuple[int, int] | None = (3, 28),
) -> Float[Array, "R T C"]:
  """Integrates x ← x + v/N from t = 1 to t = 0 with first-order Euler steps (Sec. 4.1).

  Rows never meet except inside the two velocities, which is what makes a stem independent of the
  other stems in its batch.
  """
  before, inside, after = phases(steps, interval)
  conditional = jax.jit(conditional)  # traced once for both ends

  def run(x: Float[Array, "R T C"], velocity: Velocity, start: int, count: int):
    def step(x, i):
      t = jnp.full(x.shape[:1], 1.0 - i / steps, jnp.float32)
      return x + velocity(x, t) / steps, None

    return jax.lax.scan(step, x, jnp.arange(start, start + count))[0] if count else x

  x = run(noise, conditional, 0, before)
  x = run(x, guided, before, inside)
  return run(x, conditional, before + inside, after)


def one_pass(
  dit: DiT,
  params: Any,
  key: Key[Array, ""],
  guidance: Float[Array, ""] | float,
  group: Int[Array, "R"],
  turns: Float[Array, "R C C"] | None,
  conditions: Conditions,
  *,
  steps: int = 32,
  interval: tuple[int, int] | None = (3, 28),
) -> Float[Array, "R T C"]:
  """Standardised latents of R stems from one noise per group, each row's turned by its `turns`.

  Conditions are embedded once for all steps. This is what a generation compiles.
  """
  variables = {"params": params}
  both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), conditions, null_conditions(conditions))

  def velocity(conditions: Conditions) -> Velocity:
    prepared = dit.apply(variables, conditions, method="prepare")
    return lambda x, t: dit.apply(variables, x, t, prepared, method="velocity")

  noise = shared_noise(key, group, conditions.context.shape[1:])
  if turns is not None:
    noise = turn(noise, turns)
  guided = guide(velocity(both), guidance)
  latents = sample(noise, velocity(conditions), guided, steps, interval)
  if conditions.known is not None:
    latents = jnp.where(conditions.known[..., None], conditions.clean, latents)
  return latents


def rescale_interval(
  interval: tuple[int, int], steps: int, new_steps: int
) -> tuple[int, int] | None:
  """The steps out of `new_steps` whose time lies where `interval` of `steps` lies; None if none.

  Step i of N is taken at t = 1 − (i − 1)/N, so 3..28 of 32 covers t from 0.9375 down to 0.15625.
  """
  first = -((interval[0] - 1) * new_steps // -steps) + 1
  last = (interval[1] - 1) * new_steps // steps + 1
  return (first, last) if first <= last else None

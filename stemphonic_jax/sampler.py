"""One jitted pass from noise to latents: Euler steps, guided only inside an interval.

Time runs over the grid t = 1, 1 − 1/N, …, 0. Steps are counted from 1, and the guided interval
(first, last) is inclusive (Sec. 4.1: steps 3..28 of 32). Inside it the network sees 2·R rows, R
with their conditions and R with the null conditions; outside it sees R. Three scans in a row
(before, inside, after) keep unguided steps at half the cost, where a branch in one scan would not.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from stemphonic_jax.flow import interpolate, shared_noise, turn
from stemphonic_jax.guidance import PLAIN, Velocity, Views, guide, stacked, weigh
from stemphonic_jax.models.conditioning import Conditions, null_conditions
from stemphonic_jax.models.dit import DiT

Place = Callable[[Float[Array, "R T C"], Float[Array, "R"]], Float[Array, "R T C"]]


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


def network_rows(steps: int, interval: tuple[int, int] | None, views: int = 2) -> int:
  """Network rows that one generated stem costs; 58 in the paper's setting, 64 without interval.

  A guided step takes as many as there are `views` (guidance.py): 2 with one weight for all.
  """
  before, guided, after = phases(steps, interval)
  return before + views * guided + after


def sample(
  noise: Float[Array, "R T C"],
  conditional: Velocity,
  guided: Velocity,
  steps: int = 32,
  interval: tuple[int, int] | None = (3, 28),
  start: int = 0,
  place: Place | None = None,
) -> Float[Array, "R T C"]:
  """Integrates x ← x + v/N from t = 1 to t = 0 with first-order Euler steps (Sec. 4.1).

  Rows never meet except inside the two velocities, which is what makes a stem independent of the
  other stems in its batch. With a `start`, `noise` is x at t = 1 − start/N, and that many steps are
  left out. `place` is what x goes through before each step, as where frames of it are known.
  """
  before, inside, after = phases(steps, interval)
  conditional = jax.jit(conditional)  # traced once for both ends

  def run(x: Float[Array, "R T C"], velocity: Velocity, first: int, last: int):
    def step(x, i):
      t = jnp.full(x.shape[:1], 1.0 - i / steps, jnp.float32)
      x = place(x, t) if place else x
      return x + velocity(x, t) / steps, None

    first = max(first, start)
    return jax.lax.scan(step, x, jnp.arange(first, last))[0] if first < last else x

  x = run(noise, conditional, 0, before)
  x = run(x, guided, before, before + inside)
  return run(x, conditional, before + inside, before + inside + after)


def one_pass(
  dit: DiT,
  params: Any,
  key: Key[Array, ""],
  guidance: Float[Array, "*V"] | float,
  group: Int[Array, "R"],
  turns: Float[Array, "R C C"] | None,
  conditions: Conditions,
  *,
  steps: int = 32,
  interval: tuple[int, int] | None = (3, 28),
  views: Views = PLAIN,
  in_turn: bool = False,
  start: int = 0,
) -> Float[Array, "R T C"]:
  """Standardised latents of R stems from one noise per group, each row's turned by its `turns`.

  Conditions are embedded once for all steps. This is what a generation compiles. `guidance` is the
  one weight of all conditions or, with other `views`, a factor of each (guidance.py). Views are one
  batch, or looked at `in_turn`, which takes less memory. With a `start`,
  the path begins at t = 1 − start/N between the latents that are `clean` and the noise: the less
  noise, the more stays. A model that was not trained to hear frames that are `known` is shown them
  as they would be at each step, (1 − t)·clean + t·noise.
  """
  variables = {"params": params}

  def velocity(conditions: Conditions) -> Velocity:
    prepared = dit.apply(variables, conditions, method="prepare")
    return lambda x, t: dit.apply(variables, x, t, prepared, method="velocity")

  noise = shared_noise(key, group, conditions.context.shape[1:])
  if turns is not None:
    noise = turn(noise, turns)
  if views == PLAIN and not in_turn:
    pair = conditions, null_conditions(conditions)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *pair)
    guided = guide(velocity(both), guidance)
  else:
    every = _every_view(dit, variables, stacked(conditions, views), in_turn)
    guided = weigh(every, jnp.asarray(guidance, jnp.float32))
  x, place = noise, None
  if start:
    x = interpolate(conditions.clean, noise, jnp.full(noise.shape[:1], 1 - start / steps))
  if conditions.known is not None and not dit.ensemble:
    place = functools.partial(_put_back, conditions, noise)
  latents = sample(x, velocity(conditions), guided, steps, interval, start, place)
  if conditions.known is not None:
    latents = jnp.where(conditions.known[..., None], conditions.clean, latents)
  return latents


def _every_view(
  dit: DiT, variables: Any, conditions: Conditions, in_turn: bool
) -> Callable[[Float[Array, "R T C"], Float[Array, "R"]], Float[Array, "V R T C"]]:
  """The velocities of all views, whose conditions are on a leading axis."""
  prepare = functools.partial(dit.apply, variables, method="prepare")
  velocity = functools.partial(dit.apply, variables, method="velocity")
  if in_turn:
    prepared = jax.lax.map(prepare, conditions)
    return lambda x, t: jax.lax.map(lambda view: velocity(x, t, view), prepared)
  V = len(conditions.bpm)
  prepared = prepare(jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), conditions))

  def every(x: Float[Array, "R T C"], t: Float[Array, "R"]) -> Float[Array, "V R T C"]:
    v = velocity(jnp.tile(x, (V, 1, 1)), jnp.tile(t, V), prepared)
    return v.reshape(V, *x.shape)

  return every


def _put_back(
  conditions: Conditions,
  noise: Float[Array, "R T C"],
  x: Float[Array, "R T C"],
  t: Float[Array, "R"],
) -> Float[Array, "R T C"]:
  """x(t) with its known frames where they are on their way from noise to data."""
  known = interpolate(conditions.clean, noise, t)
  return jnp.where(conditions.known[..., None], known, x)


def rescale_interval(
  interval: tuple[int, int], steps: int, new_steps: int
) -> tuple[int, int] | None:
  """The steps out of `new_steps` whose time lies where `interval` of `steps` lies; None if none.

  Step i of N is taken at t = 1 − (i − 1)/N, so 3..28 of 32 covers t from 0.9375 down to 0.15625.
  """
  first = -((interval[0] - 1) * new_steps // -steps) + 1
  last = (interval[1] - 1) * new_steps // steps + 1
  return (first, last) if first <= last else None

"""One jitted pass from noise to latents, step by step, guided only inside an interval.

Time runs over the grid t = 1, 1 − 1/N, …, 0. Steps are counted from 1, and the guided interval
(first, last) is inclusive (Sec. 4.1: steps 3..28 of 32). Inside it the network sees 2·R rows, R
with their conditions and R with the null conditions; outside it sees R. Three scans in a row
(before, inside, after) keep unguided steps at half the cost, where a branch in one scan would not.
Steps of order 2 are not the paper's: fewer of them do (docs/results.md).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from stemphonic_jax.flow import interpolate, partly_shared_noise, shared_noise, turn
from stemphonic_jax.guidance import PLAIN, Velocity, Views, guide, stacked, weigh
from stemphonic_jax.models.conditioning import Conditions, null_conditions
from stemphonic_jax.models.dit import DiT

Piece = tuple[int, int, bool]
# x at a time, and the velocity of the step before: zero before the first.
State = tuple[Float[Array, "R T C"], Float[Array, "R T C"]]
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
  order: int = 1,
) -> Float[Array, "R T C"]:
  """Integrates the velocity from t = 1 to t = 0 by steps of an `order`, the paper's 1 (Sec. 4.1).

  Rows never meet except inside the two velocities, which is what makes a stem independent of the
  other stems in its batch. With a `start`, `noise` is x at t = 1 − start/N, and that many steps are
  left out. `place` is what x goes through before each step, as where frames of it are known.
  """
  before, inside, after = phases(steps, interval)
  conditional = jax.jit(conditional)  # traced once for both ends

  def run(state: State, velocity: Velocity, first: int, last: int) -> State:
    def next_(state: State, i: Int[Array, ""]) -> tuple[State, None]:
      return step(state, i, steps, velocity, place, start, order), None

    first = max(first, start)
    return jax.lax.scan(next_, state, jnp.arange(first, last))[0] if first < last else state

  state = run(at_rest(noise), conditional, 0, before)
  state = run(state, guided, before, before + inside)
  return run(state, conditional, before + inside, before + inside + after)[0]


def at_rest(x: Float[Array, "R T C"]) -> State:
  """The state before the first step."""
  return x, jnp.zeros_like(x)


def step(
  state: State,
  i: Int[Array, ""],
  steps: int,
  velocity: Velocity,
  place: Place | None = None,
  start: Int[Array, ""] | int = 0,
  order: int = 1,
) -> State:
  """Step i, from 0 on, of N.

  Of order 1 it is Euler's. Of order 2 it is Adams' and Bashforth's: the velocity goes on to change
  as it did since the step before, which costs no network row. The first, at `start`, is Euler's.
  """
  x, before = state
  t = jnp.full(x.shape[:1], 1.0 - i / steps, jnp.float32)
  x = place(x, t) if place else x
  v = velocity(x, t)
  mean = v if order == 1 else jnp.where(i > start, 1.5 * v - 0.5 * before, v)
  return x + mean / steps, v


def euler(
  x: Float[Array, "R T C"],
  i: Int[Array, ""],
  steps: int,
  velocity: Velocity,
) -> Float[Array, "R T C"]:
  """Step i, from 0 on, of N: x ← x + v/N at t = 1 − i/N."""
  return step(at_rest(x), i, steps, velocity)[0]


def pieces(steps: int, interval: tuple[int, int] | None, start: int, most: int) -> list[Piece]:
  """The steps of a pass cut into runs of at most `most`: (first, last, whether it is guided)."""
  before, inside, after = phases(steps, interval)
  cuts = ((0, before, False), (before, before + inside, True))
  cuts = (*cuts, (before + inside, before + inside + after, False))
  return [
    (first, min(first + most, last), is_guided)
    for low, last, is_guided in cuts
    for first in range(max(low, start), last, most)
  ]


def one_pass(
  dit: DiT,
  params: Any,
  key: Key[Array, ""],
  guidance: Float[Array, "*V"] | float,
  group: Int[Array, "R"] | Int[Array, "R 2"],
  turns: Float[Array, "R C C"] | None,
  conditions: Conditions,
  *,
  steps: int = 32,
  interval: tuple[int, int] | None = (3, 28),
  views: Views = PLAIN,
  in_turn: bool = False,
  start: int = 0,
  share: float = 1.0,
  order: int = 1,
) -> Float[Array, "R T C"]:
  """Standardised latents of R stems from one noise per group, each row's turned by its `turns`.

  Conditions are embedded once for all steps. This is what a generation compiles. `guidance` is the
  one weight of all conditions or, with other `views`, a factor of each (guidance.py). Views are one
  batch, or looked at `in_turn`, which takes less memory. With a `start`, the path begins at
  t = 1 − start/N between the latents that are `clean` and the noise: the less noise, the more
  stays. A model that was not trained to hear frames that are `known` is shown them as they would be
  at each step, (1 − t)·clean + t·noise. `group` and `share` are those of `begin`.
  """
  noise, x = begin(key, group, turns, conditions, steps=steps, start=start, share=share)
  guided = guided_velocity(dit, params, guidance, conditions, views, in_turn)
  place = _place(dit, conditions, noise)
  conditional = conditional_velocity(dit, params, conditions)
  return end(conditions, sample(x, conditional, guided, steps, interval, start, place, order))


def begin(
  key: Key[Array, ""],
  group: Int[Array, "R"] | Int[Array, "R 2"],
  turns: Float[Array, "R C C"] | None,
  conditions: Conditions,
  *,
  steps: int,
  start: int = 0,
  share: float = 1.0,
) -> tuple[Float[Array, "R T C"], Float[Array, "R T C"]]:
  """The noise of a pass, and where its path begins.

  Rows of which the noise is theirs but for the `share` of its variance have a second number in
  `group`, by which their own is drawn.
  """
  shape = conditions.context.shape[1:]
  if group.ndim == 2:
    noise = partly_shared_noise(key, group[:, 0], group[:, 1], shape, share)
  else:
    noise = shared_noise(key, group, shape)
  if turns is not None:
    noise = turn(noise, turns)
  if not start:
    return noise, noise
  t = jnp.full(noise.shape[:1], 1 - start / steps)
  return noise, interpolate(conditions.clean, noise, t)


def advance(
  dit: DiT,
  params: Any,
  guidance: Float[Array, "*V"] | float,
  conditions: Conditions,
  noise: Float[Array, "R T C"],
  state: State,
  first: Int[Array, ""] | int,
  last: Int[Array, ""] | int,
  start: Int[Array, ""] | int = 0,
  *,
  steps: int,
  is_guided: bool,
  views: Views = PLAIN,
  in_turn: bool = False,
  order: int = 1,
) -> State:
  """Steps `first` to `last` of a pass by themselves, for whoever wants to look in between.

  The same to the bit as within `one_pass`. The conditions are embedded for each call anew.
  """
  if is_guided:
    velocity = guided_velocity(dit, params, guidance, conditions, views, in_turn)
  else:
    velocity = conditional_velocity(dit, params, conditions)
  place = _place(dit, conditions, noise)

  def next_(i: Int[Array, ""], state: State) -> State:
    return step(state, i, steps, velocity, place, start, order)

  return jax.lax.fori_loop(first, last, next_, state)


def end(conditions: Conditions, latents: Float[Array, "R T C"]) -> Float[Array, "R T C"]:
  """Latents of a pass, with those that are known as they are."""
  if conditions.known is None:
    return latents
  return jnp.where(conditions.known[..., None], conditions.clean, latents)


def conditional_velocity(dit: DiT, params: Any, conditions: Conditions) -> Velocity:
  """The velocity with its conditions, which are embedded once."""
  variables = {"params": params}
  prepared = dit.apply(variables, conditions, method="prepare")
  return lambda x, t: dit.apply(variables, x, t, prepared, method="velocity")


def guided_velocity(
  dit: DiT,
  params: Any,
  guidance: Float[Array, "*V"] | float,
  conditions: Conditions,
  views: Views = PLAIN,
  in_turn: bool = False,
) -> Velocity:
  """The velocity of a guided step."""
  if views == PLAIN and not in_turn:
    pair = conditions, null_conditions(conditions)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *pair)
    return guide(conditional_velocity(dit, params, both), guidance)
  every = _every_view(dit, {"params": params}, stacked(conditions, views), in_turn)
  return weigh(every, jnp.asarray(guidance, jnp.float32))


def _place(dit: DiT, conditions: Conditions, noise: Float[Array, "R T C"]) -> Place | None:
  """Puts back what is known before each step, where the network was not trained to be told."""
  if conditions.known is None or dit.ensemble:
    return None
  return functools.partial(_put_back, conditions, noise)


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

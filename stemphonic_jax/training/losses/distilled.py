"""Fewer steps, no guidance: a student learns to go in one step as far as its teacher in several.

Progressive distillation of guided models (Salimans & Ho 2022, Meng et al. 2023), with two
differences. The teacher's steps are all taken at once, not halved stage by stage. And a song is
begun as it is in use, from a noise that a group shares, and led by the student itself to the step
that it learns: so it meets its own mistakes, not points between noise and data. Nothing is asked of
the latents of the records but what is known of them.

Letters: N steps of the student, M of the teacher for each, w its guidance.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from stemphonic_jax.flow import named_key, partly_shared_noise, squared_error, turn
from stemphonic_jax.models.conditioning import drop_conditions
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.sampler import conditional_velocity, euler, guided_velocity, phases
from stemphonic_jax.training.losses.velocity import told
from stemphonic_jax.training.run import state

STUDENT, TEACHER = "student", "teacher"  # the two parts of the parameters


def check_steps(to: int, of: int, interval: tuple[int, int]) -> None:
  """ValueError where `to` steps do not divide `of`, or the interval is not within these."""
  if not 0 < to <= of or of % to:
    raise ValueError(f"got {to} steps, expected a divisor of the teacher's {of}")
  phases(of, interval)


def distilled_loss(
  dit: DiT,
  *,
  to: int,
  of: int,
  guidance: float,
  interval: tuple[int, int],
  dropout: Mapping[str, float],
  seconds: float = 0.0,
  share: float = 1.0,
) -> state.Loss:
  """The squared error of the student's velocity against the mean of its teacher's over M steps.

  `params` are {"student", "teacher"}. The student comes down in `to` steps, N; the teacher takes
  `of`, which is N·M, and is guided in `interval`. A batch may have `turns`, the rotation of each
  row's noise. Of that, rows of a group have the `share` in common, as songs have in use
  (sample.noise_share); segments are `seconds` long. ValueError where M is no whole number, or the
  interval not within the teacher's steps.
  """
  check_steps(to, of, interval)
  before, inside, _ = phases(of, interval)
  steps, each = to, of // to

  def loss(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    student = params[STUDENT]
    still, teacher = jax.lax.stop_gradient((student, params[TEACHER]))
    group, known = batch["group"], batch.get("known")
    shape = batch["latents"].shape[1:]
    x = partly_shared_noise(named_key(key, "noise"), group, batch["row"], shape, share)
    if "turns" in batch:
      x = turn(x, batch["turns"])
    conditions = told(dit, batch, seconds)
    conditions = drop_conditions(named_key(key, "dropout"), batch["row"], conditions, dropout)
    number = jax.random.randint(named_key(key, "step"), (), 0, steps)

    own = conditional_velocity(dit, still, conditions)
    x = jax.lax.fori_loop(0, number, lambda i, x: euler(x, i, steps, own), x)
    plain = conditional_velocity(dit, teacher, conditions)
    guided = guided_velocity(dit, teacher, guidance, conditions)

    def go_on(i: jax.Array, y: jax.Array) -> jax.Array:
      is_guided = (i >= before) & (i < before + inside)
      t = jnp.full(y.shape[:1], 1.0 - i / of, jnp.float32)
      return y + jax.lax.cond(is_guided, guided, plain, y, t) / of

    reached = jax.lax.fori_loop(number * each, (number + 1) * each, go_on, x)
    target = jax.lax.stop_gradient((reached - x) * steps)
    x, t = jax.lax.stop_gradient(x), jnp.full(x.shape[:1], 1.0 - number / steps, jnp.float32)
    velocity = conditional_velocity(dit, student, conditions)(x, t)
    losses = squared_error(velocity, target, known)
    if known is not None:
      losses = losses * batch["weight"]
    return jnp.mean(losses), _by_step(losses, number, steps)

  return loss


def passes(to: int, of: int, interval: tuple[int, int]) -> float:
  """How many times the arithmetic of a training step on data one of these takes.

  A backward pass counts as two forward; the student leads (N − 1) / 2 steps on average, and guided
  steps of the teacher are two passes.
  """
  guided = interval[1] - interval[0] + 1
  return (3 + (to - 1) / 2 + (of + guided) / to) / 3


def _by_step(losses: jax.Array, number: jax.Array, steps: int) -> state.Sums:
  """The losses under the step that they are of."""
  here = jnp.arange(steps) == number
  names = [f"loss_step_{i + 1:02d}" for i in range(steps)]
  return {
    name: (jnp.sum(losses) * is_it, len(losses) * is_it)
    for name, is_it in zip(names, here.astype(losses.dtype), strict=True)
  }

"""The state of a run: parameters, their moving average, the optimiser, the step. One step of it.

Gradients are accumulated over micro-batches by a scan. Because noise, timesteps and dropout are
functions of (step key, group or row id), cutting a batch into micro-batches changes neither: a
group that a cut goes through still shares its noise.
"""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

Params = Any
Batch = Any
Metrics = dict[str, jax.Array]
# A loss returns a mean over its rows and, by name, sums with the number of rows they run over.
Sums = dict[str, tuple[jax.Array, jax.Array]]
Loss = Callable[[Params, Batch, jax.Array], tuple[jax.Array, Sums]]


@flax.struct.dataclass
class TrainState:
  """All that a checkpoint holds of the model; the data iterator's state is saved beside it."""

  step: jax.Array
  params: Params
  ema: Params
  opt_state: optax.OptState


def create(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
  """The state before the first step; the moving average starts at the parameters."""
  ema = jax.tree.map(jnp.copy, params)  # a copy: both are donated to the step
  return TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params))


def means(sums: Sums) -> Metrics:
  """Sums over rows → means; NaN where there was no row."""
  return {name: total / count for name, (total, count) in sums.items()}


def adamw(
  learning_rate: float,
  *,
  clip: float,
  warmup: int = 0,
  betas: tuple[float, float] = (0.9, 0.999),
  weight_decay: float = 0.01,
) -> optax.GradientTransformation:
  """AdamW at a constant rate (Sec. 4.1) after a linear warm-up; gradients clipped by their norm."""
  rate = optax.warmup_constant_schedule(0.0, learning_rate, warmup) if warmup else learning_rate
  return optax.chain(
    optax.clip_by_global_norm(clip),
    optax.adamw(rate, b1=betas[0], b2=betas[1], weight_decay=weight_decay),
  )


def train_step(
  loss: Loss, optimizer: optax.GradientTransformation, *, ema_decay: float, micro_batches: int = 1
) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]:
  """Builds the jitted update: (state, batch, run key) → (state, metrics).

  The batch's leading axis must be a multiple of `micro_batches`; its rows are cut in order.
  """
  gradient = jax.value_and_grad(loss, has_aux=True)

  def step(state: TrainState, batch: Batch, run_key: jax.Array) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(run_key, state.step)
    cut = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), batch)

    def accumulate(total, micro):
      return jax.tree.map(jnp.add, total, gradient(state.params, micro, key)), None

    shapes = jax.eval_shape(gradient, state.params, jax.tree.map(lambda x: x[0], cut), key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    ((total, sums), grads), _ = jax.lax.scan(accumulate, zeros, cut)
    grads = jax.tree.map(lambda g: g / micro_batches, grads)

    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # A running average that starts short: early averages would otherwise be mostly initialisation.
    decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
    ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state.ema, params)
    metrics = means(sums) | {
      "loss": total / micro_batches,
      "gradient_norm": optax.global_norm(grads),
    }
    return TrainState(state.step + 1, params, ema, opt_state), metrics

  return jax.jit(step, donate_argnums=0)

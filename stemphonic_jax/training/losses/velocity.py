"""The loss of the diffusion transformer (Eq. 1), with noise that the rows of a group share.

In an ensemble the rows of a group are at one time, and rows have frames that are known, which count
for nothing. Noise is better not shared there: where a row sees the others, the difference of two at
time t is (1 − t)·(x_j − x_k), free of noise, from which it would read the answer; when songs are
made, the answer is not in it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from stemphonic_jax.flow import (
  flow_loss,
  interpolate,
  logit_normal,
  named_key,
  partly_shared_noise,
)
from stemphonic_jax.models.conditioning import Conditions, drop_conditions
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.training.run import state

TIME_BUCKETS = 4  # the loss is also logged for each quarter of t


def velocity_loss(
  dit: DiT,
  *,
  dropout: Mapping[str, float],
  time_mean: float,
  time_std: float,
  seconds: float = 0.0,
  share: float = 1.0,
) -> state.Loss:
  """The loss of Eq. 1 on a batch as data/batching/pipeline.py makes it.

  `seconds` is the length of its segments; a DiT with timing is told how much of it is music.
  `share` is the part of a row's noise that it has in common with its group.
  """

  def loss(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    x = batch["latents"]
    group, row = batch["group"], batch["row"]
    noise = partly_shared_noise(named_key(key, "noise"), group, row, x.shape[1:], share)
    timed = group if dit.ensemble else row
    t = logit_normal(named_key(key, "time"), timed, time_mean, time_std)
    conditions, known = told(dit, batch, seconds), batch.get("known")
    conditions = drop_conditions(named_key(key, "dropout"), row, conditions, dropout)
    velocity = dit.apply({"params": params}, interpolate(x, noise, t), t, conditions)
    losses = flow_loss(velocity, x, noise, known)
    if known is not None:  # rows in which nothing is asked for have no weight, others more
      losses = losses * batch["weight"]
    return jnp.mean(losses), _by_time(losses, t)

  return loss


def told(dit: DiT, batch: Mapping[str, Any], seconds: float) -> Conditions:
  """All that a DiT is told of a batch, whose segments are `seconds` long."""
  conditions = conditions_of(batch)
  if dit.ensemble:
    others = dict(group=batch["group"], known=batch.get("known"), clean=batch["latents"])
    conditions = conditions.replace(**others)
  if dit.timing:
    music = jnp.minimum(batch["seconds"], seconds)
    conditions = conditions.replace(seconds=jnp.stack([jnp.zeros_like(music), music], 1))
  return conditions


def conditions_of(batch: Mapping[str, Any]) -> Conditions:
  """The conditions among the arrays of a batch."""
  return Conditions(
    text=batch["text"],
    text_mask=batch["mask"],
    bpm=batch["bpm"],
    context=batch["context"],
    activity=batch["activity"],
  )


def _by_time(losses: jax.Array, t: jax.Array) -> state.Sums:
  """Sums of the losses in each quarter of t, with the number of rows there."""
  bucket = jnp.floor(t * TIME_BUCKETS).astype(jnp.int32)
  sums = {}
  for i in range(TIME_BUCKETS):
    inside = (bucket == i).astype(losses.dtype)
    name = f"loss_t_{i / TIME_BUCKETS:.2f}_{(i + 1) / TIME_BUCKETS:.2f}"
    sums[name] = jnp.sum(losses * inside), jnp.sum(inside)
  return sums

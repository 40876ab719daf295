"""The loss of StemGen: codes of one level at masked frames, under a context and an instrument."""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from stemphonic_jax.flow import named_key
from stemphonic_jax.models.stemgen import StemGen
from stemphonic_jax.tokens.loss import cross_entropy
from stemphonic_jax.tokens.masking import draw_conditions, draw_masks, masked
from stemphonic_jax.training.run import state


def unmasking_loss_of(config: ConfigDict, model: StemGen) -> state.Loss:
  """The loss of a StemGen by the numbers of a config."""
  return unmasking_loss(
    model,
    conditions=config.dropout.conditions,
    neither=config.dropout.neither,
    smoothing=config.train.smoothing,
  )


def unmasking_loss(
  model: StemGen, *, conditions: float, neither: float, smoothing: float = 0.0
) -> state.Loss:
  """The loss on a batch as data/batching/listening.py makes it.

  Context and instrument are each left out with probability `conditions`, and both with `neither` on
  top. It is logged for each level, with the share of codes that are the likeliest.
  """

  def loss(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    codes, row = batch["codes"], batch["row"]
    _, levels, frames = codes.shape
    level, hidden = draw_masks(named_key(key, "masks"), row, levels, frames)
    heard, told = draw_conditions(named_key(key, "dropout"), row, conditions, neither)
    logits = model.apply(
      {"params": params},
      batch["context"],
      heard & batch["hears"],
      masked(codes, level, hidden, model.mask),
      jnp.where(told, batch["instrument"], model.instruments),
      level,
    )
    wanted = jnp.take_along_axis(codes, level[:, None, None], 1)[:, 0]
    losses = cross_entropy(logits, wanted, hidden, smoothing)
    right = jnp.sum((jnp.argmax(logits, -1) == wanted) & hidden, -1) / jnp.sum(hidden, -1)
    sums = {"accuracy": (jnp.sum(right), jnp.float32(len(right)))}
    for k in range(levels):
      of = (level == k).astype(losses.dtype)
      sums[f"loss_level_{k}"] = jnp.sum(losses * of), jnp.sum(of)
    return jnp.mean(losses), sums

  return loss

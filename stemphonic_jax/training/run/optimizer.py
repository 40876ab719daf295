"""What moves the parameters: a rate over the steps, and AdamW or Muon at that rate."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers

from stemphonic_jax.errors import UsageError

MUON_STEP = 0.4  # RMS of Muon's steps at rate 1: twice that of AdamW's (Liu et al. 2025)


def build_optimizer(config: Mapping[str, Any]) -> optax.GradientTransformation:
  """The optimiser of a config's `train` or `train_vae`; UsageError where its name is unknown."""
  rate = schedule(
    config["learning_rate"],
    warmup=config["warmup"],
    steps=config["steps"],
    decay=config["decay"],
    decay_to=config.get("decay_to", 0.0),
  )
  options = {name: config[name] for name in ("clip", "betas", "weight_decay")}
  match config["optimizer"]:
    case "adamw":
      return adamw(rate, **options)
    case "muon":
      return muon(rate, **options)
    case other:
      raise UsageError(f"optimizer: got {other!r}, expected 'adamw' or 'muon'")


def schedule(
  learning_rate: float, *, warmup: int = 0, steps: int = 0, decay: int = 0, decay_to: float = 0.0
) -> optax.Schedule:
  """Constant (Sec. 4.1) but for a linear rise from zero over the first `warmup` steps, and a linear
  fall to zero over the last `decay` of `steps`; with `decay_to` an exponential one to that share.
  """

  def rate(step: jax.Array) -> jax.Array:
    rise = step / warmup if warmup else 1.0
    left = jnp.clip((steps - step) / decay, 0.0, 1.0) if decay else 1.0
    fall = decay_to ** (1.0 - left) if decay_to else left
    return learning_rate * jnp.clip(jnp.minimum(rise, fall), 0.0, 1.0)

  return rate


def adamw(
  rate: optax.ScalarOrSchedule,
  *,
  clip: float,
  betas: tuple[float, float] = (0.9, 0.999),
  weight_decay: float = 0.01,
) -> optax.GradientTransformation:
  """AdamW; gradients are clipped by their norm first."""
  return optax.chain(
    optax.clip_by_global_norm(clip),
    optax.adamw(rate, b1=betas[0], b2=betas[1], weight_decay=weight_decay),
  )


def muon(
  rate: optax.ScalarOrSchedule,
  *,
  clip: float,
  betas: tuple[float, float] = (0.9, 0.999),
  weight_decay: float = 0.01,
) -> optax.GradientTransformation:
  """Muon (Jordan 2024) for kernels: steps along their momentum with its singular values made equal.

  `betas` are of the rest, which AdamW with Nesterov's momentum moves. A kernel's last two
  dimensions are a matrix, so that each of stacked blocks has its own. Making values equal takes
  arithmetic that does not depend on the batch: for large models train with large ones.
  """

  def matrices(params: Any) -> Any:
    def of(path: tuple, leaf: Any) -> MuonDimensionNumbers | None:
      return MuonDimensionNumbers(-2, -1) if path[-1].key == "kernel" else None

    return jax.tree_util.tree_map_with_path(of, params)

  return optax.chain(
    optax.clip_by_global_norm(clip),
    optax.contrib.muon(
      rate,
      weight_decay=weight_decay,
      adam_b1=betas[0],
      adam_b2=betas[1],
      adam_weight_decay=weight_decay,
      muon_weight_dimension_numbers=matrices,
      consistent_rms=MUON_STEP,
    ),
  )

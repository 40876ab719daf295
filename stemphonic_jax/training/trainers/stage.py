"""What a stage of training is to all trainers: a folder of its own with checkpoints and a log."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from stemphonic_jax.flow import named_key
from stemphonic_jax.training.distributed.mesh import spread
from stemphonic_jax.training.run import loop, state
from stemphonic_jax.training.run.checkpoints import Checkpoints, reached
from stemphonic_jax.training.run.guard import Guard
from stemphonic_jax.training.run.identity import lasting
from stemphonic_jax.training.run.metrics import MetricsLog


def is_done(folder: Path, steps: int) -> bool:
  """Whether the stage in `folder` was trained for `steps` already, which the log then says."""
  if steps < 1:
    logging.warning("%s: no steps are asked for, so nothing is trained", folder)
    return True
  done = reached(folder / "checkpoints", steps)
  if done:
    logging.info("%s: trained for %d steps already", folder, steps)
  return done


def run(
  folder: Path,
  config: ConfigDict,
  c: ConfigDict,
  create: Callable[[], state.TrainState],
  step: loop.Step,
  open_batches: loop.Batches,
  *,
  mesh: Mesh,
  run_key: jax.Array,
  evaluate: Callable[[state.TrainState], Mapping[str, Any]],
  show: Callable[[state.TrainState], None],
  **counts: Any,
) -> None:
  """Trains in `folder`, as section `c` of `config` says, from its newest checkpoint if it has one.

  `counts` is what the log computes rates from (`MetricsLog`); the rest is as for `loop.run`.
  """
  with (
    contextlib.closing(
      Checkpoints(
        folder / "checkpoints", keep=c.keep, keep_best=c.keep_best, fingerprint=lasting(config)
      )
    ) as checkpoints,
    MetricsLog(folder, steps=c.steps, every=c.log_every, **counts) as log,
  ):
    first = (checkpoints.latest_step() or 0) + 1
    logging.info("%s: steps %d to %d; before the first, it is compiled", folder, first, c.steps)
    loop.run(
      create,
      step,
      open_batches,
      checkpoints,
      log,
      mesh=mesh,
      run_key=run_key,
      steps=c.steps,
      save_every=c.save_every,
      place=functools.partial(spread, mesh),
      evaluate=evaluate,
      show=show,
      guard=Guard(folder, c.hang_seconds),
    )


def held_out_loss(
  loss: state.Loss, batches: list[dict], key: jax.Array, params: Any
) -> state.Metrics:
  """The loss over fixed batches with fixed noise and times: equal parameters, equal numbers."""
  results = [
    loss(params, batch, jax.random.fold_in(named_key(key, "held out"), i))
    for i, batch in enumerate(batches)
  ]
  values, sums = zip(*results, strict=True)
  total = jax.tree.map(lambda *parts: sum(parts), *sums)
  metrics = {"loss": sum(values) / len(values)} | state.means(total)
  return {f"held_out_{name}": value for name, value in metrics.items()}

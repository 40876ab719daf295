"""The loop that both trainers share."""

from collections.abc import Callable, Mapping
from typing import Any

import grain
import jax

from stemphonic_jax.training.checkpoints import Checkpoints
from stemphonic_jax.training.metrics import MetricsLog
from stemphonic_jax.training.state import Metrics, TrainState

Step = Callable[[TrainState, Any, jax.Array], tuple[TrainState, Metrics]]


def run(
  state: TrainState,
  step: Step,
  batches: grain.DatasetIterator,
  checkpoints: Checkpoints,
  log: MetricsLog,
  *,
  run_key: jax.Array,
  steps: int,
  save_every: int,
  place: Callable[[Any], Any],
  evaluate: Callable[[TrainState], Mapping[str, Any]],
) -> TrainState:
  """Trains from the newest checkpoint, or from `state`, up to step number `steps`.

  `place` puts a batch on the devices; `evaluate` returns what to log of a state.
  Every `save_every` steps, and at the end, the run is evaluated and saved with the position of its
  data, so that a resumed run continues as if it had never stopped.
  """
  state, batches = checkpoints.restore(state, batches)
  for number in range(int(state.step) + 1, steps + 1):
    state, metrics = step(state, place(next(batches)), run_key)
    log.step(number, metrics)
    if number % save_every == 0 or number == steps:
      log.write(number, evaluate(state))
      checkpoints.save(state, batches)
  return state

"""The loop that both trainers share."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
from absl import logging
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from stemphonic_jax.errors import OutputError, PreemptedError
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.checkpoints import Checkpoints
from stemphonic_jax.training.run.guard import Guard, Streak
from stemphonic_jax.training.run.metrics import MetricsLog
from stemphonic_jax.training.run.preemption import Preemption
from stemphonic_jax.training.run.state import Metrics, TrainState
from stemphonic_jax.training.run.watchdog import Watchdog

Batch = Mapping[str, Any]
Step = Callable[[TrainState, Any, jax.Array], tuple[TrainState, Metrics]]
# From a position on: batches, each after the position of the next one. It has a method `close`.
Batches = Callable[[int], Iterator[tuple[int, Batch]]]


def run(
  create: Callable[[], TrainState],
  step: Step,
  open_batches: Batches,
  checkpoints: Checkpoints,
  log: MetricsLog,
  *,
  mesh: Mesh,
  run_key: jax.Array,
  steps: int,
  save_every: int,
  place: Callable[[Batch], Any],
  evaluate: Callable[[TrainState], Mapping[str, Any]],
  guard: Guard,
  show: Callable[[TrainState], None] = lambda current: None,
) -> TrainState:
  """Trains from the newest checkpoint, or from the state that `create` makes, to step `steps`.

  `open_batches(position)` yields batches from a position on; `place` puts one, without its `id`, on
  the devices; `evaluate` returns what to log of a state, and `show` makes of it what people look at
  or use. Every `save_every` steps, and at the end, the run is evaluated, saved with its position,
  so that it continues as if it had never stopped, and shown; only at the end is it an error where
  that fails. Only values of the step before are looked at, so the devices never wait.

  Raises PreemptedError after SIGTERM, when the step is saved; DivergedError; OutputError.
  """
  with Watchdog(guard.slow_seconds) as watchdog, Preemption() as preemption:
    if preemption.begin(checkpoints.latest_step() or 0):
      raise PreemptedError("told to stop before a step was made; start again to go on")
    restored = checkpoints.restore(state.abstract(create, mesh))
    current, position = restored or (state.initial(create, mesh), 0)
    run_key, streak, stop = _everywhere(mesh, run_key), Streak(guard, steps), False
    with contextlib.closing(open_batches(position)) as batches:
      for number in range(int(current.step) + 1, steps + 1):
        position, batch = next(batches)
        with jax.transfer_guard("disallow"):
          current, metrics = step(current, place(arrays(batch)), run_key)
        streak.step(number, metrics, batch["id"])
        log.step(number, metrics)
        checkpoints.check()
        stop = preemption.reached(number)
        if stop or number % save_every == 0 or number == steps:
          watchdog.expect(guard.slow_seconds, f"step {number}")
          streak.finish()  # what it refuses is not saved
          values = {}
          if not stop or number == steps:  # who is told to stop has little time
            values = evaluate(current)
            log.write(number, values)
          if number == steps:  # before the checkpoint that says that nothing is left to do
            show(current)
          checkpoints.save(current, position, values.get("held_out_loss"))
          if not stop and number < steps:
            attempt(show, current)
        if stop:
          break
        watchdog.expect(guard.seconds, f"step {number}")
    watchdog.expect(guard.slow_seconds, "the last step")
    if stop:
      _end(checkpoints, f"step {number} of {steps}")
    checkpoints.wait()
  return current


def attempt(show: Callable[..., None], *arguments: Any) -> None:
  """Calls `show`, if that can be done: a full disk or a poor preview is no reason to end a run."""
  try:
    show(*arguments)
  except Exception as error:
    logging.warning("could not show how far the run is (%s: %s)", type(error).__name__, error)


def _end(checkpoints: Checkpoints, step: str) -> NoReturn:
  """Ends a run that was told to stop, saved or not: it is to be started again."""
  try:
    checkpoints.wait()
  except OutputError as error:
    raise PreemptedError(f"told to stop: {step} is not saved ({error}); older ones are") from None
  raise PreemptedError(f"told to stop: {step} is saved; start again to go on")


def arrays(batch: Batch) -> Batch:
  """What of a batch goes to the devices: not the names of its records, nor of types."""
  return {name: array for name, array in batch.items() if name not in ("id", "type")}


def _everywhere(mesh: Mesh, key: jax.Array) -> jax.Array:
  """The run's key on all devices of all hosts; a typed key cannot be put there as it is."""
  wrap = jax.jit(
    lambda data: jax.random.wrap_key_data(data, impl=jax.random.key_impl(key)),
    out_shardings=NamedSharding(mesh, PartitionSpec()),
  )
  return wrap(jax.device_get(jax.random.key_data(key)))

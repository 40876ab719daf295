"""A training of a few milliseconds a step, small enough to be killed hundreds of times.

Its processes are forked from one that has imported everything and started nothing, so that one more
costs a second. Each writes to its folder what it has seen: `losses`, a line for each step with the
time and the loss to the bit, and `saved`, the checkpoints that were there after a step.
"""

import contextlib
import multiprocessing
import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax import door
from stemphonic_jax.training.distributed import mesh
from stemphonic_jax.training.run import loop, state
from stemphonic_jax.training.run.checkpoints import Checkpoints
from stemphonic_jax.training.run.guard import Guard
from stemphonic_jax.training.run.optimizer import adamw, schedule
from tests.training.processes import forked

WIDTH, ROWS = 256, 8
OPTIMIZER = adamw(schedule(1e-3, warmup=3), clip=1.0)
FINGERPRINT = {"seed": 4, "data": {"batch_size": ROWS}}


def create(width: int = WIDTH) -> state.TrainState:
  keys = jax.random.split(jax.random.key(2), 2)
  params = {
    name: {"kernel": jax.random.normal(key, (width, width)) / width**0.5}
    for name, key in zip(("in", "out"), keys, strict=True)
  }
  return state.create(params, {}, OPTIMIZER)


def loss(params, batch, key):
  """Learns to return what went in, with noise that depends on the step."""
  x = batch["x"]
  hidden = jnp.tanh(x @ params["in"]["kernel"]) + 0.1 * jax.random.normal(key, x.shape)
  return jnp.mean(jnp.square(hidden @ params["out"]["kernel"] - x)), {}


STEP = state.train_step(loss, OPTIMIZER, ema_decay=0.9)  # compiled once for all runs of a process


def batches(start: int, seconds: float = 0.0, bad=lambda position: False, stuck: int = -1):
  """Batches as a function of their position; those that are `bad` hold a NaN, and one may hang."""
  position = start
  while True:
    time.sleep(seconds if position != stuck else 3600)
    x = np.random.default_rng(position).standard_normal((ROWS, WIDTH), np.float32)
    if bad(position):
      x[0, 0] = np.nan
    yield position + 1, {"x": x, "id": np.array([f"piece-{position}"])}
    position += 1


def next_batch() -> dict[str, np.ndarray]:
  """The first batch, as a step takes it."""
  return {"x": next(batches(0))[1]["x"]}


class Log:
  """Writes the loss of every step, a step later, as a run's log does."""

  def __init__(self, folder: Path, checkpoints: Checkpoints, name: str):
    self._losses = (folder / name).open("a", buffering=1)
    self._saved = (folder / "saved").open("a", buffering=1)
    self._checkpoints, self._pending = checkpoints, None
    self.skipped = []

  def step(self, number, metrics):
    self.flush()
    self._pending = number, metrics

  def write(self, number, values):
    pass

  def flush(self):
    if self._pending:
      number, metrics = self._pending
      value = float(metrics["loss"])
      self._losses.write(f"{number} {time.monotonic()} {value.hex()}\n")
      self.skipped.append(int(metrics["skipped"]))
      if (newest := self._checkpoints.latest_step()) is not None:
        self._saved.write(f"{newest}\n")
    self._pending = None


def train(
  folder: Path,
  steps: int,
  *,
  save_every: int = 1,
  data=batches,
  devices=None,
  evaluate=lambda current: {},
  show=lambda current: None,
  keep: dict | None = None,
  name: str = "losses",
  **limits,
) -> tuple[state.TrainState, Log]:
  """Trains in `folder` to step `steps`, from where it is."""
  devices = devices or mesh.make_mesh()
  folder.mkdir(parents=True, exist_ok=True)
  directory = folder / "checkpoints"
  with contextlib.closing(
    Checkpoints(directory, fingerprint=FINGERPRINT, **keep or {})
  ) as checkpoints:
    log = Log(folder, checkpoints, name)
    final = loop.run(
      create,
      STEP,
      data,
      checkpoints,
      log,
      mesh=devices,
      run_key=jax.random.key(7),
      steps=steps,
      save_every=save_every,
      place=lambda batch: mesh.spread(devices, batch),
      evaluate=evaluate,
      show=show,
      guard=Guard(folder, **limits),
    )
    log.flush()
  return final, log


def losses(folder: Path, name: str = "losses") -> dict[int, str]:
  """The loss of each step; a step that was repeated must have had the same."""
  found: dict[int, str] = {}
  for line in (folder / name).read_text().splitlines():
    number, _, value = line.split()
    assert found.setdefault(int(number), value) == value
  return found


def start(target, *arguments) -> multiprocessing.Process:
  """Runs a function of this module, or of a test, in a process of its own."""
  return forked(_enter, target, *arguments)


def _enter(target, folder: Path, *arguments) -> None:
  os.environ["XLA_FLAGS"] = ""  # one device: the backend of this process is not there yet
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  folder.mkdir(parents=True, exist_ok=True)
  os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
  sys.exit(door.run(lambda: target(folder, *arguments)))

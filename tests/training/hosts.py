"""What a host of the multi-host tests runs: `python -m tests.training.hosts PROGRAM FOLDER …`."""

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from stemphonic_jax import door
from stemphonic_jax.data.batching import grouping, pipeline
from stemphonic_jax.data.batching.records import Segment, open_records
from stemphonic_jax.data.preparing.shards import write_records
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import DataError, UsageError
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.training.distributed import cluster, mesh
from stemphonic_jax.training.losses.velocity import velocity_loss
from stemphonic_jax.training.run import loop, state
from stemphonic_jax.training.run.checkpoints import Checkpoints
from stemphonic_jax.training.run.guard import Guard
from stemphonic_jax.training.run.optimizer import adamw, schedule
from stemphonic_jax.weights.architecture import dit_shapes
from tests.tiny import random_params
from tests.training.processes import listening

RECORDS, B, T, C, S, E = 10, 8, 6, 4, 4, 8
DIT = DiT(C, 16, 1, 1, text_width=E)


def meet(folder: Path) -> None:
  """Shares a batch with the others, reports what it saw, and fails as all of them do."""
  before = listening()
  cluster.start()
  rows = np.arange(8 * cluster.hosts(), dtype=np.float32)
  own = rows.reshape(cluster.hosts(), -1)[cluster.host()]
  spread = mesh.spread(mesh.make_mesh(), {"row": own})["row"]
  whole = cluster.gather(spread)
  report = {
    "before": before,
    "listening": listening(),
    "host": cluster.host(),
    "hosts": cluster.hosts(),
    "first": cluster.is_first(),
    "verbosity": logging.get_verbosity(),
    "held": sorted(float(row) for s in spread.addressable_shards for row in np.asarray(s.data)),
    "squares": float(jax.jit(lambda x: (x * x).sum())(spread)),
    "gathered": None if whole is None else whole.tolist(),
    "found": cluster.one_by_one(functools.partial(found, folder / "made")),
  }
  (folder / f"host_{cluster.host()}.json").write_text(json.dumps(report))
  cluster.one_by_one(refuse)


def found(path: Path) -> bool:
  """Whether a file was there; it is after this."""
  there = path.exists()
  path.touch()
  return there


def refuse() -> None:
  raise UsageError("a config that fits nowhere")


def fail(folder: Path) -> None:
  """The last host fails alone, while the others go on."""
  cluster.start()
  for number in range(10_000):
    multihost_utils.process_allgather(np.ones(1))
    if number == 3 and cluster.host() == cluster.hosts() - 1:
      (folder / "failed").touch()
      raise DataError("a record that cannot be read")
    time.sleep(0.01)


def train(folder: Path, records: str, steps: str, save_every: str, pause: str) -> None:
  """Trains a tiny DiT, `pause` seconds a step, from where `folder` is.

  Appends to `losses_N` the loss of every step, to the bit, and to `rows_N` its rows and records.
  """
  cluster.start()
  (folder / f"process_{cluster.host()}").write_text(f"{os.getpid()}")
  devices = mesh.make_mesh()
  mesh.check_rows(devices, B, 1)
  source = open_records(records)
  optimizer = adamw(schedule(1e-3, warmup=2), clip=1.0)
  key = jax.random.key(3)
  params = random_params(dit_shapes(DIT))  # nothing to compile
  loss = velocity_loss(
    DIT,
    dropout=dict.fromkeys(("text", "bpm", "context", "activity"), 1 / 3),
    time_mean=0.0,
    time_std=1.0,
  )

  def open_batches(start: int) -> Iterator[tuple[int, pipeline.Batch]]:
    walk = pipeline.batches(
      source, encode, statistics=source.index.statistics, batch_size=B, seed=1, start=start,
      host=cluster.host(), hosts=cluster.hosts(),
    )  # fmt: skip
    with contextlib.closing(walk) as batches:
      for position, batch in batches:
        time.sleep(float(pause))
        log.rows(batch)
        yield position, batch

  with (
    contextlib.closing(Checkpoints(folder / "dit" / "checkpoints", fingerprint={})) as checkpoints,
    contextlib.closing(Log(folder)) as log,
  ):
    loop.run(
      lambda: state.create(params, {}, optimizer),
      state.train_step(loss, optimizer, ema_decay=0.9),
      open_batches,
      checkpoints,
      log,
      mesh=devices,
      run_key=key,
      steps=int(steps),
      save_every=int(save_every),
      place=functools.partial(mesh.spread, devices),
      evaluate=lambda current: {},
      guard=Guard(folder),
    )


class Log:
  """Writes down every step, a step later, as the log of a run does."""

  def __init__(self, folder: Path):
    self._losses = (folder / f"losses_{cluster.host()}").open("a", buffering=1)
    self._rows = (folder / f"rows_{cluster.host()}").open("a", buffering=1)
    self._pending = None

  def rows(self, batch: pipeline.Batch) -> None:
    columns = (batch[name].tolist() for name in ("row", "group", "id"))
    self._rows.write(json.dumps(list(zip(*columns, strict=True))) + "\n")

  def step(self, number: int, metrics: state.Metrics) -> None:
    self._flush()
    self._pending = number, metrics["loss"]

  def write(self, number: int, values: state.Metrics) -> None:
    pass

  def close(self) -> None:
    self._flush()

  def _flush(self) -> None:
    if self._pending:
      number, loss = self._pending
      self._losses.write(f"{number} {float(loss).hex()}\n")
    self._pending = None


def encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
  """An embedding of the last letters of each text."""
  letters = np.array([[ord(letter) for letter in text[-S:].rjust(S)] for text in texts])
  return np.sin(letters[..., None] * np.arange(1, E + 1)).astype(np.float16), letters > 0


def make_records(folder: Path) -> Path:
  """Records of random latents, three stems each."""
  rng = np.random.default_rng(0)

  def segment(number: int) -> Segment:
    latents = rng.standard_normal((3, T, C)).astype(np.float16)
    masks = grouping.subsets_to_store(rng, np.ones(3, bool), 10)
    return Segment(
      id=f"piece {number}",
      names=("one", "two", "three"),
      types=STEM_TYPES[:3],
      caption=f"song {number}",
      bpm=90.0 + number,
      latents=latents,
      activity=rng.integers(0, 2, (3, T)).astype(np.int8) | (np.arange(T) == 0),
      submixes={mask: latents[grouping.stems_of(mask, 3)].sum(0) for mask in masks},
    )

  write_records(folder, map(segment, range(RECORDS)), hop=8, rate=8000)
  return folder


def main(program: str, folder: Path, *arguments: str) -> None:
  """Runs one of the programs above, and ends this process with its exit code."""
  door.set_up()
  run = {"meet": meet, "fail": fail, "train": train}[program]
  cluster.leave(door.run(lambda: run(folder, *arguments)))


if __name__ == "__main__":
  main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])

"""Where the numbers of a run go: metrics.jsonl, TensorBoard where it is installed, one line of log.

A step's values are fetched only after the next step has been dispatched, so that logging never
makes the device wait.
"""

import importlib.util
import json
import math
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from absl import logging

from stemphonic_jax.training.distributed import cluster


class MetricsLog:
  """Writes the metrics of a run of `steps` steps, each of `seconds_per_step` seconds of audio.

  Appends a line to `directory/metrics.jsonl` every `every` steps and at each evaluation. Rates are
  those since the line before, with whatever else the run did meanwhile. `stems_per_step` is for a
  run on stems. With the model FLOPs of a step and the FLOP/s of all devices (training/plan/cost.py)
  comes `mfu`; where the devices are unknown `peak` is None, and there is none.
  """

  def __init__(
    self,
    directory: Path,
    *,
    steps: int,
    seconds_per_step: float,
    every: int,
    stems_per_step: int | None = None,
    flops_per_step: float | None = None,
    peak: float | None = None,
  ):
    directory.mkdir(parents=True, exist_ok=True)
    first = cluster.is_first()  # which writes for all hosts
    path = directory / "metrics.jsonl" if first else Path(os.devnull)
    self._file = path.open("a", encoding="utf-8")
    self._tensorboard = _tensorboard(directory) if first else None
    self._steps, self._every = steps, every
    self._work = {"steps": 1, "audio_seconds": seconds_per_step}  # of a step, per second
    if stems_per_step:
      self._work["stems"] = stems_per_step
    self._mfu = flops_per_step / peak if flops_per_step and peak else None  # at a step a second
    self._begun: tuple[int, float] | None = None  # where the estimate of what is left counts from
    self._clock: tuple[int, float] | None = None  # where the rates count from
    self._pending: tuple[int, Mapping] | None = None

  def step(self, step: int, metrics: Mapping) -> None:
    """Takes the metrics of a training step, and writes those of the step before where due."""
    self._flush()
    if self._due(step) or self._clock is None:
      self._pending = (step, metrics)

  def _due(self, step: int) -> bool:
    return step % self._every == 0 or step == self._steps

  def write(self, step: int, metrics: Mapping) -> None:
    """Writes metrics at once, as of an evaluation; what is not finite, no number, is left out."""
    numbers = {name: float(value) for name, value in metrics.items()}
    values = {name: round(n, 6) for name, n in numbers.items() if math.isfinite(n)}
    try:
      self._file.write(json.dumps({"step": step} | values) + "\n")
      self._file.flush()
    except OSError as error:  # as of a full disk, which the run may outlive
      logging.warning("step %d is not in the metrics (%s)", step, error.strerror)
    for name, value in values.items():
      if self._tensorboard:
        self._tensorboard.add_scalar(name, value, step)

  def _flush(self) -> None:
    if self._pending is None:
      return
    step, metrics = self._pending
    self._pending = None
    loss = float(metrics["loss"])  # waits for that step alone
    now = time.monotonic()
    if self._clock is None:  # the first step compiles; all is counted from its end
      self._begun = self._clock = (step, now)
      speed, said = {}, []
    else:
      speed, said = self._speed(step, now)
      self._clock = (step, now)
    if self._due(step):
      self.write(step, dict(metrics) | speed)
      logging.info("%s", "  ".join([f"step {step}/{self._steps}", f"loss {loss:.4f}", *said]))

  def _speed(self, step: int, now: float) -> tuple[dict[str, float], list[str]]:
    """Rates since the last line, to write; and to say, with the time that is left."""
    average, rate = ((step - begun) / (now - since) for begun, since in (self._begun, self._clock))
    speed = {f"{name}_per_second": rate * amount for name, amount in self._work.items()}
    said = [f"{speed['steps_per_second']:.2f} steps/s"]
    if "stems" in self._work:
      said.append(f"{speed['stems_per_second']:.1f} stems/s")
    said.append(f"{speed['audio_seconds_per_second']:.0f} audio-seconds/s")
    if self._mfu is not None:
      speed["mfu"] = rate * self._mfu
      said.append(f"MFU {speed['mfu']:.1%}")
    said.append(f"ETA {timedelta(seconds=round((self._steps - step) / average))}")
    return speed, said

  def __enter__(self) -> "MetricsLog":
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    self._flush()
    self._file.close()
    if self._tensorboard:
      self._tensorboard.close()


def _tensorboard(directory: Path):
  """A TensorBoard writer where tensorboardX is installed, else None."""
  if importlib.util.find_spec("tensorboardX") is None:
    return None
  from tensorboardX import SummaryWriter

  return SummaryWriter(str(directory / "tensorboard"))

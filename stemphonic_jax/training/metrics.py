"""Where the numbers of a run go: metrics.jsonl, TensorBoard where it is installed, one line of log.

A step's values are fetched only after the next step has been dispatched, so that logging never
makes the device wait.
"""

import importlib.util
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from absl import logging


class MetricsLog:
  """Writes the metrics of a run of `steps` steps, each of `seconds_per_step` seconds of audio.

  Appends a line to `directory/metrics.jsonl` every `every` steps and at each evaluation.
  """

  def __init__(self, directory: Path, *, steps: int, seconds_per_step: float, every: int):
    directory.mkdir(parents=True, exist_ok=True)
    self._file = (directory / "metrics.jsonl").open("a", encoding="utf-8")
    self._tensorboard = _tensorboard(directory)
    self._steps, self._seconds_per_step, self._every = steps, seconds_per_step, every
    self._clock: tuple[int, float] | None = None
    self._pending: tuple[int, Mapping] | None = None

  def step(self, step: int, metrics: Mapping) -> None:
    """Takes the metrics of a training step, and writes those of the step before where due."""
    self._flush()
    if self._clock is None:  # the first step compiles; rates count from its end
      self._clock = (step, time.monotonic())
    if step % self._every == 0 or step == self._steps:
      self._pending = (step, metrics)

  def write(self, step: int, metrics: Mapping) -> None:
    """Writes metrics at once, as of an evaluation; NaN, a mean over nothing, is left out."""
    numbers = {name: float(value) for name, value in metrics.items()}
    values = {name: round(number, 6) for name, number in numbers.items() if number == number}
    self._file.write(json.dumps({"step": step} | values) + "\n")
    self._file.flush()
    for name, value in values.items():
      if self._tensorboard:
        self._tensorboard.add_scalar(name, value, step)

  def _flush(self) -> None:
    if self._pending is None:
      return
    step, metrics = self._pending
    self._pending = None
    loss = float(metrics["loss"])  # waits for that step alone
    (begun, since), now = self._clock, time.monotonic()
    rate = max(step - begun, 1) / (now - since)
    speed = {"steps_per_second": rate, "audio_seconds_per_second": rate * self._seconds_per_step}
    self.write(step, dict(metrics) | speed)
    eta = time.strftime("%H:%M:%S", time.gmtime((self._steps - step) / rate))
    logging.info(
      "step %d/%d  loss %.4f  %.2f steps/s  %.0f audio-seconds/s  ETA %s",
      step, self._steps, loss, rate, rate * self._seconds_per_step, eta,
    )  # fmt: skip

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

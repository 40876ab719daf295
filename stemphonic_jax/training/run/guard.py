"""When a run must not go on: updates that are not finite, several in a row, or no steps at all."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import jax

from stemphonic_jax.errors import DivergedError
from stemphonic_jax.training.run.state import Metrics


@dataclasses.dataclass(frozen=True)
class Guard:
  """Limits of a run, whose reports are written to `workdir`.

  `seconds` is how long a step may take, `slow` times as much what comes seldom: compilation,
  evaluation, a checkpoint that is waited for; zero: no limit. The run ends where `most` updates in
  a row are left out, or all of a shorter run.
  """

  workdir: Path
  seconds: float = 600.0
  slow: float = 6.0
  most: int = 5

  @property
  def slow_seconds(self) -> float:
    """Seconds that what comes seldom may take."""
    return self.slow * self.seconds


class Streak:
  """The steps, up to now and without a break, whose update was left out, of a run of `steps`."""

  def __init__(self, guard: Guard, steps: int):
    self._workdir, self._most = guard.workdir, min(guard.most, steps)
    self._pending: tuple[int, Metrics, list[str]] | None = None
    self._bad: list[dict] = []

  def step(self, number: int, metrics: Metrics, ids: Iterable[str]) -> None:
    """Takes the metrics of a step, and looks at those of the step before, which are there by now.

    `ids` names the records of its batch. Raises DivergedError, with the batches in
    `bad_batches.json`, where too many updates in a row were left out.
    """
    self.finish()
    self._pending = number, metrics, [str(name) for name in ids]

  def finish(self) -> None:
    """Looks at the metrics of the last step, and waits for them."""
    if self._pending is None:
      return
    (number, metrics, ids), self._pending = self._pending, None
    names = ("skipped_in_a_row", "loss", "gradient_norm")
    in_a_row, loss, norm = jax.device_get([metrics[name] for name in names])
    if not in_a_row:
      self._bad.clear()
      return
    # As words: JSON has no NaN.
    self._bad.append({"step": number, "loss": f"{loss}", "gradient_norm": f"{norm}", "ids": ids})
    if in_a_row < self._most:
      return
    alone = jax.process_count() == 1
    name = "bad_batches.json" if alone else f"bad_batches_{jax.process_index()}.json"
    path = self._workdir / name
    path.write_text(json.dumps(self._bad[-self._most :], indent=1) + "\n")
    raise DivergedError(
      f"step {number}: loss {loss}, gradient norm {norm}, update {in_a_row} in a row that is not"
      f" finite; {path} has the batches, and the last checkpoint is of before"
    )

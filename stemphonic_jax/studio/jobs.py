"""What was asked of the model: each job a file, which is on the disk before the job is accepted.

    queued → running → done | failed | cancelled

A job that ran when the studio ended is looked at when it starts again: where its song has the step
that it was to make, it is done; else it runs again, a few times, and after that it says why not.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.errors import DataError, MissingError, OutputError
from stemphonic_jax.studio.files import check_json, read_json, write_json

ENDED = ("done", "failed", "cancelled")
STATES = ("queued", "running", *ENDED)
ATTEMPTS = 2  # of a job whose worker ended
RESTARTS = 10  # of one that ran when the studio ended, which need not be its fault
KEPT = 2_000  # jobs that ended, on disk and in memory
WAITING = 1_000  # jobs that may wait at once


@dataclass
class Job:
  """One job. `ask` is what the model is asked; `before` the steps that the song had when it began.

  Times are of the clock, in seconds; `result` names the songs that were made and the step. What
  a file holds is checked by these types.
  """

  id: str
  song: str
  do: str
  ask: dict
  state: str = "queued"
  created: int | float = 0.0
  started: int | float | None = None
  ended: int | float | None = None
  attempts: int = 0
  before: int | None = None
  error: str | None = None
  code: int | None = None
  result: dict | None = None
  progress: dict | None = field(default=None, compare=False)

  def shown(self) -> dict[str, Any]:
    """What the API says of it."""
    return dict(vars(self))  # asdict copies all that is in it, which is slow


class Jobs:
  """All jobs by id, in the order in which they came; `tell` hears of every change."""

  def __init__(self, folder: Path, tell: Callable[[Job], None] = lambda _: None):
    self._folder, self._tell = folder, tell
    self._jobs: dict[str, Job] = {}
    for path in sorted(folder.glob("*.json")):
      try:
        job = _read(path)
        self._jobs[job.id] = job
      except (DataError, OSError) as error:
        logging.warning("a job is passed over: %s", error)

  async def accept(self, song: str, do: str, ask: dict[str, Any]) -> Job:
    """A new job, which is on the disk; OutputError where it cannot be, or too many wait."""
    if sum(job.state == "queued" for job in self._jobs.values()) >= WAITING:
      raise OutputError(f"{WAITING} jobs wait already; cancel some, or come back later")
    now = time.time()
    job = Job(f"{time.time_ns():020d}-{secrets.token_hex(4)}", song, do, ask, created=now)
    await asyncio.to_thread(write_json, self._path(job), asdict(job))
    self._jobs[job.id] = job
    self._prune()
    self._tell(job)
    return job

  def change(self, job: Job, **values: Any) -> None:
    """Sets values of a job, on the disk first."""
    content = {**asdict(job), **values, "progress": None}
    try:
      write_json(self._path(job), content)
    except (OutputError, OSError, ValueError) as error:  # what is known in memory is still true
      logging.error("%s", error)
    for name, value in values.items():
      setattr(job, name, value)
    if job.state in ENDED:
      job.progress = None
    self._tell(job)

  def report(self, job: Job, progress: dict[str, Any]) -> None:
    """How far a job is; not on the disk."""
    job.progress = progress
    self._tell(job)

  def get(self, name: str) -> Job:
    """A job by id; MissingError where there is none."""
    if name not in self._jobs:
      raise MissingError(f"no job {name[:60]!r}; GET /api/jobs lists the last {KEPT}")
    return self._jobs[name]

  def all(self) -> list[Job]:
    """All jobs, the oldest first."""
    return list(self._jobs.values())

  def of(self, song: str) -> list[Job]:
    """The jobs of a song that wait or run."""
    return [job for job in self._jobs.values() if job.song == song and job.state not in ENDED]

  def next(self) -> Job | None:
    """The job that waits longest."""
    return next((job for job in self._jobs.values() if job.state == "queued"), None)

  def cut_off(self) -> list[Job]:
    """The jobs that ran when the studio ended."""
    return [job for job in self._jobs.values() if job.state == "running"]

  def _path(self, job: Job) -> Path:
    return self._folder / f"{job.id}.json"

  def _prune(self) -> None:
    ended = [job for job in self._jobs.values() if job.state in ENDED]
    for job in ended[: max(0, len(ended) - KEPT)]:
      self._path(job).unlink(missing_ok=True)
      del self._jobs[job.id]


def _read(path: Path) -> Job:
  """The job of a file; DataError where it holds none."""
  content = read_json(path)
  try:
    check_json(content)
    values = {one.name: content.get(one.name, one.default) for one in fields(Job)}
    for one in fields(Job):
      _require(one.name, isinstance(values[one.name], one.type))
    job = Job(**values)
    others = job.ask.get("others", [])
    _require("id", job.id == path.stem)
    _require("state", job.state in STATES)
    _require("others", isinstance(others, list) and all(isinstance(name, str) for name in others))
    return job
  except (ValueError, AttributeError, RecursionError) as error:
    raise DataError(f"{path}: is no job ({error})") from None


def _require(name: str, right: bool) -> None:
  if not right:
    raise ValueError(f"its {name} is missing or wrong")

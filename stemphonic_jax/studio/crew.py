"""Whoever hands the worker one job after the other, hears how far it is, and replaces it.

The worker is a process: a job that is cancelled and does not end by itself is ended with it, and
one that the system kills takes no other job, and not the studio, with it.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from stemphonic_jax.errors import DataError, MissingError, StemphonicError
from stemphonic_jax.studio.jobs import ATTEMPTS, ENDED, RESTARTS, Job, Jobs
from stemphonic_jax.studio.library import Library
from stemphonic_jax.studio.worker import line_of
from stemphonic_jax.weights.known import Known

PATIENCE = 1.2  # seconds in which a cancelled job may end by itself
LONGEST_LINE = 1 << 20
AGAIN = (
  2.0  # seconds before a worker that could not load the model is started anew, for the next job
)


class Crew:
  """Runs jobs with `command`; `tell` hears whether the model is loading, ready or failed."""

  def __init__(
    self,
    command: Sequence[str],
    jobs: Jobs,
    library: Library,
    tell: Callable[[dict[str, Any]], None] = lambda _: None,
  ):
    self._command, self._jobs, self._library, self._tell = command, jobs, library, tell
    self.model: dict[str, Any] = {"state": "loading"}
    self.known: Known | None = None  # by which what is asked is checked, once the model is loaded
    self._process: asyncio.subprocess.Process | None = None
    self._task: asyncio.Task | None = None
    self._wake = asyncio.Event()
    self._job: Job | None = None
    self._cancelled = ""  # the id of a job that is not wanted any more
    self._speed: dict[str, float] = {}  # seconds of work for a second of a stem, by what is done

  async def start(self) -> None:
    """Looks after jobs that were cut off, and begins with those that wait."""
    for job in self._jobs.cut_off():
      try:
        self._settle(job, "the studio ended", RESTARTS)
      except Exception as error:
        self._failed(job, error)
    self._task = asyncio.create_task(self._run())

  async def stop(self) -> None:
    """Ends the worker; a job that runs is made again when the studio starts."""
    if self._task:
      self._task.cancel()
      with contextlib.suppress(asyncio.CancelledError):
        await self._task
    await self._end()

  def wake(self) -> None:
    """There is a new job."""
    self._wake.set()

  async def cancel(self, job: Job) -> None:
    """Ends a job; returns when the worker is free of it."""
    if job.state == "queued":
      self._jobs.change(job, state="cancelled", ended=time.time())
    if job is not self._job or job.state in ENDED:
      return
    self._cancelled = job.id
    with contextlib.suppress(OSError, AttributeError):
      self._process.stdin.write(json.dumps({"cancel": job.id}).encode() + b"\n")
      await self._process.stdin.drain()
    for _ in range(round(PATIENCE / 0.05)):
      if job.state in ENDED:
        return
      await asyncio.sleep(0.05)
    if self._job is job and self._process:
      with contextlib.suppress(ProcessLookupError):
        self._process.kill()
    while job.state not in ENDED:
      await asyncio.sleep(0.02)

  async def _run(self) -> None:
    while True:
      try:
        await self._ready()
        self._wake.clear()
        if job := self._jobs.next():
          await self._do(job)
        else:
          await self._wake.wait()
      except Exception:
        logging.exception("the worker")
        await self._end()
        await asyncio.sleep(AGAIN)

  async def _ready(self) -> None:
    """Has a process with the model; while that cannot be loaded, jobs fail with the reason."""
    while self._process is None or self._process.returncode is not None:
      self._set({"state": "loading"})
      pipe = asyncio.subprocess.PIPE
      self._process = await asyncio.create_subprocess_exec(
        *self._command, stdin=pipe, stdout=pipe, limit=LONGEST_LINE
      )
      message = await self._read()
      if message and "model" in message:
        self.known = Known(**message["known"]) if message.get("known") else None
        self._set({"state": "ready", **message["model"]})
        return
      error = (message or {}).get("error") or "its process ended; is there memory enough?"
      code = (message or {}).get("code", 70)
      await self._end()
      self._set({"state": "failed", "error": error})
      logging.error("the model cannot be loaded: %s", error)
      while not (job := self._jobs.next()):
        self._wake.clear()
        await self._wake.wait()
      self._fail(job, f"the model cannot be loaded: {error}", code)
      await asyncio.sleep(AGAIN)

  async def _do(self, job: Job) -> None:
    """Does a job; whatever happens to it happens to no other."""
    self._job, self._cancelled = job, ""
    try:
      before = self._steps(job.song)
      now = {"state": "running", "started": time.time(), "before": before}
      self._jobs.change(job, **now, attempts=job.attempts + 1)
      await self._order(job, self._in_words(job))
    except Exception as error:
      self._failed(job, error)
      if not isinstance(error, StemphonicError):  # the process may be at work on it still
        await self._end()
    finally:
      self._job = None

  def _in_words(self, job: Job) -> dict[str, Any]:
    """A job as the worker reads it; MissingError where the library has no place for its songs."""
    folder, *others = (
      str(self._library.folder(name)) for name in (job.song, *job.ask.get("others", []))
    )
    ask = {key: value for key, value in job.ask.items() if key not in ("others", "names")}
    return {"job": job.id, "folder": folder, "others": others, "do": job.do, "ask": ask}

  async def _order(self, job: Job, order: dict[str, Any]) -> None:
    try:
      self._process.stdin.write(json.dumps(order).encode() + b"\n")
      await self._process.stdin.drain()
      while message := await self._read():
        if "ended" in message:
          self._finish(job, message)
          return
        self._report(job, message)
      await self._end()
      self._settle(job, "the process of the model ended; is there memory enough?")
    except (OSError, ValueError):
      await self._end()
      self._settle(job, "the process of the model ended")

  def _finish(self, job: Job, message: dict[str, Any]) -> None:
    state = message["ended"]
    if state == "done":
      self._done(job, message["result"]["step"])
    elif state == "failed":
      self._fail(job, message["error"], message["code"])
    else:
      self._jobs.change(job, state="cancelled", ended=time.time())

  def _done(self, job: Job, step: int) -> None:
    took, amount = time.time() - (job.started or time.time()), self._amount(job)
    if amount and took > 0:
      last = self._speed.get(job.do, took / amount)
      self._speed[job.do] = (last + took / amount) / 2
    result = {"songs": [job.song, *job.ask.get("others", [])], "step": step}
    self._jobs.change(job, state="done", ended=time.time(), result=result)

  def _fail(self, job: Job, error: str, code: int) -> None:
    self._jobs.change(job, state="failed", ended=time.time(), error=error, code=code)

  def _failed(self, job: Job, error: Exception) -> None:
    """A job that met an error; one that nobody expected is in the log with its traceback."""
    if not isinstance(error, StemphonicError):
      logging.exception("a job failed")
    if job.state not in ENDED:
      self._fail(job, line_of(error), getattr(error, "exit_code", 70))

  def _settle(self, job: Job, why: str, most: int = ATTEMPTS) -> None:
    """A job whose worker is gone: done after all, not wanted, to be done again, or failed."""
    steps = self._steps(job.song)
    if job.before is not None and steps > job.before:
      self._done(job, steps - 1)
    elif job.id == self._cancelled:
      self._jobs.change(job, state="cancelled", ended=time.time())
    elif job.attempts < most:
      self._jobs.change(job, state="queued")
      self.wake()
    else:
      self._fail(job, f"{why}, {job.attempts} times; nothing was made", 70)

  def _steps(self, song: str) -> int:
    try:
      return len(self._library.info(song)["steps"])
    except (DataError, MissingError):
      return 0

  def _amount(self, job: Job) -> float:
    """Seconds of audio that a job makes, all stems together; 0 where what is asked is none."""
    seconds, stems = job.ask.get("duration"), job.ask.get("stems")
    with contextlib.suppress(DataError, MissingError):
      info = self._library.info(job.song)
      seconds = seconds or info["steps"][info["now"]]["seconds"]
      stems = stems or list(info["stems"])
    seconds = seconds or self.model.get("seconds") or 0
    try:
      return float(seconds) * len(stems or []) * job.ask.get("variations", 1)
    except (TypeError, ValueError):
      return 0.0

  def _report(self, job: Job, message: dict[str, Any]) -> None:
    progress = {key: message.get(key) for key in ("stage", "done", "of")}
    elapsed = time.time() - (job.started or time.time())
    left = None
    if job.do in self._speed:
      left = max(0.0, self._speed[job.do] * self._amount(job) - elapsed)
    elif message.get("done"):
      left = elapsed * (message["of"] / message["done"] - 1)
    self._jobs.report(job, progress | {"left": left})

  async def _read(self) -> dict[str, Any] | None:
    line = await self._process.stdout.readline()
    return json.loads(line) if line else None

  async def _end(self) -> None:
    if self._process and self._process.returncode is None:
      with contextlib.suppress(ProcessLookupError):
        self._process.kill()
      await self._process.wait()
    self._process = None

  def _set(self, model: dict[str, Any]) -> None:
    self.model = model
    self._tell(model)

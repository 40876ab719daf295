"""The process that owns the model. One order after the other comes in, and what happens goes out.

Both are lines of JSON. In: {"job", "folder", "others", "do", "ask"}, or {"cancel": job}. Out:
{"model": …, "known": …} once it is loaded, or {"error": …}; for a job {"stage", "done", "of"} from
time to time, and at last {"ended": "done" | "failed" | "cancelled"} with the step that was made.

A song is saved whole or not at all, so this process may be killed at any moment.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from absl import logging

from stemphonic_jax.audio.folders import alone
from stemphonic_jax.errors import StemphonicError, first_line
from stemphonic_jax.generation.saved import load_song
from stemphonic_jax.weights.signed import STEMPHONIC, system_of

EVERY = 0.1  # seconds between two words about progress
LONG = 0.25  # seconds of tracing, from which on a compilation is worth a word


class Cancelled(Exception):
  """Raised within a work that nobody wants any more."""


class Line:
  """Where a job tells how far it is, and hears whether it is still wanted."""

  def __init__(self, say: Callable[[dict[str, Any]], None], job: str):
    self._say, self._job = say, job
    self._last, self._stage, self._count = 0.0, "", (0, 0)
    self.cancelled = threading.Event()

  def stage(self, name: str) -> None:
    """Names what is done now; raises Cancelled where nobody waits for it."""
    self.check()
    if name != self._stage:
      self._stage, self._last = name, 0.0
      self._tell()

  def progress(self, done: int, of: int) -> None:
    """As the pipeline calls it."""
    self.check()
    self._count = (done, of)
    if self._stage in ("", "preparing"):
      self._stage = "making"
    if time.monotonic() - self._last >= EVERY or done == of:
      self._tell()

  def check(self) -> None:
    """Raises Cancelled where the job is not wanted any more."""
    if self.cancelled.is_set():
      raise Cancelled

  def _tell(self) -> None:
    self._last = time.monotonic()
    done, of = self._count
    self._say({"job": self._job, "stage": self._stage, "done": done, "of": of})


def work(pipe: Any, order: dict[str, Any], line: Line) -> dict[str, Any]:
  """Does one order with the pipeline and saves what was made; what it raises changes nothing."""
  folder, do, ask = Path(order["folder"]), order["do"], dict(order["ask"])
  line.stage("preparing")
  if do == "make":
    prompt, stems = ask.pop("prompt"), ask.pop("stems")
    count = ask.pop("variations", 1)
    songs = pipe.variations(prompt, stems, count=count, progress=line.progress, **ask)
    line.stage("saving")
    places = [folder, *map(Path, order.get("others", []))]
    for song, place in reversed(list(zip(songs, places, strict=True))):
      song.save(place, overwrite=place != folder and place.exists())
    return {"step": 0}
  with alone(folder):
    song = pipe.edit(load_song(folder), do, progress=line.progress, **ask)
    line.stage("saving")
    song.save(folder, overwrite=True)
  return {"step": song.info["now"]}


def serve(load: Callable[[], Any], source: BinaryIO, say: Callable[[dict[str, Any]], None]) -> None:
  """Loads the pipeline and does orders until `source` ends."""
  orders: list[dict[str, Any]] = []
  lines: dict[str, Line] = {}
  come = threading.Condition()

  def listen() -> None:
    for text in source:
      message = json.loads(text)
      with come:
        if "cancel" in message:
          if message["cancel"] in lines:
            lines[message["cancel"]].cancelled.set()
        else:
          lines[message["job"]] = Line(say, message["job"])
          orders.append(message)
        come.notify()
    os._exit(0)  # the studio has ended; nothing that is half done is worth waiting for

  try:
    pipe = load()
    say({"model": about(pipe), "known": known(pipe)})
  except Exception as error:
    say({"error": line_of(error), "code": getattr(error, "exit_code", 70)})
    return
  threading.Thread(target=listen, daemon=True).start()
  while True:
    with come:
      while not orders:
        come.wait()
      order = orders.pop(0)
      line = lines[order["job"]]
    say({"job": order["job"], **_done(pipe, order, line)})
    del lines[order["job"]]


def _done(pipe: Any, order: dict[str, Any], line: Line) -> dict[str, Any]:
  _watch_compilation(line)
  try:
    return {"ended": "done", "result": work(pipe, order, line)}
  except Cancelled:
    return {"ended": "cancelled"}
  except Exception as error:
    if not isinstance(error, StemphonicError):
      logging.exception("a job failed")
    code = getattr(error, "exit_code", 70)
    return {"ended": "failed", "error": line_of(error), "code": code}
  finally:
    _watch_compilation(None)


_now: list[Line | None] = [None]


def _watch_compilation(line: Line | None) -> None:
  """From here on, a compilation is told to `line`."""
  if not _now[0] and line and "jax" in sys.modules and not getattr(_watch_compilation, "on", False):
    import jax

    def heard(event: str, seconds: float, **_: Any) -> None:
      if _now[0] and event.endswith("jaxpr_trace_duration") and seconds > LONG:
        _tell_stage("compiling")
      elif _now[0] and event.endswith("backend_compile_duration") and seconds > LONG:
        _tell_stage("making")

    jax.monitoring.register_event_duration_secs_listener(heard)
    _watch_compilation.on = True
  _now[0] = line


def _tell_stage(name: str) -> None:
  line = _now[0]
  if line and not line.cancelled.is_set():
    line.stage(name)


def line_of(error: Exception) -> str:
  """What a user reads of an error, on one line."""
  if isinstance(error, StemphonicError | OSError):
    return " ".join(str(error).split())
  return f"internal error, {first_line(error)}; the studio's log shows where"


def about(pipe: Any) -> dict[str, Any]:
  """What the page has to know of a model."""
  config = pipe.config
  conditions = [name for name, rate in config["dropout"].items() if rate < 1]
  return {
    "rate": pipe.rate,
    "seconds": pipe.seconds,
    "hop": pipe.hop,
    "fingerprint": pipe.fingerprint,
    "steps": config["sample"]["steps"],
    "guidance": config["sample"]["guidance"],
    "conditions": conditions,
    "whole_mixes": config["whole_mixes"],
    "types": list(config.get("types", ())),
    "ensemble": bool(pipe.ensemble),
  }


def known(pipe: Any) -> dict[str, Any] | None:
  """What requests are checked by (weights/known.py); None of systems with checks of their own."""
  if system_of(pipe.config) != STEMPHONIC:
    return None
  names = ("config", "hop", "channels", "fingerprint")
  return {name: getattr(pipe, name) for name in names}


def run(load: Callable[[], Any]) -> None:
  """The process: orders come in at standard input, and words go out at standard output."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the studio ends us when it ends
  out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
  os.dup2(2, 1)  # what libraries print is no message
  speaks = threading.Lock()

  def say(message: dict[str, Any]) -> None:
    try:
      with speaks:
        out.write(json.dumps(message) + "\n")
        out.flush()
    except BrokenPipeError:
      os._exit(0)  # the studio has ended

  serve(load, sys.stdin.buffer, say)

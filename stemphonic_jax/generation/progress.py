"""How far a work is, told to whoever asked for it, who ends it by raising; and how long it took."""

import threading
import time
from collections.abc import Callable

Tell = Callable[[int, int], None]  # (done, of)

SAMPLED, DECODED = 12, 4  # what a row counts for: on most machines the network takes the longer


class Ended(Exception):
  """Ends what other threads still do of a work that nobody wants any more."""


class Progress:
  """Counts what is done, on any thread, and tells it on the one that made it."""

  def __init__(self, of: int, tell: Tell | None = None):
    self.done, self.of, self.tell = 0, of, tell
    self._lock, self._thread = threading.Lock(), threading.get_ident()
    self._told, self._ended = -1, False
    self.poll()

  @property
  def wanted(self) -> bool:
    """Whether anybody listens."""
    return self.tell is not None

  def add(self, count: int) -> None:
    """So much more is done; Ended on another thread, where the work was ended."""
    if self._ended:
      raise Ended
    with self._lock:
      self.done += count
    if threading.get_ident() == self._thread:
      self.poll()

  def poll(self) -> None:
    """Tells what is new, on the thread that is to tell."""
    if self.tell is None or self.done == self._told:
      return
    self._told = self.done
    try:
      self.tell(self._told, self.of)
    except BaseException:
      self._ended = True
      raise


def one_after_another(tell: Tell | None) -> Tell | None:
  """Tells of works that follow each other as of one, which grows as each of them begins."""
  if tell is None:
    return None
  before, last = 0, (0, 0)

  def told(done: int, of: int) -> None:
    nonlocal before, last
    if done < last[0]:
      before += last[1]
    last = done, of
    tell(before + done, before + of)

  return told


class Clock:
  """Wall-clock seconds by stage."""

  def __init__(self):
    self.seconds: dict[str, float] = {}
    self._last = time.perf_counter()

  def lap(self, stage: str) -> None:
    """What passed since the last lap was of this stage."""
    now = time.perf_counter()
    self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
    self._last = now

"""How far a work is, told to whoever asked for it, who ends it by raising; and how long it took."""

import time
from collections.abc import Callable

Tell = Callable[[int, int], None]  # (done, of)

SAMPLED, DECODED = 3, 1  # what a row counts for: on most machines the network takes the longer


class Progress:
  """Counts what is done, and tells it on the thread that works."""

  def __init__(self, of: int, tell: Tell | None = None):
    self.done, self.of, self._tell = 0, of, tell
    self.add(0)

  def add(self, count: int) -> None:
    """So much more is done."""
    self.done += count
    if self._tell:
      self._tell(self.done, self.of)


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

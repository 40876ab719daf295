"""Ends a run that hangs: a stuck loader, a collective that a lost host never joins.

A hanging run costs as much as a working one and tells nobody; one that has ended is started again.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
from types import TracebackType

EXIT_CODE = 71
GRACE = 5.0  # seconds, after which the interpreter counts as blocked too


class Watchdog:
  """While entered, ends the process where `expect` is not called again within its seconds.

  The stacks of all threads go to stderr, then one line; the exit code is 71. Where the interpreter
  itself is blocked, by foreign code that holds its lock, faulthandler writes the stacks without it,
  and SIGALRM ends the process (142, says a shell). Zero seconds: no limit.
  """

  def __init__(self, seconds: float):
    self._changed = threading.Condition()
    self._over = False
    self._last = "the start"
    self._seconds = seconds
    self._deadline = time.monotonic() + seconds

  def expect(self, seconds: float, last: str) -> None:
    """From now on: the next call within `seconds`; `last` says what was done before this one."""
    with self._changed:
      self._seconds, self._last, self._deadline = seconds, last, time.monotonic() + seconds
      self._changed.notify()
    self._arm()

  def __enter__(self) -> "Watchdog":
    self._arm()
    threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
    return self

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    with self._changed:
      self._over = True
      self._changed.notify()
    self._disarm()

  def _arm(self) -> None:
    self._disarm()
    if self._seconds:
      # The descriptor, for sys.stderr may be an object without one.
      faulthandler.dump_traceback_later(self._seconds + GRACE, file=2)
      signal.setitimer(signal.ITIMER_REAL, self._seconds + GRACE + 1)

  def _disarm(self) -> None:
    faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_REAL, 0)

  def _watch(self) -> None:
    with self._changed:
      while not self._over:
        left = self._deadline - time.monotonic() if self._seconds else None
        if left is not None and left <= 0:
          self._end()
        self._changed.wait(left)

  def _end(self) -> None:
    faulthandler.cancel_dump_traceback_later()
    sys.stderr.flush()
    faulthandler.dump_traceback(file=2)
    line = f"stemphonic: error: nothing has happened for {self._seconds:g} s, since {self._last}"
    os.write(2, f"{line}; the stacks above say where it hangs\n".encode())
    os._exit(EXIT_CODE)  # no clean-up: that may hang as well

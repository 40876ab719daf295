"""A machine that is taken away says so with SIGTERM; the run then saves and ends."""

import os
import signal
import threading
from types import FrameType, TracebackType

import jax
from absl import logging
from jax.experimental import multihost_utils

_last = 0  # step that this process has asked about, in whatever run


class Preemption:
  """Whether SIGTERM has come, asked after every step; listens while it is entered.

  Several hosts agree on a step to stop at, through jax, whose handler must be the only one there:
  any other makes the hosts never agree. That step is the one after the last that any of them has
  asked about, and must be asked about by its number. A single process, which jax does not tell, has
  its own handler.
  """

  def __enter__(self) -> "Preemption":
    self._told = False
    main = threading.current_thread() is threading.main_thread()  # others may not set handlers
    self._alone = jax.process_count() == 1 and main
    if self._alone:
      self._before = signal.signal(signal.SIGTERM, self._hear)
    return self

  def begin(self, step: int) -> bool:
    """Whether to stop before the first step, which comes after `step`; to be asked first."""
    # What came earlier waits for the step after the last one, which may be another run's.
    return self.reached(_last + 1) or self.reached(step)

  def reached(self, step: int) -> bool:
    """Whether to stop after this step; several hosts must ask after each one, and all the same."""
    global _last
    _last = step
    return self._told or (not self._alone and multihost_utils.reached_preemption_sync_point(step))

  def __exit__(
    self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
  ) -> None:
    if not self._alone:
      return
    signal.signal(signal.SIGTERM, self._before)
    if self._told and error is None:  # it came after the last step: whoever was there first decides
      os.kill(os.getpid(), signal.SIGTERM)

  def _hear(self, number: int, frame: FrameType | None) -> None:
    if not self._told:
      logging.info("SIGTERM: saving after this step")
    self._told = True

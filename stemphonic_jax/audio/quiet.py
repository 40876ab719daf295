"""Keeps the MP3 decoder inside libsndfile (mpg123) from writing to the terminal.

It prints a line for every damaged frame, and libsndfile has no switch for it.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2
_ONE_AT_A_TIME = threading.Lock()
_MPG123 = re.compile(rb"^(Note: |Warning: Xing |\[src/libmpg123).*\n?|^\n", re.MULTILINE)


@contextmanager
def quiet_mpg123() -> Iterator[None]:
  """Within the block, what goes to file descriptor 2 is held back; all but mpg123's own follows.

  The descriptor belongs to the whole process: what other threads write comes a little later.
  """
  with _ONE_AT_A_TIME:
    try:
      terminal = os.dup(_STDERR)
    except OSError:  # closed: then there is nothing to keep quiet
      yield
      return
    with tempfile.TemporaryFile() as held:
      os.dup2(held.fileno(), _STDERR)
      try:
        yield
      finally:
        os.dup2(terminal, _STDERR)
        held.seek(0)
        if rest := _MPG123.sub(b"", held.read()):
          with suppress(OSError):
            os.write(terminal, rest)
        os.close(terminal)

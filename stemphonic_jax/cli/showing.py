"""How far a song is, for whoever waits for it: what a command passes as `progress`."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from stemphonic_jax.generation.progress import Tell


@contextlib.contextmanager
def shown(name: str) -> "Iterator[Tell]":
  """A bar on a terminal, elsewhere a line of log now and then, for what says how far it is."""
  from stemphonic_jax.data.bar import bar

  percent = 0
  with bar(None, name, 100, "%") as line:

    def tell(done: int, of: int) -> None:
      nonlocal percent
      more, percent = 100 * done // of - percent, 100 * done // of
      line.update(more)

    yield tell

"""How far a long work is: a bar on a terminal, elsewhere a line of log now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from absl import logging
from tqdm import tqdm

EVERY = 10.0  # seconds between lines


def bar(
  items: Iterable[Any] | None, name: str, total: int | None, unit: str, first: int = 0
) -> tqdm | Lines:
  """Goes through `items`, of which there are `total` with the `first` that were done before.

  Without items, it is a context whose `update` counts. Units are in the plural, as "mixes".
  """
  if sys.stderr.isatty():
    large = total is None  # texts by the million
    return tqdm(items, name, total, unit=f" {unit}", initial=first, unit_scale=large)
  return Lines(items, name, total, unit, first)


class Lines:
  """Stands in for a bar where its log is read later, or is a file."""

  def __init__(
    self, items: Iterable[Any] | None, name: str, total: int | None, unit: str, first: int
  ):
    self._items, self._name, self._total, self._unit = items, name, total, unit
    self._done, self._begun = first, time.monotonic()
    self._said = self._begun

  def __enter__(self) -> Lines:
    return self

  def __exit__(self, *_: object) -> None:
    pass

  def __iter__(self) -> Iterator[Any]:
    for item in self._items:
      yield item
      self.update(1)

  def update(self, count: int) -> None:
    """So many more are done."""
    self._done += count
    now = time.monotonic()
    if now - self._said >= EVERY:
      self._said = now
      of = "" if self._total is None else f" of {self._total}"
      seconds = now - self._begun
      logging.info("%s: %d%s %s, %.0f s", self._name, self._done, of, self._unit, seconds)

"""An endless walk over records: batch after batch, each planned from its position alone.

A plan says what a batch is made of without reading anything, and how many positions it takes. So
one number is all there is to save, and every worker process plans all batches and makes its share.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain

THREADS = 4  # that read the records of a batch
AHEAD = 1  # batches made before they are asked for

Plan = Callable[[int], Sequence]  # from a position: what the batch there is made of
Read = Callable[[Callable, Sequence], Iterator]  # maps a function over what is to be read
Make = Callable[[Sequence, Read], Any]  # of what was planned: a batch


def order(count: int, seed: int, shuffle: bool) -> grain.MapDataset[int]:
  """The record of each position of a walk over `count`; each epoch is shuffled anew."""
  records = grain.MapDataset.range(count).seed(seed)
  return (records.shuffle() if shuffle else records).repeat()


def row_by_row(rows: int, position: int) -> range:
  """The plan of a batch of which each row takes one position."""
  return range(position, position + rows)


def share(rows: int, host: int, hosts: int, block: int = 0) -> slice:
  """Which `rows` of a batch are those of a host; ValueError where hosts cannot share them.

  Each has whole blocks of `block` rows.
  """
  if rows % (hosts * max(block, 1)):
    blocks = f" with blocks of {block} rows" if block else ""
    raise ValueError(f"batch_size {rows} does not divide by {hosts} hosts{blocks}")
  own = rows // hosts
  return slice(host * own, (host + 1) * own)


def walked(
  plan: Plan, make: Make, *, start: int, workers: int = 0
) -> grain.DatasetIterator[tuple[int, Any]]:
  """Batches without end from position `start` on, each with the position of the next.

  They are made ahead in a thread, or in `workers` processes, for which absl's flags must be parsed;
  `close` it to end them.
  """
  planned = _Batches(plan, make, start)
  if workers:
    options = grain.MultiprocessingOptions(workers, AHEAD)
    return iter(planned.mp_prefetch(options, worker_init_fn=_outlive_sigterm))
  return iter(grain.experimental.ThreadPrefetchIterDataset(planned, prefetch_buffer_size=AHEAD))


def first(batches: grain.DatasetIterator[tuple[int, Any]], count: int) -> list[Any]:
  """The first `count` batches of a walk, which is closed."""
  with contextlib.closing(batches) as iterator:
    return [batch for _, batch in itertools.islice(iterator, count)]


def _outlive_sigterm(worker: int, workers: int) -> None:
  """SIGTERM to a whole group of processes has the trainer save; until then it needs data."""
  signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _Batches(grain.IterDataset[tuple[int, Any]]):
  """All batches from a position on or, in one of several worker processes, every n-th of them."""

  def __init__(self, plan: Plan, make: Make, start: int) -> None:
    super().__init__()
    self.plan, self.make, self.start = plan, make, start
    self.share = slice(0, None, 1)

  def set_slice(self, sl: slice, sequential_slice: bool = False) -> None:
    """Makes this the share of one worker, as grain asks; sequential shares of no end are none."""
    assert not sequential_slice
    self.share = sl

  def __iter__(self) -> grain.DatasetIterator[tuple[int, Any]]:
    return _BatchIterator(self)


class _BatchIterator(grain.DatasetIterator[tuple[int, Any]]):
  def __init__(self, dataset: _Batches) -> None:
    super().__init__()
    self._dataset, self._number, self._position = dataset, 0, dataset.start
    self._pool = concurrent.futures.ThreadPoolExecutor(THREADS)

  def __next__(self) -> tuple[int, Any]:
    d = self._dataset
    while True:
      parts = d.plan(self._position)
      number, self._number = self._number, self._number + 1
      self._position += len(parts)
      if number % d.share.step == d.share.start:
        return self._position, d.make(parts, self._pool.map)

  def get_state(self) -> dict[str, int]:
    """Grain asks for one; a position is what to start from."""
    return {"number": self._number, "position": self._position}

  def set_state(self, state: dict[str, int]) -> None:
    """Goes to where `get_state` was asked."""
    self._number, self._position = state["number"], state["position"]

  def close(self) -> None:
    """Ends the threads that read."""
    self._pool.shutdown(wait=False, cancel_futures=True)

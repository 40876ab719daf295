"""Rows of a pass: which share a noise, what guides them, and which run at once."""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float32, Int32

from stemphonic_jax.generation.guided import Guidance, weights_of
from stemphonic_jax.generation.limits import MAX_VARIATIONS
from stemphonic_jax.generation.request import Request
from stemphonic_jax.guidance import FULL, PLAIN, Views, views
from stemphonic_jax.models.conditioning import NOT_GIVEN, Conditions

THREADS = min(4, os.cpu_count() or 1)  # rows at once on a CPU, each with memory of its own
POLL = 0.1  # seconds


@dataclass(frozen=True, eq=False)
class Row:
  """A stem that is there: standardised latents of each variation, or of all, and which are known.

  The others are where an edit begins that keeps something of them.
  """

  type: str
  latents: Float32[np.ndarray, "V T C"]
  known: Bool[np.ndarray, "T"]


def noise_groups(request: Request, names: Sequence[str], share: float = 1.0) -> np.ndarray:
  """Which rows share a noise, [R]: those of a variation or, where it is not shared, none.

  A stem counts by a hash of its name: its noise depends neither on the other stems nor on their
  order. Nor does it depend on the number of variations. Where rows share it with a `share` below 1,
  [R, 2], both are there: what they share, and what is their own.
  """
  variations = range(request.first, request.first + request.variations)

  def ids(stems: Sequence[int]) -> Int32[np.ndarray, "R"]:
    return np.array([v + MAX_VARIATIONS * k for v in variations for k in stems], np.int32)

  common, own = ids([0] * len(names)), ids([zlib.crc32(name.encode()) >> 8 for name in names])
  if not request.share_noise:
    return own
  return np.stack([common, own], 1) if share < 1 else common


def known_frames(
  members: Sequence[str], there: Mapping[str, Row], shape: tuple[int, int, int]
) -> tuple[Bool[np.ndarray, "R T"], Float32[np.ndarray, "R T C"]]:
  """Which frames of the rows of a pass are known, and latents of the stems that are there."""
  count, frames, channels = shape
  nothing = Row("", np.zeros((1, frames, channels), np.float32), np.zeros(frames, bool))
  rows = [there.get(name, nothing) for name in members]
  clean = np.stack([np.broadcast_to(row.latents, shape) for row in rows], 1)
  known = np.tile(np.stack([row.known for row in rows]), (count, 1))
  return known, clean.reshape(-1, frames, channels)


def guided(guidance: Guidance, rows: Conditions, in_turn: bool) -> tuple[Any, Views | None]:
  """A weight or factors, and views, as `one_pass` takes them for the rows of a pass.

  Views are None where there is nothing to guide.
  What no row has needs no weight: without a tempo, say, it is left out in either case.
  """
  there = {
    "text": True,
    "bpm": not np.isnan(rows.bpm).all(),
    "context": np.any(rows.context),
    "activity": np.any(rows.activity != NOT_GIVEN),
    "stem_words": rows.bare is not None,
    "others": rows.group is not None and len(np.unique(rows.group)) < len(rows.group),
  }
  weights = {name: weight for name, weight in weights_of(guidance).items() if there[name]}
  factors = views(weights)
  if factors.keys() == {FULL}:
    return 1.0, None
  if tuple(factors) == PLAIN and not in_turn:
    return weights["text"], PLAIN
  return np.float32([*factors.values()]), tuple(factors)


def run_rows(
  run: Callable, rows: Any, together: int, poll: Callable[[], None] | None = None
) -> Iterator[np.ndarray]:
  """`run` on R rows (a tree of arrays) at once or, on a CPU, on each by itself; part by part.

  XLA's products on a CPU round differently for one row and for several. By itself, a stem is
  the same to the bit however many others there are, and one program serves any number. Where rows
  hear each other, as many as do so, of one song, are run `together`. `poll` is called meanwhile.
  """
  if jax.default_backend() != "cpu":
    yield np.asarray(run(*rows))
    return
  starts = range(0, len(jax.tree.leaves(rows)[0]), together)
  parts = [jax.tree.map(lambda a, i=i: a[i : i + together], rows) for i in starts]
  yield from for_each_row(lambda part: np.asarray(run(*part)), parts, poll)


def for_each_row(
  work: Callable[[Any], Any], rows: Sequence[Any], poll: Callable[[], None] | None = None
) -> Iterator[Any]:
  """`work` of each row: on a CPU THREADS at once, because one alone does not keep it busy.

  Where the results are no longer asked for, rows that have not begun are left out. `poll` is called
  while others work.
  """
  if jax.default_backend() != "cpu":
    yield from map(work, rows)
    return
  with ThreadPoolExecutor(THREADS) as pool:
    futures = [pool.submit(work, row) for row in rows]
    try:
      for future in futures:
        while poll and not wait([future], POLL).done:
          poll()
        yield future.result()
    finally:
      pool.shutdown(wait=False, cancel_futures=True)

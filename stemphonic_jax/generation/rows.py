"""Rows of a pass: which share a noise, and which run at once."""

import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from stemphonic_jax.generation.request import MAX_VARIATIONS, Request

THREADS = min(4, os.cpu_count() or 1)  # rows at once on a CPU, each with memory of its own


def noise_groups(request: Request, names: Sequence[str]) -> np.ndarray:
  """Which rows share a noise: those of a variation or, where it is not shared, none.

  A stem counts by a hash of its name: its noise depends neither on the other stems nor on their
  order. Nor does it depend on the number of variations.
  """
  stems = [0 if request.share_noise else zlib.crc32(name.encode()) >> 8 for name in names]
  ids = [v + MAX_VARIATIONS * k for v in range(request.variations) for k in stems]
  return np.array(ids, np.int32)


def run_rows(run: Callable, rows: Any, together: int) -> np.ndarray:
  """`run` on R rows (a tree of arrays) at once or, on a CPU, on each by itself.

  XLA's products on a CPU round differently for one row and for several. By itself, a stem is
  the same to the bit however many others there are, and one program serves any number. Where rows
  hear each other, as many as do so, of one song, are run `together`.
  """
  if jax.default_backend() != "cpu":
    return np.asarray(run(*rows))
  starts = range(0, len(jax.tree.leaves(rows)[0]), together)
  parts = [jax.tree.map(lambda a, i=i: a[i : i + together], rows) for i in starts]
  return np.concatenate(for_each_row(lambda part: np.asarray(run(*part)), parts))


def for_each_row(work: Callable[[Any], Any], rows: Sequence[Any]) -> list[Any]:
  """`work` of each row: on a CPU THREADS at once, because one alone does not keep it busy."""
  if jax.default_backend() != "cpu":
    return [work(row) for row in rows]
  with ThreadPoolExecutor(THREADS) as pool:
    return list(pool.map(work, rows))

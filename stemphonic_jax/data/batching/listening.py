"""Batches of stems under what they are to fit to, of records of codes (StemGen, Sec. 2).

Every row is one stem of a mix and, as its context, the sum of some of the others:

    crop      a random stretch of the record, of the length that is trained
    target    one of the stems that sound in it, each as likely
    context   uniform over the non-empty subsets of the others that are stored (grouping.py)

Silent stems are neither. A row is a function of the seed and its place in the walk over the
records; where a target is alone it hears nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict

import grain
import numpy as np
from jaxtyping import Bool, Int32

from stemphonic_jax.data.batching import grouping
from stemphonic_jax.data.batching.pipeline import Source
from stemphonic_jax.data.batching.records import Segment
from stemphonic_jax.data.batching.walk import order, row_by_row, share, walked

TRIES = 8  # a crop may fall into a rest of all stems, so it is drawn again a few times


class Rows(TypedDict):
  """B rows: codes of a stem and of its context, and the number of the stem's type.

  `row` counts over the rows of all hosts. Where a row does not `hear`, its context is nothing.
  """

  codes: Int32[np.ndarray, "B K T"]
  context: Int32[np.ndarray, "B K T"]
  hears: Bool[np.ndarray, "B"]
  instrument: Int32[np.ndarray, "B"]
  row: Int32[np.ndarray, "B"]
  id: np.ndarray  # [B], strings: the records; for messages


def draw_row(
  segment: Segment, rng: np.random.Generator, frames: int, types: Sequence[str]
) -> dict[str, Any]:
  """A row of a segment; ValueError where its type is none of `types`, or it is too short."""
  first, audible = _draw_crop(segment, rng, frames)
  target = int(rng.choice(np.flatnonzero(audible)))
  audible[target] = False
  mask = grouping.draw_context(rng, audible, segment.masks)
  span = slice(first, first + frames)
  codes = segment.latents[target, span].T
  return {
    "codes": codes.astype(np.int32),
    "context": segment.submix(mask)[span].T.astype(np.int32)
    if mask
    else np.zeros_like(codes, np.int32),
    "hears": bool(mask),
    "instrument": np.int32(types.index(segment.types[target])),
    "id": segment.id,
  }


def _draw_crop(
  segment: Segment, rng: np.random.Generator, frames: int
) -> tuple[int, Bool[np.ndarray, "n"]]:
  """Where a crop begins, and which stems sound in it; those of the whole where none does."""
  spare = segment.latents.shape[1] - frames
  for _ in range(TRIES):
    first = int(rng.integers(spare + 1))
    audible = segment.activity[:, first : first + frames].any(1)
    if audible.any():
      return first, audible
  return first, segment.audible


def batches(
  source: Source,
  *,
  frames: int,
  types: Sequence[str],
  batch_size: int,
  seed: int,
  start: int = 0,
  shuffle: bool = True,
  host: int = 0,
  hosts: int = 1,
  workers: int = 0,
) -> grain.DatasetIterator[tuple[int, Rows]]:
  """Batches of `batch_size` rows of `frames` without end, each with the `start` of the next.

  This host's rows are batch_size / hosts. `types` are those that the model tells apart. ValueError
  where hosts cannot share.
  """
  own = share(batch_size, host, hosts)
  make = functools.partial(
    _make,
    source,
    order(len(source), seed, shuffle),
    seed=seed,
    frames=frames,
    types=tuple(types),
    first=own.start,
    end=own.stop,
  )
  return walked(functools.partial(row_by_row, batch_size), make, start=start, workers=workers)


def _make(
  source: Source,
  records: grain.MapDataset[int],
  places: Sequence[int],
  read: Callable[[Callable, Sequence], Iterator],
  *,
  seed: int,
  frames: int,
  types: Sequence[str],
  first: int,
  end: int,
) -> Rows:
  """Rows `first` to `end` of the batch at these places of the walk."""

  def draw(place: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, place])
    return draw_row(source[records[place]], rng, frames, types)

  rows = list(read(draw, places[first:end]))
  batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  return Rows(row=np.arange(first, end, dtype=np.int32), **batch)

"""Batches of songs as streams of codes: a row is a crop of a segment with all of its stems.

Row r of the batch at position p is a function of (seed, p + r) alone, as batches of stems are of
theirs (pipeline.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, TypedDict

import grain
import numpy as np
from jaxtyping import Bool, Float16, Int32

from stemphonic_jax.data.batching import prompts, walk
from stemphonic_jax.data.batching.pipeline import EncodeText, Source
from stemphonic_jax.data.batching.records import Index, Segment


class SongBatch(TypedDict):
  """B rows, one song each; `frames` of a row are music, what follows is silence that was added."""

  codes: Int32[np.ndarray, "B K T"]
  frames: Int32[np.ndarray, "B"]
  text: Int32[np.ndarray, "B S"] | Float16[np.ndarray, "B S E"]  # token ids, or embeddings
  mask: Bool[np.ndarray, "B S"]
  row: Int32[np.ndarray, "B"]
  id: np.ndarray  # [B], strings: the records; for messages


def streams(segment: Segment, levels: Sequence[int]) -> Int32[np.ndarray, "K T"]:
  """The codes of a segment as streams: so many levels of each of its stems."""
  parts = [codes[:, :count].T for codes, count in zip(segment.latents, levels, strict=True)]
  return np.concatenate(parts).astype(np.int32)


def music_frames(segment: Segment, index: Index) -> int:
  """How many frames of a segment are music."""
  if segment.seconds is None:
    return index.frames
  return min(index.frames, max(1, math.floor(segment.seconds * index.rate / index.hop)))


def draw_text(segment: Segment, rng: np.random.Generator, tempo_dropout: float) -> str:
  """One of the captions of a segment, with its tempo unless that is dropped."""
  captions = (segment.caption, *segment.captions)
  caption = captions[int(rng.integers(len(captions)))]
  return prompts.song_prompt(caption, segment.bpm if rng.random() >= tempo_dropout else None)


def batches(
  source: Source,
  encode_text: EncodeText,
  *,
  frames: int,
  levels: Sequence[int],
  batch_size: int,
  seed: int,
  start: int = 0,
  tempo_dropout: float = 0.5,
  shuffle: bool = True,
  host: int = 0,
  hosts: int = 1,
  workers: int = 0,
) -> grain.DatasetIterator[tuple[int, SongBatch]]:
  """Batches of `batch_size` songs without end, each with the `start` that leads to the next.

  Songs have so many `frames`, cut out of their segments anywhere that there is music. This host's
  rows are batch_size / hosts. `levels` are those of each stem's codec; `workers` as of
  walk.walked. ValueError where hosts cannot share the rows.
  """
  make = functools.partial(
    _make,
    source,
    walk.order(len(source), seed, shuffle),
    encode_text,
    length=frames,
    levels=tuple(levels),
    seed=seed,
    tempo_dropout=tempo_dropout,
    rows=walk.share(batch_size, host, hosts),
  )
  return walk.walked(
    functools.partial(walk.row_by_row, batch_size), make, start=start, workers=workers
  )


def _make(
  source: Source,
  order: grain.MapDataset[int],
  encode_text: EncodeText,
  positions: range,
  read: walk.Read,
  *,
  length: int,
  levels: tuple[int, ...],
  seed: int,
  tempo_dropout: float,
  rows: slice,
) -> SongBatch:
  def draw(position: int) -> tuple[Any, ...]:
    segment, rng = source[order[position]], np.random.default_rng([seed, position])
    text, music = draw_text(segment, rng, tempo_dropout), music_frames(segment, source.index)
    start = int(rng.integers(max(music - length, 0) + 1))
    found = streams(segment, levels)[:, start : start + length]
    return found, min(music - start, length), text, segment.id

  codes, frames, texts, ids = zip(*read(draw, positions[rows]), strict=True)
  text, mask = encode_text(texts)
  return SongBatch(
    codes=np.stack(codes),
    frames=np.array(frames, np.int32),
    text=text,
    mask=mask,
    row=np.arange(rows.start, rows.stop, dtype=np.int32),
    id=np.array(ids),
  )

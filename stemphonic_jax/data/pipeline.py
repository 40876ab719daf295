"""The path from records to batches, as a chain of grain: shuffle, shard, draw, pack.

    segments -> shuffle, repeat -> draw (groups) -> every `hosts`-th -> pack (batches of B rows)

Drawing is a function of (seed, position), and packing of the groups it packs, so a batch follows
from the position of its first group. That number is the iterator's whole state: resuming is exact,
in the middle of an epoch too. Groups are drawn before hosts take their share: the position seeds
the draw, and positions within a share would repeat on every host.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import grain
import numpy as np
from grain.sources import RandomAccessDataSource
from jaxtyping import Bool, Float16, Float32, Int8, Int32

from stemphonic_jax.data import grouping, prompts
from stemphonic_jax.data.records import MIX, Segment, Statistics

# Reads overlap in threads; a group waiting in the buffer holds its targets and one context only.
READ_OPTIONS = grain.ReadOptions(num_threads=4, prefetch_buffer_size=64)


# Prompts to ids or embeddings and the mask of what is not padding: a tokenizer's, or of data/texts.
EncodeText = Callable[[Sequence[str]], tuple[np.ndarray, Bool[np.ndarray, "B S"]]]


class Batch(TypedDict):
  """B rows, one stem each; latents and context are standardised, context is 0 from scratch."""

  latents: Float32[np.ndarray, "B T C"]
  context: Float32[np.ndarray, "B T C"]
  activity: Int8[np.ndarray, "B T"]
  text: Int32[np.ndarray, "B S"] | Float16[np.ndarray, "B S E"]  # token ids, or embeddings
  mask: Bool[np.ndarray, "B S"]
  bpm: Float32[np.ndarray, "B"]  # NaN where unknown
  group: Int32[np.ndarray, "B"]


@dataclass(frozen=True, eq=False)
class Group:
  """Targets of one mix in random order, and the context they get if the group is conditional.

  `context_types` is empty where the prompt's clause is dropped; `seed` is a random number, from
  which the batch that starts with this group draws.
  """

  latents: Float16[np.ndarray, "n T C"]
  activity: Int8[np.ndarray, "n T"]
  types: tuple[str, ...]
  context: Float16[np.ndarray, "T C"] | None
  context_types: tuple[str, ...]
  caption: str
  bpm: float
  seed: int

  def __len__(self) -> int:
    return len(self.types)


def draw_group(
  segment: Segment, rng: np.random.Generator, *, group_stems: bool, clause_dropout: float
) -> Group:
  """Draws targets and a possible context of one segment (Sec. 3.1); one target if not grouped."""
  # In random order, because a batch cuts its last group: no stem is cut more often than another.
  targets = rng.permutation(np.flatnonzero(grouping.draw_targets(rng, segment.audible)))
  if not group_stems:
    targets = targets[:1]
  left_out = segment.audible
  left_out[targets] = False
  context = grouping.draw_context(rng, left_out, list(segment.submixes))
  told = context if rng.random() >= clause_dropout else 0
  context_types = itertools.compress(segment.types, grouping.stems_of(told, len(segment.types)))
  return Group(
    latents=segment.latents[targets],
    activity=segment.activity[targets],
    types=tuple(segment.types[k] for k in targets),
    # A copy: a view would keep the whole record in memory while the group waits.
    context=segment.submix(context).copy() if context else None,
    context_types=tuple(context_types),
    caption=segment.caption,
    bpm=segment.bpm,
    seed=int(rng.integers(1 << 63)),
  )


def pack(
  groups: Sequence[tuple[Group, int]],
  encode_text: EncodeText,
  *,
  statistics: Statistics,
  share_noise: bool,
  host: int,
) -> Batch:
  """One batch of groups and the number of rows each has in it (`grouping.fill`)."""
  rng = np.random.default_rng(groups[0][0].seed)
  conditional = grouping.draw_conditional(rng, len(groups))
  sizes = [rows for _, rows in groups]
  latents = np.concatenate([group.latents[:rows] for group, rows in groups])
  context = np.zeros(latents.shape, np.float32)
  texts, row = [], 0
  for (group, rows), chosen in zip(groups, conditional, strict=True):
    if chosen and group.context is not None:
      context[row : row + rows] = statistics.standardize(group.context)
    told = group.context_types if chosen else ()
    texts += [_prompt(stem_type, group.caption, told) for stem_type in group.types[:rows]]
    row += rows
  text, mask = encode_text(texts)
  return Batch(
    latents=statistics.standardize(latents),
    context=context,
    activity=np.concatenate([group.activity[:rows] for group, rows in groups]),
    text=text,
    mask=mask,
    bpm=np.repeat([np.float32(group.bpm) for group, _ in groups], sizes),
    group=grouping.group_ids(sizes, share=share_noise, host=host),
  )


def _prompt(stem_type: str, caption: str, context_types: Sequence[str]) -> str:
  if stem_type == MIX:
    return prompts.mix_prompt(caption)
  return prompts.stem_prompt(stem_type, caption, context_types)


def batches(
  source: RandomAccessDataSource[Segment],
  encode_text: EncodeText,
  *,
  statistics: Statistics,
  batch_size: int,
  seed: int,
  group_stems: bool = True,
  share_noise: bool = True,
  clause_dropout: float = 0.5,
  shuffle: bool = True,
  host: int = 0,
  hosts: int = 1,
) -> grain.DatasetIterator[Batch]:
  """Batches of `batch_size` rows on this host, without end; each epoch is shuffled anew.

  The settings of Table 1: A neither groups stems nor shares noise, B groups them, C does both. B
  and C differ in nothing but the vector `group`. `statistics` are those of the records the model is
  trained on, also where `source` is another folder. `close` the iterator to end its threads.
  """
  draw = functools.partial(draw_group, group_stems=group_stems, clause_dropout=clause_dropout)
  segments = grain.MapDataset.source(source).seed(seed)
  groups = (segments.shuffle() if shuffle else segments).repeat().random_map(draw)
  packing = functools.partial(
    pack,
    encode_text=encode_text,
    statistics=statistics,
    share_noise=share_noise,
    host=host,
  )
  return iter(_Packed(groups[host::hosts].to_iter_dataset(READ_OPTIONS), batch_size, packing))


def held_out(
  source: RandomAccessDataSource[Segment], encode_text: EncodeText, *, count: int, **options: Any
) -> list[Batch]:
  """The first `count` batches of an unshuffled walk, to measure on: the same at every call.

  A small source is walked several times, with other draws each time. `options` as in `batches`.
  """
  with contextlib.closing(batches(source, encode_text, shuffle=False, **options)) as iterator:
    return list(itertools.islice(iterator, count))


class _Packed(grain.IterDataset[Batch]):
  """Groups of any size -> batches of exactly `rows` rows."""

  def __init__(
    self, groups: grain.IterDataset[Group], rows: int, packing: Callable[..., Batch]
  ) -> None:
    super().__init__(groups)
    self._rows, self._packing = rows, packing

  def __iter__(self) -> grain.DatasetIterator[Batch]:
    return _PackedIterator(iter(self._parent), self._rows, self._packing)


class _PackedIterator(grain.DatasetIterator[Batch]):
  """Keeps nothing between two batches (what is cut is gone), so its parent's state is its own."""

  def __init__(
    self, groups: grain.DatasetIterator[Group], rows: int, packing: Callable[..., Batch]
  ) -> None:
    super().__init__(groups)
    self._rows, self._packing = rows, packing

  def __next__(self) -> Batch:
    return self._packing(grouping.fill(self._parent, self._rows))

  def get_state(self) -> dict[str, Any]:
    return self._parent.get_state()

  def set_state(self, state: dict[str, Any]) -> None:
    self._parent.set_state(state)

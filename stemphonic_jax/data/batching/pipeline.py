"""The path from records to batches, on grain: shuffle, plan, read, pack.

    order (a shuffled, endless walk over the records) -> plan (groups until B rows are full)
      -> read (this host's groups) -> pack (this host's rows)

Group number g of the walk is a function of (seed, g), and how many rows it has follows from which
stems of its record sound, which the index knows. So a batch is planned without reading anything,
and follows from the position of its first group: that one number is all there is to save. Every
host plans the whole batch and reads its rows of it, every worker process plans all batches and
makes its share; how many there are changes nothing in what comes out.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, Protocol, TypedDict

import grain
import numpy as np
from jaxtyping import Bool, Float16, Float32, Int8, Int32

from stemphonic_jax.data.batching import grouping, prompts
from stemphonic_jax.data.batching.records import Index, Segment, Statistics
from stemphonic_jax.data.batching.walk import first, order, share, walked
from stemphonic_jax.data.taxonomy import MIX

# Prompts to ids or embeddings and the mask of what is not padding: a tokenizer's, or of data/texts.
EncodeText = Callable[[Sequence[str]], tuple[np.ndarray, Bool[np.ndarray, "B S"]]]


class Source(Protocol):
  """What batches are made of: records.Records, or whatever looks like them."""

  index: Index

  def __len__(self) -> int: ...
  def __getitem__(self, position: int) -> Segment: ...


class Batch(TypedDict):
  """B rows, one stem each; latents and context are standardised, context is 0 from scratch.

  `group` and `row` count over the rows of all hosts. `seconds` of music are in a row, and silence
  after them (infinite: all of it). With waveforms, `submix_of` says which of the `submixes` a
  row's context is yet to be encoded from; -1 is none.
  """

  latents: Float32[np.ndarray, "B T C"]
  context: Float32[np.ndarray, "B T C"]
  activity: Int8[np.ndarray, "B T"]
  text: Int32[np.ndarray, "B S"] | Float16[np.ndarray, "B S E"]  # token ids, or embeddings
  mask: Bool[np.ndarray, "B S"]
  bpm: Float32[np.ndarray, "B"]  # NaN where unknown
  seconds: Float32[np.ndarray, "B"]
  group: Int32[np.ndarray, "B"]
  row: Int32[np.ndarray, "B"]
  id: np.ndarray  # [B], strings: the records; for messages
  type: np.ndarray  # [B], strings: the stems'
  known: NotRequired[Bool[np.ndarray, "B T"]]  # frames whose latents are given
  weight: NotRequired[Float32[np.ndarray, "B"]]  # of a row's loss: 0 where all of it is known
  submixes: NotRequired[Float32[np.ndarray, "M N 2"]]
  submix_of: NotRequired[Int32[np.ndarray, "B"]]


@dataclass(frozen=True, eq=False)
class Group:
  """Rows of one mix, and the context they get: latents, a waveform to encode, or none.

  `context_types` is empty where the prompt's clause is dropped, and so are `words` of a row.
  """

  id: str
  latents: Float32[np.ndarray, "n T C"] | Float16[np.ndarray, "n T C"]
  activity: Int8[np.ndarray, "n T"]
  types: tuple[str, ...]
  words: tuple[str, ...]
  context: Float16[np.ndarray, "T C"] | None
  submix: Float32[np.ndarray, "N 2"] | None
  context_types: tuple[str, ...]
  caption: str
  bpm: float
  seconds: float


@dataclass(frozen=True, eq=False)
class Planned:
  """A group of a batch: its place in the walk, its targets, and the rows of them in the batch."""

  position: int
  targets: np.ndarray  # the stems' numbers, in order of their rows
  rows: int


@dataclass(frozen=True, eq=False)
class Walk:
  """The endless sequence of groups over a source; nothing here reads a record."""

  source: Source
  seed: int
  group_stems: bool
  shuffle: bool
  block: int = 0

  @functools.cached_property
  def order(self) -> grain.MapDataset[int]:
    """The record of each position."""
    return order(len(self.source), self.seed, self.shuffle)

  def draw(self, position: int) -> tuple[np.ndarray, np.random.Generator]:
    """Targets of a position, and the generator to go on drawing from.

    In random order, because a batch cuts its last group: no stem is cut more often than another.
    """
    rng = np.random.default_rng([self.seed, position])
    mask = self.source.index.audible[self.order[position]]
    drawn = grouping.draw_targets(rng, grouping.stems_of(mask, mask.bit_length()))
    targets = rng.permutation(np.flatnonzero(drawn))
    return targets if self.group_stems else targets[:1], rng

  def plan(self, start: int, rows: int) -> list[Planned]:
    """The groups of the batch that begins at position `start`, in the order of their rows."""
    groups = (self.draw(position)[0] for position in itertools.count(start))
    if self.block:
      filled = grouping.fill_blocks(groups, rows, self.block)
    else:
      filled = [(i, *part) for i, part in enumerate(grouping.fill(groups, rows))]
    return [Planned(start + i, targets, count) for i, targets, count in filled]

  def known(self, planned: "Planned", law: grouping.Known) -> Bool[np.ndarray, "n T"]:
    """The frames of a planned group that are known."""
    rng = np.random.default_rng([self.seed, planned.position, 2])
    return grouping.draw_known(rng, planned.rows, self.source.index.frames, law)


def draw_group(
  segment: Segment,
  targets: np.ndarray,
  rng: np.random.Generator,
  *,
  rows: slice,
  conditional: bool,
  clause_dropout: float,
  words_dropout: float = 0.0,
) -> Group:
  """The `rows` of a group of `targets`, and its context if it is to have one (Sec. 3.1).

  All of them get one of the captions, and each the words of its stem unless they are dropped.
  """
  left_out = segment.audible
  left_out[targets] = False
  context = grouping.draw_context(rng, left_out, segment.masks)
  told = context if rng.random() >= clause_dropout else 0
  if not conditional:
    context = told = 0
  context_types = itertools.compress(segment.types, grouping.stems_of(told, len(segment.types)))
  latents = segment.latents[targets]
  if segment.deviations is not None:
    noise = rng.standard_normal(latents.shape, np.float32)
    latents = latents + segment.deviations[targets] * noise
  summed = segment.waveforms is not None and context.bit_count() > 1
  # Drawn last, so that a record with one caption and no words is drawn from as it always was.
  captions = (segment.caption, *segment.captions)
  caption = captions[int(rng.integers(len(captions)))] if len(captions) > 1 else segment.caption
  words = [""] * len(targets)
  if any(segment.words):
    told = rng.random(len(targets)) >= words_dropout
    words = [segment.words[k] if said else "" for k, said in zip(targets, told, strict=True)]
  return Group(
    id=segment.id,
    latents=latents[rows],
    activity=segment.activity[targets[rows]],
    types=tuple(segment.types[k] for k in targets[rows]),
    words=tuple(words[rows]),
    # A copy: a view would keep the whole record in memory.
    context=segment.submix(context).copy() if context and not summed else None,
    submix=segment.waveforms.submix(context) if summed else None,
    context_types=tuple(context_types),
    caption=caption,
    bpm=segment.bpm,
    seconds=np.inf if segment.seconds is None else segment.seconds,
  )


def pack(
  groups: Sequence[Group],
  encode_text: EncodeText,
  *,
  statistics: Statistics,
  group: Int32[np.ndarray, "B"],
  row: Int32[np.ndarray, "B"],
) -> Batch:
  """The rows of groups, with the ids of their groups and their own."""
  sizes = [len(part.types) for part in groups]
  latents = np.concatenate([part.latents for part in groups])
  context = np.zeros(latents.shape, np.float32)
  submixes, submix_of = [], np.full(len(latents), -1, np.int32)
  texts, start = [], 0
  for part, rows in zip(groups, sizes, strict=True):
    own = slice(start, start + rows)
    if part.context is not None:
      context[own] = statistics.standardize(part.context)
    elif part.submix is not None:
      submix_of[own] = len(submixes)
      submixes.append(part.submix)
    texts += [
      _prompt(part, kind, words) for kind, words in zip(part.types, part.words, strict=True)
    ]
    start += rows
  text, mask = encode_text(texts)
  batch = Batch(
    latents=statistics.standardize(latents),
    context=context,
    activity=np.concatenate([part.activity for part in groups]),
    text=text,
    mask=mask,
    bpm=np.repeat([np.float32(part.bpm) for part in groups], sizes),
    seconds=np.repeat([np.float32(part.seconds) for part in groups], sizes),
    group=group,
    row=row,
    id=np.repeat([part.id for part in groups], sizes),
    type=np.array([kind for part in groups for kind in part.types]),
  )
  if submixes:
    batch |= {"submixes": np.stack(submixes), "submix_of": submix_of}
  return batch


def _prompt(group: Group, stem_type: str, words: str) -> str:
  if stem_type == MIX:
    return prompts.mix_prompt(group.caption)
  return prompts.stem_prompt(stem_type, group.caption, group.context_types, words)


def batches(
  source: Source,
  encode_text: EncodeText,
  *,
  statistics: Statistics,
  batch_size: int,
  seed: int,
  start: int = 0,
  group_stems: bool = True,
  share_noise: bool = True,
  clause_dropout: float = 0.5,
  words_dropout: float = 0.5,
  block: int = 0,
  known: grouping.Known | None = None,
  shuffle: bool = True,
  host: int = 0,
  hosts: int = 1,
  workers: int = 0,
) -> grain.DatasetIterator[tuple[int, Batch]]:
  """Batches of `batch_size` rows without end, each with the `start` that leads to the next.

  This host's rows are batch_size / hosts, the ones it owns of the batch of all. The settings of
  Table 1: A neither groups stems nor shares noise, B groups them, C does both. B and C differ in
  nothing but the vector `group`. With a `block`, no group crosses the blocks of so many rows; with
  a law of what is `known`, batches say which frames are. `statistics` are those of the training's
  records, whatever `source` is. Batches are made ahead in a thread, or in `workers` processes, for
  which absl's flags must be parsed; `close` it to end them. ValueError where hosts cannot share.
  """
  own = share(batch_size, host, hosts, block)
  walk = Walk(source, seed, group_stems, shuffle, block)
  return walked(
    functools.partial(walk.plan, rows=batch_size),
    functools.partial(
      _make,
      walk,
      encode_text=encode_text,
      statistics=statistics,
      share_noise=share_noise,
      clause_dropout=clause_dropout,
      words_dropout=words_dropout,
      known=known,
      first=own.start,
      end=own.stop,
    ),
    start=start,
    workers=workers,
  )


def held_out(source: Source, encode_text: EncodeText, *, count: int, **options: Any) -> list[Batch]:
  """The first `count` batches of an unshuffled walk, to measure on: the same at every call.

  A small source is walked several times, with other draws each time. `options` as in `batches`.
  """
  return first(batches(source, encode_text, shuffle=False, **options), count)


def _make(
  walk: Walk,
  groups: Sequence[Planned],
  read: Callable[[Callable, Sequence], Iterator],
  encode_text: EncodeText,
  *,
  statistics: Statistics,
  share_noise: bool,
  clause_dropout: float,
  words_dropout: float,
  known: grouping.Known | None,
  first: int,
  end: int,
) -> Batch:
  """Rows `first` to `end` of a planned batch; `read` maps a function over what is to be read."""
  position = min(group.position for group in groups)
  conditional = grouping.draw_conditional(
    np.random.default_rng([walk.seed, position, 1]), len(groups)
  )
  starts = np.cumsum([0, *(group.rows for group in groups)])
  own = [i for i in range(len(groups)) if starts[i] < end and starts[i + 1] > first]

  def draw(i: int) -> Group:
    planned = groups[i]
    targets, rng = walk.draw(planned.position)
    rows = slice(max(first - starts[i], 0), min(end - starts[i], planned.rows))
    segment = walk.source[walk.order[planned.position]]
    chosen = bool(conditional[i])
    return draw_group(
      segment, targets, rng, rows=rows, conditional=chosen,
      clause_dropout=clause_dropout, words_dropout=words_dropout,
    )  # fmt: skip

  ids = grouping.group_ids([group.rows for group in groups], share=share_noise)
  batch = pack(
    list(read(draw, own)),
    encode_text,
    statistics=statistics,
    group=ids[first:end],
    row=np.arange(first, end, dtype=np.int32),
  )
  if known:
    frames = np.concatenate([walk.known(group, known) for group in groups])
    asked = ~frames.all(1)
    weight = (asked * len(asked) / asked.sum()).astype(np.float32)
    batch |= {"known": frames[first:end], "weight": weight[first:end]}
  return batch

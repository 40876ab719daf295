"""Stem grouping (Sec. 3.1): which stems of a mix are targets, which are context, which rows share.

Every stem is one row of the batch, and the rows of one mix stand together as a *group*. The laws:

    targets       each audible stem with probability 1/2, given that at least one is; so group sizes
                  are binomial, with their peak at half of the stems (Sec. 5)
    context       uniform over the non-empty subsets of the audible stems left out
    batch         groups until B rows are reached; the last group is cut
    conditional   exactly half of the L groups, at random; the others start from scratch
    group         one id per group; its rows share their noise (Sec. 3.2)

Rows that hear each other (models/stems.py, not in the paper) have two laws more:

    blocks        groups lie whole within blocks of rows, which no device or micro-batch cuts
    known         frames whose latents are given: stems that are there, holes to repair, beginnings

A silent stem is neither target nor context: it would teach that a type may be answered by nothing.
The paper does not say what an odd L does (a coin rounds it), nor a chosen group in which no stem is
left out (it is from scratch).

A set of stems is bool [K], or an int *mask* whose bit k is stem k where it names a stored sub-mix.
Everything random comes from the generator handed in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Int32

MAX_STEMS = 62  # bits of a mask; all masks, and their number, fit into an int64

G = TypeVar("G", bound=Sized)  # a group, of which only the number of rows matters here


def draw_targets(rng: np.random.Generator, audible: Bool[np.ndarray, "K"]) -> Bool[np.ndarray, "K"]:
  """Draws the stems to generate: a fair coin for each audible one, not all of them tails.

  Coins given at least one head are uniform over the non-empty subsets, so one draw is enough.
  ValueError where no stem is audible.
  """
  stems = np.flatnonzero(audible)
  if not stems.size:
    raise ValueError("no stem is audible, so there is nothing to draw a target from")
  heads = rng.integers(1, 1 << stems.size)
  targets = np.zeros_like(audible)
  targets[stems[stems_of(heads, stems.size)]] = True
  return targets


def draw_context(
  rng: np.random.Generator, left_out: Bool[np.ndarray, "K"], subsets: Sequence[int]
) -> int:
  """Draws the sub-mix given as context: a mask, or 0 where no stem is left out.

  Uniform over the single left-out stems and those of `subsets` (masks of stored sub-mixes) within
  them: over all non-empty subsets if every subset is stored.
  """
  within = mask_of(left_out)
  choices = [1 << int(k) for k in np.flatnonzero(left_out)]
  choices += [subset for subset in subsets if subset | within == within]
  return choices[rng.integers(len(choices))] if choices else 0


def draw_conditional(rng: np.random.Generator, groups: int) -> Bool[np.ndarray, "L"]:
  """Draws which of the L groups are conditional: exactly half, and a coin rounds an odd L."""
  half = (groups + rng.integers(2)) // 2
  conditional = np.zeros(groups, bool)
  conditional[rng.choice(groups, half, replace=False)] = True
  return conditional


def fill(groups: Iterator[G], rows: int) -> list[tuple[G, int]]:
  """Takes groups until they have `rows` rows; beside each, how many of its rows are in the batch.

  All of them, except in the last group, which is cut.
  """
  filled = []
  while rows:
    group = next(groups)
    filled.append((group, min(len(group), rows)))
    rows -= filled[-1][1]
  return filled


def fill_blocks(groups: Iterator[G], rows: int, block: int) -> list[tuple[int, G, int]]:
  """The same in blocks of `block` rows that no group crosses: (its number, group, rows of it).

  In the order of their rows. Each block gets groups that fill it, the largest of those that are
  left among them. What fits nowhere is cut, as the last group is, and groups larger than a block
  are: of songs of six stems and 64 rows in blocks of eight, one group in 25. ValueError where
  `rows` is no multiple of `block`.
  """
  if rows % block:
    raise ValueError(f"{rows} rows do not divide into blocks of {block}")
  taken, waiting, total = [], defaultdict(list), 0
  while total < rows:
    group = next(groups)
    count = min(len(group), block, rows - total)
    waiting[count].append(len(taken))
    taken.append(group)
    total += count

  blocks: list[list[tuple[int, int]]] = []  # numbers of groups, and rows of them
  for _ in range(rows // block):
    left = {size: len(numbers) for size, numbers in waiting.items() if numbers}
    sums = (_summands(left, total) for total in range(block, -1, -1))
    sizes = next(found for found in sums if found is not None)
    blocks.append([(waiting[size].pop(0), size) for size in sizes])
  rest = [(number, size) for size in sorted(waiting, reverse=True) for number in waiting[size]]
  for inside in sorted(blocks, key=lambda inside: sum(size for _, size in inside)):
    while room := block - sum(size for _, size in inside):
      if not rest:
        taken.append(next(groups))
        rest.append((len(taken) - 1, min(len(taken[-1]), block)))
      number, size = rest.pop(0)
      inside.append((number, min(size, room)))
  return [(number, taken[number], size) for inside in blocks for number, size in inside]


def _summands(left: Mapping[int, int], total: int) -> list[int] | None:
  """Numbers that add up to `total`, out of `left` of each, the largest first; None if none do."""
  if not total:
    return []
  for size in sorted((size for size in left if left[size] and size <= total), reverse=True):
    rest = _summands(
      {n: count - (n == size) for n, count in left.items() if n <= size}, total - size
    )
    if rest is not None:
      return [size, *rest]
  return None


@dataclass(frozen=True)
class Known:
  """How often frames of a group are known, by what that is for; else none are.

  `given`: some of its stems are there. `repair`: all are, but for a hole in one. `extend`: all are,
  but for a hole in all of them, which may be at an end.
  """

  given: float = 0.0
  repair: float = 0.0
  extend: float = 0.0


def draw_known(
  rng: np.random.Generator, rows: int, frames: int, law: Known
) -> Bool[np.ndarray, "n T"]:
  """Draws the known frames of a group of `rows`; some are always unknown."""
  known = np.zeros((rows, frames), bool)
  kind, hole = rng.random(), _draw_hole(rng, frames)
  stem, asked = rng.integers(rows), draw_targets(rng, np.ones(rows, bool))
  if kind < law.given:
    known[~asked] = True
  elif kind < law.given + law.repair:
    known[:] = True
    known[stem, hole] = False
  elif kind < law.given + law.repair + law.extend:
    known[:] = True
    known[:, hole] = False
  return known


def _draw_hole(rng: np.random.Generator, frames: int) -> slice:
  """A range of frames: in three cases alike often anywhere, at the beginning or at the end."""
  length = int(rng.integers(1, max(frames, 2)))
  start = (int(rng.integers(frames - length + 1)), 0, frames - length)[rng.integers(3)]
  return slice(start, start + length)


def group_ids(sizes: Sequence[int], *, share: bool) -> Int32[np.ndarray, "B"]:
  """The group of each row of a batch, the rows of all hosts together.

  Without `share` every row is its own group, so that no two rows get the same noise (setting B).
  """
  rows = sum(sizes)
  return (np.repeat(np.arange(len(sizes)), sizes) if share else np.arange(rows)).astype(np.int32)


def subsets_to_store(
  rng: np.random.Generator, audible: Bool[np.ndarray, "K"], limit: int
) -> list[int]:
  """The masks of the sub-mixes worth encoding ahead: two audible stems or more, but not all.

  All of them if they are at most `limit` (56 for six stems). Else `limit` different ones, drawn as
  training draws its contexts, so that what is stored is what will be asked for most: a large
  sub-mix rarely fits into what was left out. Single stems are not listed: their latents are there.
  """
  stems = np.flatnonzero(audible)
  n = stems.size
  if (1 << n) - n - 2 <= limit:
    every = (
      mask_of(np.isin(np.arange(audible.size), stems[stems_of(s, n)])) for s in range(1 << n)
    )
    return [mask for mask in every if 2 <= mask.bit_count() < n]
  found: dict[int, None] = {}
  while len(found) < limit:
    left_out = audible & ~draw_targets(rng, audible)
    # Given what is left out, every non-empty subset of it is equally likely to be the context.
    context = mask_of(draw_targets(rng, left_out)) if left_out.any() else 0
    if context.bit_count() >= 2:
      found[context] = None
  return sorted(found)


def mask_of(stems: Bool[np.ndarray, "K"]) -> int:
  """The mask of a set of stems: bit k is stem k."""
  return sum(1 << int(k) for k in np.flatnonzero(stems))


def stems_of(mask: int | np.integer, count: int) -> Bool[np.ndarray, "K"]:
  """The set of stems of a mask, out of `count` stems."""
  return (int(mask) >> np.arange(count) & 1).astype(bool)

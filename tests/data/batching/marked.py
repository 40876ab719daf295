"""Segments that say in every latent frame what they are: (mix + 1, mask of the stems in it).

So what is in a row, and what is in its context, can be read off a batch.
"""

import itertools
import math

import numpy as np

from stemphonic_jax.data.batching import grouping, records
from stemphonic_jax.data.taxonomy import STEM_TYPES
from tests.tiny import InMemory

T = 4  # frames


def latents(mix, mask):
  return np.tile(np.array([mix + 1, mask], np.float16), (T, 1))


def segment(mix, stems, silent=(), limit=100):
  activity = (np.arange(1, stems + 1)[:, None] >> np.arange(T) & 1).astype(np.int8)  # all differ
  activity[list(silent)] = 0
  masks = grouping.subsets_to_store(np.random.default_rng(mix), activity.any(1), limit)
  return records.Segment(
    id=str(mix),
    names=tuple(f"stem {k}" for k in range(stems)),
    types=STEM_TYPES[:stems],
    caption=f"song {mix}",
    bpm=math.nan if mix % 5 == 4 else 100.0 + mix,
    latents=np.stack([latents(mix, 1 << k) for k in range(stems)]),
    activity=activity,
    submixes={mask: latents(mix, mask) for mask in masks},
  )


# Eighty, because a shuffle of ten takes grain a millisecond per record, and one of eighty a tenth.
SIX = InMemory(segment(mix, 6) for mix in range(80))  # every sub-mix stored
MIXED = InMemory(
  segment(mix, 1 + mix % 6, silent=(1, 4) if mix % 6 == 5 else ()) for mix in range(80)
)
TEN = InMemory(
  segment(mix, 10, limit=0) for mix in range(80)
)  # something is nearly always left out


def contents(array):
  """(mix, mask) of each row of latents or context; mix is -1 where the row is zero."""
  assert (array == array[:, :1]).all()
  return [(int(mix) - 1, int(mask)) for mix, mask in array[:, 0]]


def groups(batch):
  """The groups of a batch: (mix, masks of the targets, mask of the context), in order."""
  found = []
  rows = zip(batch["group"], contents(batch["latents"]), contents(batch["context"]), strict=True)
  for _, members in itertools.groupby(rows, key=lambda row: row[0]):
    _, targets, context = zip(*members, strict=True)
    assert len(set(context)) == 1
    assert len({mix for mix, _ in targets}) == 1
    assert context[0][0] in (-1, targets[0][0])
    found.append((targets[0][0], tuple(mask for _, mask in targets), context[0][1]))
  return found

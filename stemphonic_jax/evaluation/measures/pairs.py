"""Stems of one song against stems of others: how often the true pair agrees more."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from stemphonic_jax.evaluation import scores
from stemphonic_jax.evaluation.features import SongFeatures, StemFeatures
from stemphonic_jax.evaluation.scores import Score

RIVALS = 4  # for each stem of a pair

Heard = TypeVar("Heard")


def auc(
  songs: Sequence[SongFeatures],
  hear: Callable[[StemFeatures], Heard | None],
  agree: Callable[[Heard, Heard, SongFeatures], float],
  seed: int = 0,
) -> Score:
  """The share of comparisons that pairs of stems of one song win, ties half; 0.5 is chance.

  Each stem of a pair is compared with up to four of its type from other songs, drawn, in its place:
  the types are always the same, so none has an advantage. `hear` prepares a stem, None where it is
  not to be compared; `agree` measures a pair of a song, NaN where there is too little to measure.
  """
  rng = np.random.default_rng(seed)
  heard = [{name: hear(stem) for name, stem in song.stems.items()} for song in songs]
  by_type = defaultdict(list)
  for number, song in enumerate(songs):
    for name, one in heard[number].items():
      if one is not None:
        by_type[song.stems[name].type].append((number, one))

  won = []
  for number, song in enumerate(songs):
    rounds = []
    names = [name for name, one in heard[number].items() if one is not None]
    for a, b in itertools.combinations(names, 2):
      true = agree(heard[number][a], heard[number][b], song)
      for stays, leaves in ((a, b), (b, a)) if np.isfinite(true) else ():
        rivals = [one for other, one in by_type[song.stems[leaves].type] if other != number]
        for place in rng.permutation(len(rivals))[:RIVALS]:
          false = agree(heard[number][stays], rivals[place], song)
          rounds += [(true > false) + 0.5 * (true == false)] if np.isfinite(false) else []
    won.append(rounds)
  return scores.mean(won)

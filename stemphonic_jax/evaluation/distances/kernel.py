"""The kernel distance between two sets of embeddings (KAD, arXiv 2502.15602), which has no bias.

    mean k(x, x') + mean k(y, y') - 2 mean k(x, y),  k(x, y) = exp(-|x - y|² / (2 s² + 1e-8))

times 100; s is the lower median of the distances between real windows. Unlike the Fréchet distance
it is 0 on average for two sets of one kind, however few they are, and may be negative.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

SCALE = 100.0
BLOCK = 2048  # windows of either side that are compared at once, about
MOST = 4096  # real windows whose distances are looked at for the median, evenly chosen

Windows = Float[np.ndarray, "W D"]


def bandwidth(real: Windows) -> float:
  """The lower median of the distances between windows, each from each other one; float64."""
  chosen = np.unique(np.linspace(0, len(real) - 1, min(len(real), MOST)).round().astype(int))
  x = np.asarray(real, np.float64)[chosen]
  pairs = np.triu_indices(len(x), 1)
  apart = np.sqrt(np.maximum(_squares(x, x), 0.0)[pairs])
  middle = (len(apart) - 1) // 2
  return float(np.partition(apart, middle)[middle])


def kernel_sums(
  songs: Sequence[Windows], others: Sequence[Windows], width: float
) -> Float[np.ndarray, "S O"]:
  """The sum of the kernel over all pairs of a window of one song and one of another, by songs.

  All that is needed of the windows for the distance of any choice of songs, each of one window or
  more. Memory is that of a block, whatever the number of songs.
  """
  gamma = 1.0 / (2.0 * width**2 + 1e-8)
  found = np.zeros((len(songs), len(others)))
  blocks = [(place, *_joined(others[place])) for place in _blocks(others)]
  for rows in _blocks(songs):
    x, starts = _joined(songs[rows])
    for columns, y, across in blocks:
      block = np.exp(-gamma * np.maximum(_squares(x, y), 0.0))
      block = np.add.reduceat(np.add.reduceat(block, across, axis=1), starts, axis=0)
      found[rows, columns] = block
  return found


def kernel_distance(
  within: tuple[Float[np.ndarray, "S S"], Float[np.ndarray, "O O"]],
  across: Float[np.ndarray, "S O"],
  counts: tuple[Float[np.ndarray, "S"], Float[np.ndarray, "O"]],
  pairs_of_a_song: bool = False,
) -> float:
  """The distance from the sums of the kernel, and of how many windows they are, by songs.

  Two windows of a song are more alike than two of two songs. Their pairs are left out, so that
  there is no bias over songs; with `pairs_of_a_song`, as in other tools, they count, but for each
  window with itself. NaN where nothing is left.
  """
  found = -2.0 * across.sum() / (counts[0].sum() * counts[1].sum())
  for sums, n in zip(within, counts, strict=True):
    of_a_song, own = (n.sum(), n.sum()) if pairs_of_a_song else (np.trace(sums), np.square(n).sum())
    pairs = n.sum() ** 2 - own
    if pairs <= 0:
      return np.nan
    found += (sums.sum() - of_a_song) / pairs
  return float(SCALE * found)


def distance(x: Windows, y: Windows) -> float:
  """The distance of windows that are each of another song; `y` are the real ones."""
  each = [list(some[:, None]) for some in (x, y)]
  width = bandwidth(y)
  within = tuple(kernel_sums(some, some, width) for some in each)
  counts = np.ones(len(x)), np.ones(len(y))
  return kernel_distance(within, kernel_sums(*each, width), counts)


def _blocks(songs: Sequence[Windows]) -> list[slice]:
  """Songs in a row that have a block of windows together, or one of them more."""
  block = np.cumsum([len(song) for song in songs]) // BLOCK
  edges = [0, *(np.flatnonzero(np.diff(block)) + 1), len(songs)]
  return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _joined(songs: Sequence[Windows]) -> tuple[Windows, Int[np.ndarray, "S"]]:
  """The windows of songs, one after the other, and where each begins."""
  starts = np.cumsum([0, *map(len, songs)])[:-1]
  return np.concatenate(songs).astype(np.float64), starts


def _squares(x: Windows, y: Windows) -> Float[np.ndarray, "W V"]:
  return np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1) - 2.0 * x @ y.T

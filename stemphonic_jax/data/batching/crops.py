"""Waveform crops to train an autoencoder on: stems, sub-mixes and whole mixes of the same pieces.

The encoder meets all three in use (Sec. 3.1), so it is trained on all three. The decoder meets what
is generated: stems, or whole mixes.
"""

import functools
from collections.abc import Sequence
from typing import Literal, TypedDict

import grain
import numpy as np
from jaxtyping import Float32

from stemphonic_jax.audio.activity import THRESHOLD_DBFS
from stemphonic_jax.audio.levels import dbfs
from stemphonic_jax.data.batching.walk import share
from stemphonic_jax.data.stems import Mix

Kind = Literal["stem", "submix", "mix"]
KINDS: tuple[Kind, ...] = ("stem", "submix", "mix")
THREADS = 4
TRIES = 8  # a piece has rests; silence teaches little, so it is drawn again a few times


class Crops(TypedDict):
  """B crops, and the mixes they are of."""

  audio: Float32[np.ndarray, "B samples 2"]
  id: np.ndarray  # [B], strings; for messages


def draw_crop(
  mix: Mix, rng: np.random.Generator, *, samples: int, kinds: Sequence[Kind] = KINDS
) -> dict[str, np.ndarray]:
  """Draws one stem, a sub-mix or the whole mix, each of `kinds` as often, and a place in it."""
  names = list(mix.stems)
  for _ in range(TRIES):
    sizes = {"stem": 1, "submix": int(rng.integers(1, len(names) + 1)), "mix": len(names)}
    chosen = rng.choice(names, sizes[kinds[rng.integers(len(kinds))]], replace=False)
    start = int(rng.integers(mix.samples - samples + 1))
    audio = mix.crop(start, samples).audio(chosen)
    if dbfs(audio) >= THRESHOLD_DBFS:
      break
  return {"audio": audio, "id": np.array(mix.id)}


def crops(
  mixes: Sequence[Mix],
  *,
  samples: int,
  batch_size: int,
  seed: int,
  start: int = 0,
  host: int = 0,
  hosts: int = 1,
  ahead: int = 4,
  kinds: Sequence[Kind] = KINDS,
) -> grain.DatasetIterator[tuple[int, Crops]]:
  """Batches of crops without end, each with the number of the next, from number `start` on.

  Crop n is a function of (seed, n); of the rows of a batch this host has batch_size / hosts. They
  are large and cut out of files, so up to `ahead` batches are made before they are asked for.
  ValueError where the hosts cannot share the rows.
  """
  rows = share(batch_size, host, hosts)
  draw = functools.partial(draw_crop, samples=samples, kinds=kinds)
  drawn = grain.MapDataset.source(mixes).seed(seed).shuffle().repeat().random_map(draw)
  own = _Share(drawn, batch_size, rows).batch(rows.stop - rows.start)
  numbered = own.map_with_index(lambda number, batch: (number + 1, batch))
  options = grain.ReadOptions(num_threads=min(THREADS, ahead), prefetch_buffer_size=ahead)
  return iter(numbered[start:].to_iter_dataset(options))


class _Share(grain.MapDataset):
  """The rows of one host, which are `own` of each batch of `rows`."""

  def __init__(self, parent: grain.MapDataset, rows: int, own: slice) -> None:
    super().__init__(parent)
    self._rows, self._first, self._own = rows, own.start, own.stop - own.start

  def __len__(self) -> int:
    return len(self._parent) * self._own // self._rows

  def __getitem__(self, index):
    if isinstance(index, slice):
      return self.slice(index)
    batch, row = divmod(index, self._own)
    return self._parent[batch * self._rows + self._first + row]

"""Waveform crops to train an autoencoder on: stems, sub-mixes and whole mixes of the same pieces.

The encoder meets all three in use (Sec. 3.1), so it is trained on all three.
"""

import functools
from collections.abc import Sequence

import grain
import numpy as np
from jaxtyping import Float32

from stemphonic_jax.audio.activity import THRESHOLD_DBFS
from stemphonic_jax.audio.levels import dbfs
from stemphonic_jax.data.stems import Mix

# Batches of waveforms are large, and pieces on disk are read for each of them.
READ_OPTIONS = grain.ReadOptions(num_threads=4, prefetch_buffer_size=4)
TRIES = 8  # a piece has rests; silence teaches little, so it is drawn again a few times


def draw_crop(
  mix: Mix, rng: np.random.Generator, *, samples: int
) -> Float32[np.ndarray, "samples 2"]:
  """Draws one stem, a sub-mix or the whole mix, each with p = 1/3, and a place in it."""
  names = list(mix.stems)
  for _ in range(TRIES):
    count = (1, int(rng.integers(1, len(names) + 1)), len(names))[rng.integers(3)]
    chosen = rng.choice(names, count, replace=False)
    start = int(rng.integers(mix.samples - samples + 1))
    audio = mix.crop(start, samples).audio(chosen)
    if dbfs(audio) >= THRESHOLD_DBFS:
      break
  return audio


def crops(
  mixes: Sequence[Mix], *, samples: int, batch_size: int, seed: int
) -> grain.DatasetIterator[Float32[np.ndarray, "B samples 2"]]:
  """Batches of crops without end, a function of (seed, position); the state is that position."""
  draw = functools.partial(draw_crop, samples=samples)
  dataset = grain.MapDataset.source(mixes).seed(seed).shuffle().repeat().random_map(draw)
  return iter(dataset.batch(batch_size).to_iter_dataset(READ_OPTIONS))

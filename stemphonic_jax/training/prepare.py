"""The prepare stage: a corpus through the trained autoencoder into records."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from stemphonic_jax.data import prepare as preparation
from stemphonic_jax.data.shards import write_records
from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.errors import MissingError, UsageError
from stemphonic_jax.training import text
from stemphonic_jax.weights.architecture import VAE, build_vae, init_vae
from stemphonic_jax.weights.tensors import load_params

ENCODER_ROWS = 8  # waveforms encoded at once; always so many, so that the encoder compiles once
SPARE = 1.25  # pieces are this much longer than a segment, which is cut out of them anywhere


def mixes(config: ConfigDict, indices: range, seconds: float) -> Iterator[Mix]:
  """Mixes number `indices` of the config's source, each of `seconds`, made as they are needed."""
  if config.data.source != "demo":
    raise UsageError(f"data.source: got {config.data.source!r}, expected 'demo'")
  return (demo.piece(config.seed, i, seconds, config.sample_rate) for i in indices)


def prepare(config: ConfigDict, workdir: Path) -> None:
  """Fills `workdir/records/{train,held_out}`, then makes the text side (training/text.py).

  A part that is there already is left as it is. MissingError without a trained autoencoder.
  """
  vae = build_vae(config.vae)
  params = load_vae(config, workdir / "vae.safetensors")
  encode = functools.partial(_encode, jax.jit(functools.partial(_means, vae)), params)
  d = config.data
  parts = {"train": range(d.pieces), "held_out": range(d.pieces, d.pieces + d.held_out)}
  for name, indices in parts.items():
    if (workdir / "records" / name).exists():
      continue
    logging.info("%s: %d pieces, encoding %g s of each", name, len(indices), config.seconds)
    found = preparation.segments(
      mixes(config, indices, SPARE * config.seconds),
      encode,
      seconds=config.seconds,
      hop=vae.hop,
      submixes=d.submixes,
      whole_mixes=d.whole_mixes,
      seed=config.seed,
    )
    write_records(workdir / "records" / name, found, hop=vae.hop, rate=config.sample_rate)
  text.prepare(config, workdir)


def load_vae(config: ConfigDict, path: Path) -> Any:
  """Parameters of the config's autoencoder from `path`; MissingError where there are none."""
  shapes = jax.eval_shape(functools.partial(init_vae, build_vae(config.vae)), jax.random.key(0))
  if not path.is_file():
    raise MissingError(f"{path}: no trained autoencoder; run --mode=train_vae first")
  return load_params(path, shapes)


def _means(vae: VAE, params: Any, audio: jax.Array) -> jax.Array:
  return vae.apply({"params": params}, audio, method=type(vae).encode).mean


def _encode(means: Callable, params: Any, audio: np.ndarray) -> np.ndarray:
  """Latent means of waveforms [n, samples, 2], a fixed number of them at a time."""
  padded = np.pad(audio, ((0, -len(audio) % ENCODER_ROWS), (0, 0), (0, 0)))
  cut = padded.reshape(-1, ENCODER_ROWS, *audio.shape[1:])
  return np.concatenate([means(params, rows) for rows in cut])[: len(audio)]

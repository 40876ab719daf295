"""A model small enough to generate in a moment, with every part a full one has.

Parameters are random and away from their zero initialisation, so that every path carries something.
"""

import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from stemphonic_jax.data.prompts import stem_prompt
from stemphonic_jax.data.records import Statistics
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.data.text import Tokenizer
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.weights.architecture import build_dit, build_vae, init_dit, init_vae
from stemphonic_jax.weights.bundle import save_bundle

LATENT = 8
CONFIG = {
  "sample_rate": 44_100,
  "seconds": 2.0,
  "vae": {
    "architecture": "oobleck",
    "channels": 4,
    "multiples": (1, 1, 2),
    "strides": (8, 64, 7),
    "latent": LATENT,
  },
  "dit": {
    "width": 32,
    "depth": 2,
    "heads": 2,
    "activity_channels": 16,
    "dtype": "float32",
    "remat": False,
  },
  "text": {
    "encoder": "learned",
    "vocabulary": 512,
    "width": 32,
    "depth": 1,
    "heads": 2,
    "length": 96,
  },
  "dropout": {"text": 1 / 3, "bpm": 1 / 3, "context": 1 / 3, "activity": 1 / 3},
  "sample": {"steps": 4, "guidance": 3.0, "interval": (2, 3), "share_noise": True},
  "whole_mixes": False,
}
RATE, SAMPLES, FRAMES = 44_100, 88_200, 25  # 25 = ceil(88 200 / 3584)


@functools.cache
def parts() -> dict[str, Any]:
  """What `save_bundle` takes beside a config: parameters, tokenizer, statistics of the latents."""
  texts = [stem_prompt(kind, "Relaxing country rock", STEM_TYPES[:3]) for kind in STEM_TYPES]
  with tempfile.TemporaryDirectory() as folder:
    tokenizer = Tokenizer.train(texts, Path(folder, "tokenizer.model"), 512)
  vae = build_vae(CONFIG["vae"])
  dit = build_dit(CONFIG["dit"], CONFIG["text"], LATENT)
  channels = np.arange(LATENT, dtype=np.float32)
  return {
    "vae_params": random_params(functools.partial(init_vae, vae)),
    "dit_params": random_params(functools.partial(init_dit, dit)),
    "tokenizer": tokenizer,
    "statistics": Statistics(mean=channels / 8 - 0.5, std=0.5 + channels / 8),
  }


def random_params(init: Callable[[jax.Array], Any]) -> Any:
  """Random parameters of the shapes that `init` would make; drawn by numpy, nothing compiles."""
  rng = np.random.default_rng(0)
  flat = traverse_util.flatten_dict(jax.eval_shape(init, jax.random.key(0)))
  for name, shape in flat.items():
    inputs = math.prod(shape.shape[:-1]) if len(shape.shape) > 1 else 100
    values = rng.standard_normal(shape.shape, np.float32) / np.float32(math.sqrt(inputs))
    flat[name] = values + (name[-1] == "gain")
  return traverse_util.unflatten_dict(flat)


def save_model(directory: Path, **changes: Any) -> Path:
  """Writes the model with `changes` to its config; a dict changes only the keys it names."""
  config = {k: {**v, **changes.get(k, {})} if isinstance(v, dict) else v for k, v in CONFIG.items()}
  config |= {name: value for name, value in changes.items() if not isinstance(value, dict)}
  save_bundle(directory, config, **parts())
  return directory


@functools.cache
def model() -> Path:
  """Folder of the model, the same for all tests of a process; not to be changed."""
  return save_model(Path(_folder().name) / "model")


@functools.cache
def pipeline() -> StemPipeline:
  """The model loaded, the same for all tests of a process, so that it compiles once."""
  return StemPipeline.load(model())


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
  return tempfile.TemporaryDirectory(prefix="stemphonic_jax")

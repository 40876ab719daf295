"""A model small enough to generate in a moment, with every part a full one has.

Parameters are random and away from their zero initialisation, so that every path carries something.
"""

import functools
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from stemphonic_jax.data.batching import grouping
from stemphonic_jax.data.batching.prompts import stem_prompt
from stemphonic_jax.data.batching.records import Index, Statistics
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.weights.architecture import build_dit, build_vae, dit_shapes, vae_shapes
from stemphonic_jax.weights.bundle import save_bundle
from stemphonic_jax.weights.t5 import TextWeights

LATENT = 8
CONFIG = {
  "sample_rate": 44_100,
  "seconds": 2.0,
  "vae": {
    "architecture": "oobleck",
    "channels": 4,
    "multiples": (1, 2),
    "strides": (56, 64),
    "latent": LATENT,
  },
  "dit": {
    "width": 32,
    "depth": 2,
    "heads": 2,
    "activity_channels": 16,
    "dtype": "float32",
    "remat": "none",
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
  "licence": "CC0-1.0",
  "source": "random numbers",
}
# What Stable Audio Open has and the paper's model has not: frozen text, timing, v-prediction.
IMPORTED = {
  "dit": {"width": 64, "memory_width": 32, "memory_heads": 1, "timing": True, "prediction": "v"},
  "text": {"encoder": "t5", "width": 32, "length": 24},
}


class InMemory(list):
  """Segments as records.Records has them, without a disk."""

  @functools.cached_property
  def index(self) -> Index:
    """The facts that batches are planned with; the others are made up."""
    frames, channels = self[0].latents.shape[1:]
    statistics = Statistics(np.zeros(channels, np.float32), np.ones(channels, np.float32))
    audible = [grouping.mask_of(segment.audible) for segment in self]
    return Index(len(self), frames, channels, 8, 8000, statistics, audible, {})


TURNED = ("basses", "keys")
QUIETER = 1 / 16  # so that what random numbers make is within ±1
RATE, SAMPLES, FRAMES = 44_100, 88_200, 25  # 25 = ceil(88 200 / 3584)


def parts(config: Mapping[str, Any] = CONFIG) -> dict[str, Any]:
  """What `save_bundle` takes beside a config: parameters, tokenizer, statistics of the latents."""
  vae, latent = build_vae(config["vae"]), config["vae"]["latent"]
  dit = build_dit(config["dit"], config["text"], latent, RATE / 3584)
  channels = np.arange(latent, dtype=np.float32)
  vae_params = random_params(vae_shapes(vae))
  if config["vae"]["architecture"] == "oobleck":
    vae_params["decoder"]["conv2"]["kernel"] *= np.float32(QUIETER)
  return {
    "vae_params": vae_params,
    "dit_params": random_params(dit_shapes(dit)),
    "tokenizer": tokenizer(),
    "statistics": Statistics(mean=channels / 8 - 0.5, std=0.5 + channels / 8),
    "text_encoder": text_encoder() if config["text"]["encoder"] == "t5" else None,
    "turns": turns(latent) if config["sample"].get("align_noise") else None,
  }


def turns(channels: int) -> dict[str, np.ndarray]:
  """A rotation of the noise of each of the types TURNED."""
  draw = np.random.default_rng(0).standard_normal
  return {t: np.linalg.qr(draw((channels, channels)))[0].astype(np.float32) for t in TURNED}


@functools.cache
def tokenizer() -> Tokenizer:
  """A tokenizer of prompts, trained once per process."""
  texts = [stem_prompt(kind, "Relaxing country rock", STEM_TYPES[:3]) for kind in STEM_TYPES]
  with tempfile.TemporaryDirectory() as folder:
    return Tokenizer.train(texts, Path(folder, "tokenizer.model"), 512)


def text_encoder() -> TextWeights:
  """A T5 encoder with random parameters."""
  sizes = {"width": 32, "depth": 2, "heads": 2, "head_width": 16, "hidden": 48, "gated": True}
  bias = {"buckets": 8, "distance": 20, "epsilon": 1e-6}
  config = {"vocabulary": 512, **sizes, **bias, "param_dtype": "float32"}
  row = jnp.ones((1, 1), jnp.int32)

  encoder = TextWeights(config, {}).build()
  shapes = jax.eval_shape(encoder.init, jax.random.key(0), row, row > 0)["params"]
  return TextWeights(config, random_params(shapes))


def random_params(shapes: Any) -> Any:
  """Random parameters of these shapes; drawn by numpy, nothing compiles."""
  rng = np.random.default_rng(0)
  flat = traverse_util.flatten_dict(shapes)
  for name, shape in flat.items():
    inputs = math.prod(shape.shape[:-1]) if len(shape.shape) > 1 else 100
    values = rng.standard_normal(shape.shape, np.float32) / np.float32(math.sqrt(inputs))
    flat[name] = values + (name[-1] == "gain")
  return traverse_util.unflatten_dict(flat)


def save_model(directory: Path, **changes: Any) -> Path:
  """Writes the model with `changes` to its config; a dict changes only the keys it names."""
  config = {k: {**v, **changes.get(k, {})} if isinstance(v, dict) else v for k, v in CONFIG.items()}
  config |= {name: value for name, value in changes.items() if not isinstance(value, dict)}
  save_bundle(directory, config, **parts(config))
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

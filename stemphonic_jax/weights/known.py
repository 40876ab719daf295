"""What is known of a model before its weights are read: a request is checked against that at once.

No jax is needed for it. Of a system that checks its requests by itself, nothing is known here.
"""

import contextlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stemphonic_jax.errors import DataError, MissingError
from stemphonic_jax.weights.config_json import check, reading
from stemphonic_jax.weights.files import digest, read_json
from stemphonic_jax.weights.signed import (
  CONFIG,
  KIND,
  MANIFEST,
  NOTICE,
  STEMPHONIC,
  check_files,
  find_bundle,
  read_config,
  system_of,
)

FILES = (CONFIG, "vae.safetensors", "dit.safetensors", "tokenizer.model")
TEXT_ENCODER, ALIGNMENT = "text_encoder.safetensors", "alignment.safetensors"
NETWORK = "network.safetensors"  # of a model of codes


def codec_file(name: str) -> str:
  """The file of a codec in a model's folder."""
  return f"codec_{name}.safetensors"


def own_files(directory: Path) -> Collection[str]:
  """The files of a model in a folder, by their names; none where it is of something else."""
  with contextlib.suppress(DataError, MissingError):
    if str(read_json(directory / CONFIG).get("format")).rpartition(" ")[0] == KIND:
      names = (*FILES, TEXT_ENCODER, ALIGNMENT, NETWORK, MANIFEST, NOTICE)
      return {*names, *read_json(directory / MANIFEST)}
  return ()


@dataclass(frozen=True, eq=False)
class Known:
  """What a request and an edit ask of a pipeline, without the pipeline.

  `hop` is the number of samples in a latent frame, `channels` that of its numbers; `fingerprint` is
  the SHA-256 of the manifest.
  """

  config: Mapping[str, Any]
  hop: int
  channels: int
  fingerprint: str

  @property
  def rate(self) -> int:
    """Samples per second."""
    return self.config["sample_rate"]

  @property
  def seconds(self) -> float:
    """The longest that it makes at once."""
    return self.config["seconds"]

  @property
  def ensemble(self) -> bool:
    """Whether stems hear each other while they are made."""
    return bool(self.config["dit"].get("ensemble"))

  def adapted(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options of a request as the system takes them: all as they are."""
    return options

  def check_weights(self, guidance: Any) -> None:
    """Any condition may be weighed by itself; what a model has not learned is said elsewhere."""

  def fits(self, latents: np.ndarray, kind: str | None, frames: int) -> bool:
    """Whether these are latents of the model, for a stem of a type and so many frames."""
    return latents.shape == (frames, self.channels)


def read_known(directory: Path) -> Known | None:
  """What is known of the model in a folder, None for one of another system.

  Errors are those of `signed.read_config`, DataError where the config is not as the manifest says,
  and MismatchError where something in it is wrong or missing.
  """
  directory = find_bundle(directory)
  config = read_config(directory)
  if system_of(config) != STEMPHONIC:
    return None
  check_files(directory, [CONFIG])
  with reading(directory):
    check(config)
    hop, channels = _frames(config["vae"])
  return Known(config, hop, channels, digest(directory / MANIFEST))


def _frames(vae: Mapping[str, Any]) -> tuple[int, int]:
  """Samples in a latent frame, and its numbers, as the autoencoder of a config's `vae` has them."""
  try:
    if vae["architecture"] == "oobleck":
      return math.prod(vae["strides"]), vae["latent"]
    return vae["stride"] * vae["stacked"], vae["latent"]
  except KeyError:  # what is left out is as the module has it
    from stemphonic_jax.weights.architecture import build_vae  # with jax

    built = build_vae(vae)
    return built.hop, built.latent

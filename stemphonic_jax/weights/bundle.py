"""A model as one folder: what it takes to generate, and nothing that could run.

    config.json         architecture, sample rate, longest generation, sampler settings, statistics
    vae.safetensors     autoencoder
    dit.safetensors     diffusion transformer, with its text encoder if that is learned
    tokenizer.model     sentencepiece
    manifest.json       size and SHA-256 of each file above

Everything is checked, files against the manifest and tensors against the architecture, before
anything is built from it.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stemphonic_jax.audio.files import whole_folder
from stemphonic_jax.data.records import Statistics
from stemphonic_jax.data.text import Tokenizer
from stemphonic_jax.errors import DataError, MismatchError, MissingError
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.weights.architecture import VAE, build_dit, build_vae, init_dit, init_vae
from stemphonic_jax.weights.tensors import load_params, save_params

FORMAT = "stemphonic_jax model 1"
FILES = ("config.json", "vae.safetensors", "dit.safetensors", "tokenizer.model")


@dataclass(frozen=True, eq=False)
class Bundle:
  """A model in memory: modules, their parameters, and the config they were built from.

  `config` has the keys sample_rate, seconds, vae, dit, text, dropout and sample, as in
  configs/base.py, and whole_mixes; `fingerprint` is the SHA-256 of the manifest.
  """

  config: Mapping[str, Any]
  vae: VAE
  vae_params: Any
  dit: DiT
  dit_params: Any
  tokenizer: Tokenizer
  statistics: Statistics
  fingerprint: str


def save_bundle(
  directory: Path,
  config: Mapping[str, Any],
  *,
  vae_params: Any,
  dit_params: Any,
  tokenizer: Tokenizer,
  statistics: Statistics,
) -> None:
  """Writes a model folder, whole or not at all; an older one in its place is replaced.

  OutputError where it cannot be written.
  """
  latents = {"mean": statistics.mean.tolist(), "std": statistics.std.tolist()}
  content = {"format": FORMAT, **config, "latents": latents}
  with whole_folder(directory) as folder:
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")
    save_params(folder / "vae.safetensors", vae_params)
    save_params(folder / "dit.safetensors", dit_params)
    (folder / "tokenizer.model").write_bytes(tokenizer.model)
    manifest = {name: _digest(folder / name) for name in FILES}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def load_bundle(directory: Path) -> Bundle:
  """Reads a model folder, or the `model` folder of a training workdir.

  MissingError where there is none; DataError where a file is damaged; MismatchError where the
  folder is another kind of model or its tensors do not fit its config.
  """
  directory = find_bundle(directory)
  config = _read_json(directory / "config.json")
  if config.get("format") != FORMAT:
    raise MismatchError(
      f"{directory}: format {config.get('format')!r} in config.json, expected {FORMAT!r}; "
      f"a model folder is what --mode=train leaves in WORKDIR/model"
    )
  manifest = _read_json(directory / "manifest.json")
  for name in FILES:
    path = directory / name
    if not path.is_file():
      raise MissingError(f"{directory}: {name} is missing; copy the whole model folder")
    if manifest.get(name) != _digest(path):
      raise DataError(f"{path}: is not what manifest.json says it is; copy the model folder again")
  try:
    vae = build_vae(config["vae"])
    dit = build_dit(config["dit"], config["text"], vae.latent)
    statistics = Statistics(*(np.float32(config["latents"][name]) for name in ("mean", "std")))
  except (KeyError, TypeError) as error:
    raise MismatchError(f"{directory}/config.json: {error} is wrong or missing") from None
  key = jax.random.key(0)
  return Bundle(
    config=config,
    vae=vae,
    vae_params=load_params(
      directory / "vae.safetensors", jax.eval_shape(functools.partial(init_vae, vae), key)
    ),
    dit=dit,
    dit_params=load_params(
      directory / "dit.safetensors", jax.eval_shape(functools.partial(init_dit, dit), key)
    ),
    tokenizer=Tokenizer.load(directory / "tokenizer.model"),
    statistics=statistics,
    fingerprint=_digest(directory / "manifest.json")["sha256"],
  )


def find_bundle(directory: Path) -> Path:
  """The model folder that `directory` is or, as a training workdir, holds; MissingError if none."""
  if not directory.is_dir():
    raise MissingError(f"{directory}: no such model folder")
  for candidate in (directory, directory / "model"):
    if (candidate / "manifest.json").is_file():
      return candidate
  raise MissingError(
    f"{directory}: holds no model (no manifest.json); it should be a model folder or the workdir of"
    f" a finished --mode=train"
  )


def _read_json(path: Path) -> dict:
  if not path.is_file():
    raise MissingError(f"{path.parent}: {path.name} is missing; copy the whole model folder")
  try:
    content = json.loads(path.read_text())
  except ValueError as error:
    raise DataError(f"{path}: not JSON ({error})") from None
  if not isinstance(content, dict):
    raise DataError(f"{path}: expected a JSON object")
  return content


def _digest(path: Path) -> dict[str, Any]:
  with path.open("rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
  return {"size": path.stat().st_size, "sha256": digest}

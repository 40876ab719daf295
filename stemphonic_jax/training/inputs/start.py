"""What a run starts from: another run, a model folder, "demo", or nothing (`config.init_from`)."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.errors import MismatchError, MissingError
from stemphonic_jax.training.inputs.corpora import edition_of
from stemphonic_jax.weights.bundle import Bundle, load_bundle
from stemphonic_jax.weights.code_bundle import CodeBundle, load_code_bundle
from stemphonic_jax.weights.hub import folder_of
from stemphonic_jax.weights.known import NETWORK
from stemphonic_jax.weights.signed import together
from stemphonic_jax.weights.wrappers import hint

PARTS = ("vae.safetensors", NETWORK)  # of which a start has one


def start_file(config: ConfigDict, name: str) -> Path | None:
  """The file `name` of the model or workdir in `config.init_from`, None where it has none.

  MissingError where there is no such folder, or nothing in it to start from.
  """
  if not config.get("init_from"):
    return None
  folder = folder_of(config.init_from)
  folders = (folder / "model", folder)
  if not any((place / part).is_file() for place in folders for part in PARTS):
    raise MissingError(
      f"init_from: {config.init_from} holds no trained model or autoencoder; name a model folder or"
      f" the workdir of a run{hint(folder)}"
    )
  return next((folder / name for folder in folders if (folder / name).is_file()), None)


def take_file(source: Path, target: Path) -> None:
  """Copies a file of what a run starts from, to the bit, because what it made is known by that."""
  if not target.exists():
    with whole_file(target) as partial:
      shutil.copyfile(source, partial)


def start_model(config: ConfigDict) -> Bundle | None:
  """The model in `config.init_from`, None where that holds an autoencoder at most."""
  path = start_file(config, "manifest.json")
  return load_bundle(path.parent) if path else None


def start_codes(config: ConfigDict) -> CodeBundle | None:
  """The model of codes in `config.init_from`, None where none is named.

  MismatchError where it is of another system, or no more than an autoencoder.
  """
  if not config.init_from:
    return None
  path = start_file(config, "manifest.json")
  if not path:
    raise MismatchError(
      f"init_from: {config.init_from} has an autoencoder and no model; name a model of"
      f" {config.system}, or the workdir of its training"
    )
  model = load_code_bundle(path.parent)
  if model.system != config.system:
    raise MismatchError(
      f"init_from: {config.init_from} is a model of {model.system}, this is a config of"
      f" {config.system}; name a model of that"
    )
  return model


def origin(
  config: ConfigDict, notes: Mapping[str, Any], start: Bundle | CodeBundle | None
) -> dict[str, Any]:
  """What a model's config says of where it comes from: `licence`, `source` and `corpus`.

  A model inherits them from its records, whose notes are `notes`, and from the model that it starts
  from. `corpus` is the edition of the demo corpus that it learned from, and is measured on
  (evaluation/songs/trained.py).
  """
  c, old = config, start.config if start else {}
  licence = c.licence or together([old.get("licence"), notes.get("licence")])
  said = {"licence": licence, "source": c.source}
  if start:
    said["source"] += f"; started from: {old.get('source', 'not stated')}"
  corpus = notes.get("corpus") or old.get("corpus")
  if c.data.source == "demo" and not c.data.records:
    corpus = edition_of(c).described()
  return said | ({"corpus": corpus} if corpus else {})

"""What a run starts from: another run, a model folder, "demo", or nothing (`config.init_from`)."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.errors import MismatchError, MissingError
from stemphonic_jax.training.inputs.corpora import edition_of
from stemphonic_jax.training.run.identity import flat
from stemphonic_jax.weights.bundle import Bundle, load_bundle
from stemphonic_jax.weights.code_bundle import CodeBundle, load_code_bundle
from stemphonic_jax.weights.config_json import check, reading
from stemphonic_jax.weights.hub import folder_of
from stemphonic_jax.weights.known import NETWORK
from stemphonic_jax.weights.signed import MANIFEST, read_config, system_of, together
from stemphonic_jax.weights.wrappers import hint

PARTS = ("vae.safetensors", NETWORK)  # of which a start has one
SIZES = ("width", "depth", "heads")
# What a network keeps of the one that it starts from, where both configs say it.
KEPT = (
  *(f"{part}.{name}" for part in ("dit", "network", "text") for name in SIZES),
  *("text.encoder", "dit.memory_width", "dit.memory_heads", "dit.timing", "dit.prediction"),
)


def start_file(config: ConfigDict, name: str) -> Path | None:
  """The file `name` of the model or workdir in `config.init_from`, None where it has none.

  MissingError where there is no such folder, or nothing in it to start from; MismatchError where it
  is a model of another system.
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
  model = next((place for place in folders if (place / MANIFEST).is_file()), None)
  if model and (theirs := system_of(read_config(model))) != system_of(config):
    raise MismatchError(
      f"init_from: {config.init_from} is a model of {theirs}, expected one of {system_of(config)};"
      f" name a model of that"
    )
  return next((folder / name for folder in folders if (folder / name).is_file()), None)


def check_start(config: ConfigDict) -> None:
  """MismatchError for a number of the config that a model to start from has otherwise.

  It is seen in config.json: neither weights nor jax are needed for it.
  """
  path = start_file(config, MANIFEST)
  if not path:
    return
  found = read_config(path.parent)
  with reading(path.parent):
    check(found)
  ours, theirs = flat(config.to_dict()), flat(found)
  for name in KEPT:
    if name in ours and name in theirs and ours[name] != theirs[name]:
      raise MismatchError(
        f"init_from: {config.init_from} has {name} = {theirs[name]!r}, this config"
        f" {ours[name]!r}; take that of the model, --config.{name}={theirs[name]}"
      )


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

  MismatchError where it is no more than an autoencoder.
  """
  if not config.init_from:
    return None
  path = start_file(config, "manifest.json")
  if not path:
    raise MismatchError(
      f"init_from: {config.init_from} has an autoencoder and no model; name a model of"
      f" {config.system}, or the workdir of its training"
    )
  return load_code_bundle(path.parent)


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

"""The trained models of a folder: whether each is what its name says, and all are comparable.

    runs/a_0, runs/a_1, …       setting A, trained with seeds 0, 1, …; likewise b, c, act, d

Each is a model folder, which says nothing of its training and is taken as it is, or the workdir of
a training, whose config is held against the name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.audio.folders import if_file
from stemphonic_jax.audio.lengths import at_most, cut_to, within
from stemphonic_jax.data.batching.records import open_records
from stemphonic_jax.data.preparing.check import REPORT, read_report
from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.sources.catalogue import scan
from stemphonic_jax.errors import MismatchError, MissingError, UsageError
from stemphonic_jax.training.run import places
from stemphonic_jax.training.run.checkpoints import reached
from stemphonic_jax.training.run.identity import PLACES, flat, lasting
from stemphonic_jax.weights.files import read_json
from stemphonic_jax.weights.models import Bundle, CodeBundle
from stemphonic_jax.weights.models import open_model as open_bundle
from stemphonic_jax.weights.signed import check_stemphonic

HEARS = "dropout.activity < 1"
SWITCHES = ("data.group_stems", "data.share_noise", HEARS, "dit.ensemble")
SETTINGS = {
  "a": (False, False, False, False),
  "b": (True, False, False, False),
  "c": (True, True, False, False),
  "act": (True, True, True, False),
  # Stems that hear each other (models/stems.py), by what their noises have in common in training.
  "d": (True, 0.0, True, True),
  "d_half": (True, 0.5, True, True),
  "d_one": (True, 1.0, True, True),
}
# In which trainings that are compared may differ: the settings themselves, what an ensemble is
# given, and where they began.
OWN = frozenset({
  "data.group_stems", "data.share_noise", "dropout.activity", "dit.ensemble", "data.block",
  "data.known.given", "data.known.repair", "data.known.extend", "seed", "init_from",
})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Model:
  """A model by the name of its folder; of a workdir also its config, {"train.steps": 1500, …}."""

  name: str
  bundle: Bundle | CodeBundle
  config: Mapping[str, Any] | None = None


def is_there(folder: Path, setting: str) -> bool:
  """Whether a folder has a model of a setting."""
  return folder.is_dir() and any(_number(path, setting) is not None for path in folder.iterdir())


def find_models(folder: Path, setting: str) -> list[Model]:
  """The models `setting`_0, `setting`_1 … of a folder, by number.

  MissingError if there is none; MismatchError where a training is not over, or another one than
  its name says.
  """
  if not folder.is_dir():
    raise MissingError(f"{folder}: no such folder of models{if_file(folder)}")
  numbered = {_number(path, setting): path for path in folder.iterdir()}
  numbered.pop(None, None)
  if not numbered:
    raise MissingError(
      f"{folder}: no model named {setting}_0; expected {setting}_0, {setting}_1, … one per seed,"
      f" each a model folder or the workdir of a finished training"
    )
  found = []
  for number, path in sorted(numbered.items()):
    model = open_model(path)
    if model.config is not None:
      _check_training(path, setting, number, model.config)
    found.append(model)
  return found


def _number(path: Path, setting: str) -> int | None:
  match = re.fullmatch(rf"{setting}_(\d+)", path.name)
  return int(match[1]) if match else None


def open_any(path: Path) -> Model:
  """A model of any system, by its folder or its workdir; UsageError for one of whole mixes."""
  bundle = open_bundle(path)
  if bundle.config["whole_mixes"]:
    raise UsageError(f"{path}: makes whole mixes, of which no stems can be measured")
  home = path.resolve().parent if path.name == "model" else path  # the workdir, if it has one
  is_run = (home / "model").is_dir() and (home / "config.json").is_file()
  return Model(home.name, bundle, read_json(home / "config.json") if is_run else None)


def open_model(path: Path) -> Model:
  """A model that makes stems of latents; UsageError for one of another system."""
  model, instead = open_any(path), f"measure it with `stemphonic evaluate --systems {path}`"
  check_stemphonic(path, model.bundle.config, "this table", instead)
  return model


def held_out_of(model: Model, source: str, root: str) -> int | None:
  """How many mixes of a data set the training of a model left out, None where it is of another set.

  Nor is it known of a model folder, which does not say what it was trained on. MismatchError where
  the training left out none.
  """
  if model.config is None:
    return None
  found = flat(model.config)
  if records := found.get("data.records"):
    if not _are_of(Path(records), source, root):
      return None
    unseen = Path(records) / "held_out"
    count = open_records(unseen).index.notes.get("mixes") if unseen.exists() else 0
  else:
    same = found.get("data.source") == source
    if not same or not places.is_same("data.root", model.config, {"data": {"root": root}}):
      return None
    count = found.get("data.held_out")
  if count == 0:
    raise MismatchError(
      f"{model.name}: was trained on all of {root}, none of it was held out; measure on another set"
    )
  return count


def _are_of(records: Path, source: str, root: str) -> bool:
  """Whether records were made of a data set: most mixes of their report are in it."""
  if not (records / REPORT).is_file():
    return False
  used = {row["id"] for row in read_report(records) if row["taken"]}
  mixes = {entry.id for entry in scan(source, root).entries}
  return 2 * len(used & mixes) > len(used)


def check_alike(models: Iterable[Model]) -> None:
  """MismatchError where trainings differ in more than their setting, seed and beginning."""
  models = list(models)
  runs = [(model.name, _compared(model.config)) for model in models if model.config is not None]
  for (one, ours), (other, theirs) in itertools.product(runs[:1], runs[1:]):
    for name in sorted(ours.keys() | theirs.keys()):
      if ours.get(name) != theirs.get(name):
        raise MismatchError(
          f"{one} was trained with {name} = {ours.get(name)!r}, {other} with {theirs.get(name)!r};"
          f" train them alike, then their settings can be compared"
        )
  _check_places([model for model in models if model.config is not None])


def _check_places(models: Sequence[Model]) -> None:
  """MismatchError where trainings read from places that hold something else."""
  for one, other in itertools.product(models[:1], models[1:]):
    for name in sorted(set(PLACES) - OWN):
      if not places.is_same(name, one.config, other.config):
        ours, theirs = (flat(model.config).get(name) for model in (one, other))
        raise MismatchError(
          f"{one.name} was trained with {name} = {ours!r}, {other.name} with {theirs!r}, which hold"
          f" different things; train them alike, then their settings can be compared"
        )


def corpus_of(models: Sequence[Model], version: int | None, soundfont: str) -> dict[str, Any]:
  """The version of the demo corpus to measure models on, and the share that a SoundFont plays.

  These are those of the trainings, or the `version` asked for; of models that do not say, the first
  version. MismatchError where they were trained on several and none is asked for.
  """
  found = {model.name: model.bundle.config.get("corpus", {}) for model in models}
  versions = {name: corpus.get("version", 1) for name, corpus in found.items()}
  if version is None and len(set(versions.values())) > 1:
    listed = ", ".join(f"{name} {number}" for name, number in versions.items())
    raise MismatchError(f"trained on different versions of the corpus ({listed}); choose: --corpus")
  share = max(corpus.get("soundfont_share") or 0.0 for corpus in found.values())
  if share and not soundfont:
    logging.warning("a SoundFont played in the training: name it (--soundfont) to measure on alike")
  corpus = version or next(iter(versions.values()))
  return {"corpus": corpus, "share": share or demo.Edition.share}


def length_of(models: Sequence[Model], seconds: float | None) -> tuple[float, int]:
  """Seconds of a song, which all models can make, and their sample rate.

  UsageError where one of them makes no songs of `seconds`; MismatchError where rates differ.
  """
  configs = {model.name: model.bundle.config for model in models}
  rates = {config["sample_rate"] for config in configs.values()}
  if len(rates) > 1:
    raise MismatchError(f"models of different sample rates: {sorted(rates)} Hz; compare like ones")
  longest = min(config["seconds"] for config in configs.values())
  rate, hop = rates.pop(), min(model.bundle.hop for model in models)
  shortest = min(1.0, longest)
  found = longest if seconds is None else cut_to(seconds, longest, rate, hop)
  if not within(found, shortest, longest, rate):
    raise UsageError(
      f"seconds: got {seconds:g}, expected {at_most(shortest)} to {at_most(longest)}, the most all"
      f" models make"
    )
  return found, rate


def _check_training(path: Path, setting: str, number: int, config: Mapping[str, Any]) -> None:
  found = flat(config)
  try:
    steps = int(found["train.steps"])
    found[HEARS] = found["dropout.activity"] < 1
    found.setdefault("dit.ensemble", False)  # of a run older than ensembles
    wanted = dict(zip(SWITCHES, SETTINGS[setting], strict=True)) | {"seed": number}
    wrong = next((name for name, value in wanted.items() if found[name] != value), None)
  except (KeyError, TypeError, ValueError) as error:
    raise MismatchError(
      f"{path}/config.json: {error} is wrong or missing in the config of a run; name a model folder"
    ) from None
  if wrong:
    raise MismatchError(
      f"{path}: was trained with {wrong} = {found[wrong]!r}, but {path.name} is to have"
      f" {wanted[wrong]!r}; rename it, or train what its name says"
    )
  if not reached(path / "dit" / "checkpoints", steps):
    raise MismatchError(
      f"{path}: its training has not come to step {steps}; run it again to go on (--mode=train),"
      f" or name its model folder to measure it as it is"
    )


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
  kept = {name: value for name, value in lasting(config).items() if name not in OWN}
  return kept | {name: flat(config).get(name) for name in ("train.steps", "train.decay")}

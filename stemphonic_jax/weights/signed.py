"""Model folders of all systems: a config that says what they are, and a manifest of their files.

`config.json` has the format, and the name of the system where it is not stemphonic; `manifest.json`
size and SHA-256 of each file but itself. Nothing is read of a file that is not what it says.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stemphonic_jax.audio.folders import settled
from stemphonic_jax.audio.lengths import SHORTEST
from stemphonic_jax.errors import DataError, MismatchError, MissingError, OutputError, UsageError
from stemphonic_jax.weights.files import digest, read_json
from stemphonic_jax.weights.wrappers import hint

KIND, VERSION = "stemphonic_jax model", 1
FORMAT = f"{KIND} {VERSION}"
CONFIG, MANIFEST = "config.json", "manifest.json"
NOTICE = "NOTICE.txt"  # what licences ask to be passed on, where a model has it
STEMPHONIC, MUSICGEN_STEM, STEMGEN = "stemphonic", "musicgen-stem", "stemgen"


def find_bundle(directory: Path) -> Path:
  """The model folder that `directory` is or, as a training workdir, holds; MissingError if none."""
  if not directory.is_dir():
    raise MissingError(f"{directory}: no such model folder{hint(directory)}")
  for candidate in map(settled, (directory, directory / "model")):
    if (candidate / MANIFEST).is_file():
      return candidate
  raise MissingError(
    f"{directory}: holds no model (no {MANIFEST}); it should be a model folder or the workdir of"
    f" a finished --mode=train{hint(directory)}"
  )


def read_config(directory: Path) -> dict[str, Any]:
  """The config of a model folder; MismatchError where it is of another format."""
  config = read_json(directory / CONFIG)
  found = str(config.get("format"))
  kind, _, version = found.rpartition(" ")
  if kind == KIND and version.isdecimal() and int(version) > VERSION:
    raise MismatchError(
      f"{directory}: format {found!r} is newer than this program, which reads {FORMAT}; "
      f"update stemphonic_jax"
    )
  if found != FORMAT:
    raise MismatchError(
      f"{directory}: format {found!r} in {CONFIG}, expected '{FORMAT}'; a model folder"
      f" is what --mode=train leaves in WORKDIR/model, or `stemphonic bundle import` makes"
    )
  return config


def system_of(config: Mapping[str, Any]) -> str:
  """The system whose model a config is of."""
  return str(config.get("system", STEMPHONIC))


def check_stemphonic(place: Path, config: Mapping[str, Any], what: str, instead: str) -> None:
  """UsageError where the config at a place is of another system, and `what` is of Stemphonic's."""
  if (system := system_of(config)) != STEMPHONIC:
    raise UsageError(
      f"{place}: is a model of {system}, and {what} is of those of {STEMPHONIC}; {instead}"
    )


def check_absent(out: Path) -> None:
  """OutputError where `out` exists; asked before the work."""
  if out.exists():
    raise OutputError(f"{out}: already exists; name a new folder, or remove this one")


def check_files(directory: Path, names: Iterable[str]) -> None:
  """MissingError where a file is not there, DataError where it is not what the manifest says."""
  manifest = read_json(directory / MANIFEST)
  for name in names:
    path = directory / name
    if not path.is_file():
      raise MissingError(f"{directory}: {name} is missing; copy the whole model folder")
    if manifest.get(name) != _entry(path):
      raise DataError(f"{path}: is not what {MANIFEST} says it is; copy the model folder again")


def check_vocabulary(directory: Path, ids: int, rows: int) -> None:
  """MismatchError where a tokenizer has more ids than a text encoder has rows for them."""
  if ids > rows:
    raise MismatchError(f"{directory}: the tokenizer has {ids} ids, the text encoder {rows}")


def missing(directory: Path) -> list[str]:
  """The files of a model that are not in its folder; DataError where the manifest is damaged."""
  names = read_json(directory / MANIFEST) if (directory / MANIFEST).is_file() else [MANIFEST]
  return [name for name in names if not (directory / name).is_file()]


def check_sampler(config: Mapping[str, Any]) -> None:
  """ValueError where the length of songs, or how they are sampled, is none."""
  sample, seconds = config["sample"], config["seconds"]
  steps, guidance = sample.get("steps", 1), sample["guidance"]
  numbers = {"seconds": seconds, "sample.steps": steps, "sample.guidance": guidance}
  for name, value in numbers.items():
    if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
      raise ValueError(f"{name}: got {value!r}, expected a number that is not negative")
    if not value and name != "sample.guidance":
      raise ValueError(f"{name}: got {value!r}, expected more")
  if seconds < SHORTEST:
    raise ValueError(f"seconds: got {seconds!r}, expected {SHORTEST} at least, as songs last")
  if (order := sample.get("order", 1)) not in (1, 2):
    raise ValueError(f"sample.order: got {order!r}, expected 1 or 2")
  first, last = sample.get("interval") or (1, steps)
  if not 1 <= first <= last <= steps:
    raise ValueError(
      f"sample.interval: got {first} to {last}, expected steps within 1 to {steps} (sample.steps)"
    )


def together(licences: Iterable[str | None]) -> str:
  """Licences as one, each part once: those of what a model is made from go on to hold for it."""
  return "; ".join(dict.fromkeys(part for text in licences if text for part in text.split("; ")))


def sign(folder: Path, made_from: Iterable[Path]) -> None:
  """Writes the manifest of all that is in the folder, and what notices of models ask to pass on.

  These are of the models that this one is `made_from`, each said once. The file is not in the
  manifest, so that its owner may edit it.
  """
  manifest = {path.name: _entry(path) for path in sorted(folder.iterdir())}
  manifest.pop(MANIFEST, None)
  (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
  paths = [model / NOTICE for model in made_from]
  found = [path.read_bytes().strip() for path in paths if path.is_file()]  # in any encoding
  told = [
    text
    for text in dict.fromkeys(found)
    if text and not any(text in other != text for other in found)
  ]
  if told:
    (folder / NOTICE).write_bytes(b"\n\n".join(told) + b"\n")


def _entry(path: Path) -> dict[str, Any]:
  return {"size": path.stat().st_size, "sha256": digest(path)}

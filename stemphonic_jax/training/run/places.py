"""Where a run reads from: a place is known by what it holds, not by how its path is spelled.

A workdir's config.json has, beside the paths, a digest of what was there (`places`). So records, a
data set or a model may be moved, or named from another folder, between two starts of a run.
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stemphonic_jax.training.run.identity import PLACES, flat
from stemphonic_jax.weights.files import digest
from stemphonic_jax.weights.hub import folder_of

KEY = "places"  # in config.json


def digests(config: Mapping[str, Any]) -> dict[str, str]:
  """What each place of a config holds, {"data.records": digest}; without what is not there."""
  paths = flat(config)
  found = {name: _digest(name, paths.get(name)) for name in PLACES}
  return {name: value for name, value in found.items() if value}


def is_same(name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
  """Whether two configs mean the same by a place: what is there, or was when a run began.

  Records are those of their index, whatever their path. Anything else is the same where the path
  is, because songs may be added to a data set, and a model to start from may be trained on.
  """
  one, other = flat(ours).get(name) or "", flat(theirs).get(name) or ""
  first, second = (
    config[KEY].get(name) if config.get(KEY) else _digest(name, path)
    for config, path in ((ours, one), (theirs, other))
  )
  if first and second and (name == "data.records" or first == second):
    return first == second
  return one == other or bool(one and other and Path(one).resolve() == Path(other).resolve())


def _digest(name: str, path: str | None) -> str | None:
  """What a place holds; None where nothing is there."""
  if path:
    with suppress(OSError, StopIteration):
      return _CONTENT[name](folder_of(path))
  return None


def _records(folder: Path) -> str:
  return digest(folder / "train" / "index.json")


def _model(folder: Path) -> str:
  """Of a model folder or a workdir: its manifest or, where there is only that, its autoencoder."""
  files = (base / name for name in ("manifest.json", "vae.safetensors")
           for base in (folder, folder / "model"))  # fmt: skip
  return digest(next(path for path in files if path.is_file()))


def _codec(folder: Path) -> str:
  return digest(folder / "codec.safetensors")


def _listing(folder: Path) -> str:
  """Names, two folders deep: enough to know a data set by, without a look at all of its files."""
  names = [path.relative_to(folder).as_posix() for path in (*folder.glob("*"), *folder.glob("*/*"))]
  if not names:
    raise FileNotFoundError(folder)
  return hashlib.sha256("\n".join(sorted(names)).encode(errors="surrogateescape")).hexdigest()


def _sizes(folder: Path) -> str:
  """Names and sizes of files: a T5 has many GB of them."""
  files = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
  return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


_CONTENT: Mapping[str, Callable[[Path], str]] = {
  "data.records": _records,
  "data.root": _listing,
  "data.captions": digest,
  "data.soundfont": digest,
  "init_from": _model,
  "text.path": _sizes,
  **{name: _codec for name in PLACES if name.startswith("codec.")},
}

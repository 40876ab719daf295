"""What is kept of an evaluation as it comes, so that one that was cut off goes on.

    OUT/songs/KEY/00000.npz     features of each song of a cell, with which it can be scored again
    OUT/cells/KEY.json          scores of a cell

A key is the hash of all that the content depends on, the code that makes it included. So nothing
old is ever taken for something new. Songs take long to make: their key has the code that makes and
hears them, that of a cell all code that measures too.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.errors import DataError, OutputError, first_line
from stemphonic_jax.evaluation.features import OnDisk, SongFeatures, StemFeatures
from stemphonic_jax.evaluation.scores import Score

PACKAGE = Path(__file__).parents[1]
# Files and folders of the package that say how a song sounds, and what is kept of it.
SONG = (
  *("evaluation/features.py", "evaluation/kept.py", "evaluation/listeners/ears.py"),
  *(f"evaluation/songs/{name}.py" for name in ("ablation", "asking", "corpus")),
  "evaluation/tables/remade.py",
  *("audio", "data/batching/prompts.py", "data/batching/records.py", "data/sources/demo"),
  *(
    "data/keys.py",
    "data/stems.py",
    "data/taxonomy.py",
    "data/tokenizer.py",
    "flow.py",
    "guidance.py",
  ),
  *("generation", "models", "sampler.py", "tokens", "weights"),
)
# What a cell depends on besides: how it is measured, not how a table shows it.
CELL = (
  *(*SONG, "evaluation/scores.py"),
  *(f"evaluation/{room}" for room in ("distances", "judges", "listeners", "measures")),
)
ABOUT = ("id", "bpm", "caption", "heard")  # what a song has besides stems
LARGE = ("bands", "chroma")
PARTS = (*LARGE, "lane")  # of the features of a stem


@dataclass(frozen=True, eq=False)
class Heard:
  """A generated song: its features, and what it took in seconds."""

  song: SongFeatures
  seconds: float


@dataclass(frozen=True)
class Cell:
  """Scores by metric and, where songs were generated, seconds for one; `detail` is for JSON."""

  scores: Mapping[str, Score]
  seconds: Score | None = None
  detail: Mapping[str, Any] = field(default_factory=dict)


def songs(
  out: Path,
  key: Mapping[str, Any],
  count: int,
  make: Callable[[int], Sequence[Heard]],
  complete: Callable[[SongFeatures], bool] = lambda _: True,
) -> list[Heard]:
  """The songs of a key: those that are there, and those that `make` makes from a number on.

  That is the first that is not there, or not `complete`.
  """
  key = dict(key) | {"code": code(SONG)}
  folder = out / "songs" / digest(key)[:24]
  paths = [folder / f"{number:05d}.npz" for number in range(count)]
  heard: list[Heard] = []
  for path in paths:
    found = read(path) if path.is_file() else None
    if found is None or not complete(found.song):
      break
    heard.append(found)
  there = len(heard)
  if there < count:
    folder.mkdir(parents=True, exist_ok=True)
    for path, song in zip(paths[there:], make(there), strict=True):
      write(path, song)
      heard.append(read(path))
  return heard


def begin(out: Path) -> None:
  """Makes the folder for what is measured; OutputError, before the work, where that cannot be."""
  try:
    out.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
  if not os.access(out, os.W_OK):
    raise OutputError(f"{out}: cannot be written to")


def cell(out: Path, key: Mapping[str, Any], measure: Callable[[], Cell]) -> Cell:
  """The cell of a key: read where it has been measured, else measured and written."""
  key = dict(key) | {"code": code(CELL)}
  path = out / "cells" / f"{digest(key)[:24]}.json"
  if path.is_file():
    try:
      found = json.loads(path.read_text())
      scores = {name: _score(entry) for name, entry in found["scores"].items()}
      seconds = _score(found["seconds"]) if found["seconds"] else None
      return Cell(scores, seconds, found["detail"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
      raise _damaged(path, error) from None
  measured = measure()
  path.parent.mkdir(parents=True, exist_ok=True)
  with whole_file(path) as partial:
    partial.write_text(json.dumps({"key": key} | plain(asdict(measured)), indent=1) + "\n")
  return measured


@functools.cache
def code(places: Sequence[str], package: Path = PACKAGE) -> str:
  """Equal for equal sources and tables in these places, and one release of JAX.

  What is read first holds for the process, whose modules are those of then.
  """
  paths = {path for place in places for path in (package / place).rglob("*.py")}
  paths |= {path for place in places for path in (package / place).rglob("*.toml")}
  paths |= {package / place for place in places if place.endswith(".py")}
  named = {path.relative_to(package).as_posix(): path for path in sorted(paths)}
  return digest([jax.__version__, {name: path.read_text() for name, path in named.items()}])


def code_of(module: str) -> str:
  """`code` of one module of the package, by its name."""
  return code((module.partition(".")[2].replace(".", "/") + ".py",))


def digest_of(songs: Sequence[SongFeatures]) -> str:
  """The SHA-256 of everything in the features of songs."""
  whole = hashlib.sha256()
  for song in songs:
    whole.update(json.dumps([song.id, song.bpm, song.caption, list(song.stems)]).encode())
    for stem in song.stems.values():
      whole.update(stem.type.encode())
      for part in PARTS:
        array = np.ascontiguousarray(getattr(stem, part))
        whole.update(f"{array.dtype} {array.shape}".encode())
        whole.update(array)
  return whole.hexdigest()


def plain(value: Any) -> Any:
  """The same for JSON, which has no NaN: null."""
  if isinstance(value, Mapping):
    return {str(name): plain(part) for name, part in value.items()}
  if isinstance(value, list | tuple):
    return [plain(part) for part in value]
  if isinstance(value, float | np.floating):
    return float(value) if math.isfinite(value) else None
  return value


def digest(value: Any) -> str:
  """The SHA-256 of anything that JSON holds."""
  return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def _score(entry: Mapping[str, Any]) -> Score:
  return Score(**{name: math.nan if part is None else part for name, part in entry.items()})


def write(path: Path, heard: Heard) -> None:
  """Writes a song; OutputError where that cannot be done."""
  song = heard.song
  about = {name: getattr(song, name) for name in ABOUT} | {"seconds": heard.seconds}
  about["stems"] = {name: [stem.type, stem.heard] for name, stem in song.stems.items()}
  arrays = {f"{part}/{n}": getattr(stem, part) for n, stem in song.stems.items() for part in PARTS}
  with whole_file(path) as partial, partial.open("wb") as file:
    np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)


def _damaged(path: Path, error: Exception) -> DataError:
  return DataError(f"{path}: is damaged ({first_line(error)}); remove it, and it is made again")


def read(path: Path) -> Heard:
  """The song that `write` wrote, what is large of it left there; DataError where it is damaged."""
  try:
    with np.load(path) as found:
      about = json.loads(str(found["about"]))
      stems = {
        name: StemFeatures(
          kind,
          *(OnDisk(path, key := f"{part}/{name}", found[key].shape) for part in LARGE),
          found[f"lane/{name}"],
          heard,
        )
        for name, (kind, heard) in about["stems"].items()
      }
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise _damaged(path, error) from None
  return Heard(SongFeatures(stems=stems, **{name: about[name] for name in ABOUT}), about["seconds"])

"""Every source of real stems by name: a folder on disk -> the catalogue of its mixes.

Scanning looks at names and small text files only; `reader.py` reads the audio of an entry.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import logging

from stemphonic_jax.audio.folders import if_file
from stemphonic_jax.data.sources import folder, mixes, moisesdb, musdb, slakh
from stemphonic_jax.data.sources.entries import Catalogue, Entry, Part
from stemphonic_jax.errors import DataError, MissingError, UsageError

__all__ = ["SOURCES", "Catalogue", "Entry", "Part", "check_source", "scan"]

SOURCES: Mapping[str, Callable[[Path], Catalogue]] = {
  "musdb": musdb.scan,
  "moisesdb": moisesdb.scan,
  "slakh": slakh.scan,
  "folder": folder.scan,
  "mixes": mixes.scan,
}


def check_source(source: str) -> None:
  """UsageError for a name that is of no source."""
  if source not in SOURCES:
    near = difflib.get_close_matches(source, SOURCES, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"unknown source {source!r};{hint} sources: {', '.join(SOURCES)}")


def check_root(source: str, root: str | Path) -> Path:
  """The folder of a set, which is not looked into; UsageError or MissingError where it is none."""
  unnamed, root = not str(root), Path(root)
  check_source(source)
  if unnamed:  # which for Path is the folder we are in
    raise UsageError(f"{source}: its root is not named; name the folder (--root, data.root)")
  if not root.is_dir():
    what = "not a folder" if root.exists() else "no such folder"
    expected = "the folder of your mixes" if source == "folder" else f"the root of {source}"
    raise MissingError(f"{root}: {what}; expected {expected}{if_file(root)}")
  return root


def scan(source: str, root: str | Path) -> Catalogue:
  """The catalogue of the set at `root`, in an order that depends on nothing but the names in it.

  UsageError for an unknown source; MissingError where `root` is not there or is laid out in another
  way; DataError where no usable mix is left.
  """
  root = check_root(source, root)
  logging.info("%s: looking for mixes", root)
  try:
    found = SOURCES[source](root)
  except OSError as error:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None
  if not found.entries:
    reasons = [f"{name}: {reason}" for name, reason in found.rejected.items()]
    first = f"; the first of {len(reasons)} rejected is {reasons[0]}" if reasons else ""
    raise DataError(f"{root}: no usable mix{first}")
  return found

"""The songs of a folder: found by their song.json, and known by the path below it.

An id is that path with "~" for "/": runs/four/1 is "four~1". Nothing outside of the folder has one,
whatever links there are. A song that nothing was made of yet is a desk alone (desk.py).
"""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stemphonic_jax.errors import DataError, MissingError, UsageError
from stemphonic_jax.generation.session import of_old
from stemphonic_jax.generation.song_folder import INFO, MIX_FILE
from stemphonic_jax.studio.files import read_json

PRIVATE = ".studio"  # within the folder of songs: desks, jobs, what was uploaded
DEPTH = 2  # folders below the folder of songs
MAX_ID = 200
LETTERS = 40  # of a prompt in the name of a folder


class Library:
  """The songs below `root`, which is made where it is missing."""

  def __init__(self, root: Path):
    self.root = root.absolute()
    self.private = self.root / PRIVATE

  def folder(self, name: str) -> Path:
    """The folder of a song's id, be it there or not; MissingError for what is no id."""
    parts = name.split("~")
    plain = all(
      part and not part.startswith(".") and part.isprintable() and not set("/\\") & set(part)
      for part in parts
    )
    if not plain or len(parts) > DEPTH or len(name.encode()) > MAX_ID:
      raise MissingError(f"no song {name[:60]!r}; GET /api/songs lists those that are there")
    folder = self.root.joinpath(*parts)
    if not folder.resolve().is_relative_to(self.root.resolve()):
      raise MissingError(f"no song {name[:60]!r}: it is a link to another place")
    return folder

  def name(self, folder: Path) -> str:
    """The id of a folder below `root`."""
    return "~".join(folder.relative_to(self.root).parts)

  def names(self) -> list[str]:
    """The ids of all songs that were made, the newest first."""
    found = {}
    for folder in self._folders(self.root, DEPTH):
      info = folder / INFO
      try:
        found[self.name(folder)] = info.stat().st_mtime
      except OSError:
        continue
    return sorted(found, key=lambda name: -found[name])

  def _folders(self, folder: Path, depth: int) -> Iterator[Path]:
    try:
      inside = [path for path in folder.iterdir() if path.is_dir() and "~" not in path.name]
    except OSError:
      return
    for path in inside:
      if path.name.startswith(".") or path.is_symlink():
        continue
      if (path / INFO).is_file():
        yield path
      elif depth > 1:
        yield from self._folders(path, depth - 1)

  def info(self, name: str) -> dict[str, Any]:
    """What song.json says, checked as far as it is shown; MissingError where there is none."""
    folder = self.folder(name)
    try:
      info = read_json(folder / INFO)
    except FileNotFoundError:
      raise MissingError(
        f"no song {name[:60]!r}; GET /api/songs lists those that are there"
      ) from None
    try:
      return _checked(info)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
      raise DataError(f"{folder / INFO}: not a song's ({error})") from None

  def take(self, name: str, step: int, stem: str) -> Path:
    """The file of a stem as a step made it; MissingError where there is none."""
    info = self.info(name)
    if not 0 <= step < len(info["steps"]) or stem not in info["steps"][step]["made"]:
      raise MissingError(f"song {name!r} has no take of {stem[:60]!r} of step {step}")
    folder = self.folder(name)
    heard = info["steps"][info["now"]]["stems"].get(stem) == step
    path = folder / f"{stem}.wav" if heard else folder / "takes" / str(step) / f"{stem}.wav"
    inside = path.resolve().is_relative_to(folder.resolve())
    if not inside or not path.is_file():
      raise MissingError(f"the take of {stem!r} of step {step} is not in {folder} any more")
    return path

  def new_name(self, prompt: str, taken: set[str]) -> str:
    """An id for a new song, after the first words of its prompt; `taken` are those of desks."""
    plain = unicodedata.normalize("NFC", prompt.lower())
    stem = re.sub(r"\W+", "-", plain).strip("-")
    if len(stem) > LETTERS:  # ends with a whole word, where there is one
      stem = stem[:LETTERS].rpartition("-")[0] or stem[:LETTERS]
    return self.free_name(stem or "song", taken)

  def free_name(self, stem: str, taken: set[str]) -> str:
    """An id that nothing has, and that is not `taken`: the one that is asked for, or numbered."""
    name, number = stem, 1
    while name in taken or self.folder(name).exists():
      number += 1
      name = f"{stem}-{number}"
    return name


def _checked(info: Any) -> dict[str, Any]:
  """song.json with steps, which an older one has not."""
  if not isinstance(info, dict) or not isinstance(info["stems"], dict) or not info["stems"]:
    raise ValueError("it names no stems")
  if not isinstance(info["sample_rate"], int) or info["sample_rate"] <= 0:
    raise ValueError("it has no sample rate")
  info = dict(of_old(info))
  _ = str(info["request"]["prompt"]), info["request"]["bpm"]
  for step in info["steps"]:
    names = {*step["stems"], *step["made"]}
    if any(not n or n.startswith(".") or set("/\\\0") & set(n) for n in names):
      raise ValueError("a stem has a name that no file can have")
    _ = float(step["seconds"]), str(step["do"]), step["from"], dict(step["ask"])
  for name, step in info["steps"][info["now"]]["stems"].items():
    _ = info["steps"][step]["made"][name]["type"]
  return info


def check_name(name: Any) -> str:
  """A text that can be the name of a stem's file; UsageError where it cannot."""
  if not isinstance(name, str) or not name or name.startswith(".") or not name.isprintable():
    raise UsageError(f"stem: got {str(name)[:60]!r}, expected a name, as 'drums'")
  if set("/\\") & set(name) or len(name.encode()) > MAX_ID:
    raise UsageError(f"stem: {name[:60]!r} cannot be the name of a file")
  if f"{name}.wav".lower() == MIX_FILE:  # on many systems, Mix.wav is the same file
    raise UsageError(
      f"stem: {name!r} is the name of a song's own mix; call it what it is, as 'drums'"
    )
  return name

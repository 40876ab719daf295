"""The folder of a song: which of its files are the song's, and whether one may be written there."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from stemphonic_jax.audio.folders import aside, refuse_taken, settled
from stemphonic_jax.errors import MissingError, OutputError

INFO, MIX_FILE, LATENTS, FIGURE = "song.json", "mix.wav", "latents.safetensors", "stems.png"
TAKES = "takes"  # the folder of takes that are not heard now, by step
MADE_OF_STEMS = (INFO, MIX_FILE, LATENTS, FIGURE)  # files that are written anew by each save


def steps_in(folder: Path) -> int:
  """The number of steps of the song in a folder; zero without one that can be read."""
  with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
    return len(json.loads((folder / INFO).read_text())["steps"])
  return 0


def song_files(folder: Path) -> set[str]:
  """Names of the files that are the song's in a folder, by its song.json; none without one."""
  if not (folder / INFO).is_file():
    return set()
  files = {*MADE_OF_STEMS}
  with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
    info = json.loads((folder / INFO).read_text())
    files |= {f"{name}.wav" for name in info["stems"]}
    for number, step in enumerate(info.get("steps", [])):
      stems = [f"{TAKES}/{number}/{name}" for name in step["made"]]
      files |= {f"{stem}{kind}" for stem in stems for kind in (".wav", ".safetensors")}
  return files


def stamps(folder: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
  """When the stems and takes among some files of a song were last changed, and their sizes."""
  found = {}
  for name in names:
    if name not in MADE_OF_STEMS:
      with suppress(OSError):
        about = (folder / name).stat()
        found[name] = (about.st_mtime_ns, about.st_size)
  return found


def check_output(directory: Path, overwrite: bool, stems: Iterable[str] = ()) -> None:
  """OutputError where a song with these `stems` may not be written to `directory`.

  It is cheap, so it is asked before the work.
  """
  _refuse_unwritable(directory)
  if directory.exists():
    if not overwrite:
      raise OutputError(f"{directory}: already exists; choose another --out or add --overwrite")
    empty = directory.is_dir() and not any(directory.iterdir())
    if not empty and not (settled(directory) / INFO).is_file():
      raise OutputError(f"{directory}: is not the folder of a song, so it is not overwritten")
    names = [f"{name}.wav" for name in stems]
    refuse_taken(directory, names, song_files(directory))
  parent = next(parent for parent in (*directory.parents, Path(".")) if parent.exists())
  if not parent.is_dir() or not os.access(parent, os.W_OK):
    shown = parent if parent.name else parent.absolute()  # "." says little
    raise OutputError(f"{directory}: {shown} cannot be written to; choose another --out")


def _refuse_unwritable(directory: Path) -> None:
  """OutputError for a path that is none, is too long, or is a link to what is not there."""
  try:
    os.lstat(aside(directory))
  except (FileNotFoundError, NotADirectoryError):
    pass
  except (OSError, ValueError) as error:  # a null character is a ValueError
    reason = error.strerror if isinstance(error, OSError) else error
    raise OutputError(f"{str(directory)[:200]!r}: cannot be written ({reason})") from None
  if directory.is_symlink() and not directory.exists():
    raise OutputError(f"{directory}: is a link to what is not there; remove it")


def no_song(folder: Path) -> MissingError:
  """The error that a folder holds no song: what is there instead, and songs that may be meant."""
  if not folder.exists():
    return MissingError(f"{folder}: no such folder; name the folder of a song")
  if not folder.is_dir():
    return MissingError(f"{folder}: is a file; name the folder of a song, not a file in it")
  inside = sorted(path.parent.name for path in folder.glob(f"*/{INFO}"))
  listed = ", ".join(inside[:5]) + (", …" if len(inside) > 5 else "")
  hint = f"; there are songs in it, name one: {listed}" if inside else ""
  return MissingError(f"{folder}: is not the folder of a song (it has no {INFO}){hint}")

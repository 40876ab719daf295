"""Folders that appear whole or not at all, and leave alone what they did not bring."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from stemphonic_jax.errors import OutputError

# Within a folder that is there: what is being filled, and what is filled and has to be moved yet.
PARTIAL, SAVED = ".stemphonic.partial", ".stemphonic.saved"
STALE = ".stale"  # in SAVED: names of the files that the old content had and the new one has not


def nothing(_: Path) -> Collection[str]:
  """The files that are ours in a folder which never was: none."""
  return ()


@contextmanager
def whole_folder(
  path: str | Path, own: Callable[[Path], Collection[str]] = nothing
) -> Iterator[Path]:
  """Yields a hidden folder to fill, whose files are those of `path` at the end of the block.

  A new folder appears by one renaming. In one that is there, only the files that `own` names
  (relative to it: what an earlier block brought) are replaced or removed; all others are the user's
  and stay. What was filled first becomes `path`/.stemphonic.saved, by one renaming. A process that
  is killed before it leaves the old files, and one that is killed after it the new ones: `settle`
  brings to their places those that are not there yet, when the folder is next read or written.

  OutputError where the block or a renaming cannot write, a file of the user's is in the way, or
  another process fills the same folder.
  """
  path = Path(path).absolute()
  there = path.is_dir()
  partial = path / PARTIAL if there else aside(path)
  try:
    settle(path)
    with _ours_alone(path, partial):
      yield partial
      if there:
        _decide(path, partial, set(filter(_inside, own(path))))
        settle(path)
      else:
        os.replace(partial, path)
  except OSError as error:
    raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None


@contextmanager
def alone(path: Path) -> Iterator[None]:
  """Keeps a folder, where it is there, for the block; OutputError at once where somebody has it.

  Of two who change one song the second would be told when its work is done, and lost. The lock ends
  with its process. Some network file systems have no locks: there nothing is known.
  """
  handle = _locked(path)
  try:
    yield
  finally:
    if handle is not None:
      os.close(handle)


def _locked(path: Path) -> int | None:
  """A handle that keeps a folder; None where it is not there."""
  try:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
  except OSError:
    return None
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    os.close(handle)
    raise OutputError(
      f"{path}: somebody else is changing it; wait until that is done, or stop it"
    ) from None
  except OSError:
    pass
  return handle


@contextmanager
def _ours_alone(path: Path, partial: Path) -> Iterator[None]:
  """Makes the folder `partial`, empty, for the block; it is locked, and gone at the end.

  Two processes would mix their files. The lock ends with its process, also with one that is killed;
  what that one left is removed. Some network file systems have no locks: there nothing is known.
  """
  partial.mkdir(parents=True, exist_ok=True)
  handle = os.open(partial, os.O_RDONLY)
  try:
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise OutputError(f"{path}: another process is writing it; wait, or choose another") from None
    except OSError:
      pass
    for left in partial.iterdir():
      shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    made = os.fstat(handle)
    try:
      yield
    finally:
      with suppress(OSError):  # it has another name now
        if os.path.samestat(made, os.lstat(partial)):
          shutil.rmtree(partial, ignore_errors=True)
  finally:
    os.close(handle)


def aside(path: Path) -> Path:
  """Where a folder `path` that is not there is filled."""
  return path.with_name(f".{path.name}.partial")


def settle(path: Path) -> None:
  """Brings to its place in `path` what was saved there and, in a killed process, not moved yet."""
  saved = path / SAVED
  if saved.is_symlink() or not saved.is_dir():
    return
  stale = _stale(saved)
  for name in _files(saved):
    if name != STALE and _stays(path, name):
      (path / name).parent.mkdir(parents=True, exist_ok=True)
      with suppress(FileNotFoundError):  # another process does the same, and was faster
        os.replace(saved / name, path / name)
  for name in filter(functools.partial(_stays, path), stale):
    if not (path / name).is_dir():  # which somebody put in its place
      (path / name).unlink(missing_ok=True)
      _prune(path, name)
  shutil.rmtree(saved, ignore_errors=True)


def settled(path: Path) -> Path:
  """`path`, after `settle` where it can be written; to be asked before a folder is read."""
  with suppress(OSError, ValueError):
    settle(path)
  return path


def if_file(path: Path) -> str:
  """What to do where a folder was expected and a file, most often one in it, is there; or ""."""
  return f"; it is a file: name the folder, {path.parent}" if path.is_file() else ""


def refuse_taken(path: Path, names: Iterable[str], own: Collection[str]) -> None:
  """OutputError where a file `names` would take the place of what is not `own` in `path`."""
  for name in names:
    place = path / name
    way = [path / parent for parent in PurePosixPath(name).parents][:-1]
    blocked = [p for p in way if os.path.lexists(p) and not p.is_dir()]
    if os.path.lexists(place) and (name not in own or place.is_dir()):
      blocked.append(place)
    if blocked:
      raise OutputError(
        f"{blocked[0]}: is not of what was saved here before, so it is not overwritten; move it, or"
        f" choose another folder"
      )


def _decide(path: Path, partial: Path, own: set[str]) -> None:
  """The one renaming after which the new files count."""
  new = _files(partial)
  refuse_taken(path, new, own)
  (partial / STALE).write_text(json.dumps(sorted(own - set(new))))
  os.replace(partial, path / SAVED)


def _stale(saved: Path) -> list[str]:
  """The names in STALE; none where it is not there, or not as it was written."""
  with suppress(OSError, ValueError, RecursionError):
    names = json.loads((saved / STALE).read_text())
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
  return []


def _files(folder: Path) -> list[str]:
  """The files in a folder and below, relative to it."""
  return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _inside(name: str) -> bool:
  """Whether a name stays within its folder: what a file says of others may be a stranger's."""
  parts = PurePosixPath(name).parts
  return bool(parts) and ".." not in parts and "\0" not in name and not Path(name).is_absolute()


def _stays(path: Path, name: str) -> bool:
  """Whether a file of that name lies in `path` itself, and not behind a link that leads out of it.

  A folder that somebody passes on may hold any names and links.
  """
  place = os.path.realpath((path / name).parent)
  return _inside(name) and Path(place).is_relative_to(os.path.realpath(path))


def _prune(path: Path, name: str) -> None:
  """Removes the folders of a removed file that are empty now."""
  with suppress(OSError):
    for parent in list(PurePosixPath(name).parents)[:-1]:
      (path / parent).rmdir()

"""Walking a tree of files that somebody else made: what is in it is data, never trusted.

Nothing outside of the root is read, whatever links or names say; hidden files, which macOS leaves
beside every file ("._drums.wav"), are not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stemphonic_jax.audio import files
from stemphonic_jax.data.stems import BPM_RANGE
from stemphonic_jax.errors import DataError, UsageError

BPM = re.compile(r"(?:ca?\.?|~|≈|about|tempo:?)?\s*(\d{1,4}(?:[.,]\d{1,6})?)\s*(?:bpm)?")
MAX_TEXT = 1 << 20  # bytes of a JSON, YAML or text file; the public ones have a hundredth
HIDDEN = (".", "__MACOSX", "lost+found")  # what systems leave behind: names begin so
STAMP, WORK = ".report", ".check"  # in a folder that data/preparing/check.py writes to
FORMAT = b'"format": "stemphonic_jax '  # in the index of records, and of texts
MAX_ID = 120  # bytes, so that an id and what is put around it fit into a file name


def listing(folder: Path) -> list[Path]:
  """What is in a folder, hidden files left out, in an order that no machine changes."""
  return sorted(path for path in folder.iterdir() if not path.name.startswith(HIDDEN))


def folders(folder: Path) -> list[Path]:
  """The folders in a folder, but for those that preparing has made there."""
  return [path for path in listing(folder) if path.is_dir() and not is_ours(path)]


def is_ours(folder: Path) -> bool:
  """Whether a folder holds reports or records of this program, so that it is no part of a set.

  One that has audio too is a mix, or holds some: the report was written there by mistake.
  """
  inside = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
  return _has_ours(folder) and not any(map(files.is_audio, inside))


def _has_ours(folder: Path) -> bool:
  if (folder / STAMP).is_file() or (folder / WORK).is_dir():
    return True
  index = folder / "index.json"
  if not index.is_file():
    return False
  with index.open("rb") as file:
    return FORMAT in file.read(256)


def audio_below(folder: Path) -> Path | None:
  """The first folder below `folder` that holds audio, however deep; none where it is not read."""
  with suppress(OSError):
    return next((path.parent for path in walk(folder) if files.is_audio(path)), None)
  return None


def foreign(paths: Iterable[Path]) -> list[str]:
  """A note for each audio file of a kind that is not read."""
  found = [path for path in paths if files.is_foreign(path) and path.is_file()]
  return [
    f"{clean(path.name)}: {path.suffix[1:]} is not read, left out; convert it to FLAC"
    for path in found
  ]


def bases(root: Path, holds: Callable[[Path], bool]) -> list[Path]:
  """Where a set begins: at `root`, or else in the folders of it that hold what is expected.

  An archive is unpacked into a folder of its own as often as not.
  """
  return [root] if holds(root) else [p for p in folders(root) if leads_inside(p, root) and holds(p)]


def base(root: Path, holds: Callable[[Path], bool]) -> Path | None:
  """The only one of `bases`, if any; UsageError where there are several, such as two versions."""
  found = bases(root, holds)
  if len(found) > 1:
    names = ", ".join(clean(path.name) for path in found)
    raise UsageError(f"{root}: holds {len(found)} sets ({names}); name one of these folders")
  return found[0] if found else None


def walk(root: Path) -> Iterator[Path]:
  """Every file below `root`, in order; links to folders are not followed, so none comes twice."""

  def fail(error: OSError):
    raise error

  for folder, names, found in os.walk(root, onerror=fail):
    names[:] = sorted(name for name in names if not name.startswith(HIDDEN))
    names[:] = [name for name in names if not is_ours(Path(folder, name))]
    yield from (Path(folder, name) for name in sorted(found) if not name.startswith(HIDDEN))


def leads_inside(path: Path, root: Path) -> bool:
  """Whether a path, all links followed, is in `root`."""
  return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def inside(path: Path, root: Path) -> Path:
  """The path itself; DataError where there is no such file, or a link leads out of `root`.

  Names that are not text are refused too, because libsndfile cannot be given them.
  """
  try:
    str(path).encode()
  except UnicodeEncodeError:
    raise DataError(f"{_name(path, root)}: its name is not in UTF-8; rename it") from None
  if not leads_inside(path, root):
    raise DataError(f"{_name(path, root)}: leads out of {root}; copy what it links to")
  if not path.is_file():
    raise DataError(f"{_name(path, root)}: no such file; copy or unpack it again")
  return path


def clean(text: str) -> str:
  """Text as one line of printable characters, composed (NFC), with single spaces."""
  composed = unicodedata.normalize("NFC", text)
  return " ".join("".join(c if c.isprintable() else " " for c in composed).split())


def file_name(value: str, where: str) -> str:
  """A name out of a file, to be looked up in one folder; DataError where it is not a plain one."""
  if value in ("", ".", "..") or "/" in value or "\\" in value or not value.isprintable():
    raise DataError(f"{where}: {value!r} is not a plain file name")
  return value


def mix_id(path: Path, root: Path) -> str:
  """A mix's id: its path below `root`, short and printable, with a hash where that lost something.

  Letters with accents come composed or not, depending on the machine, and give the same id.
  """
  composed = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
  printable = "".join(c if c.isprintable() else "_" for c in composed)
  if printable == composed and len(composed.encode()) <= MAX_ID:
    return composed
  return hashed(printable, os.fsencode(composed))


def hashed(name: str, content: bytes) -> str:
  """An id of at most MAX_ID bytes: `name`, cut where it is long, and a hash of `content`."""
  digest = hashlib.sha256(content).hexdigest()[:8]
  return f"{name.encode()[: MAX_ID - 9].decode(errors='ignore')}-{digest}"


def read_text(path: Path, root: Path) -> str:
  """A small text file; DataError where it is not there, not inside of `root`, or not text."""
  size = inside(path, root).stat().st_size
  if size > MAX_TEXT:
    raise DataError(f"{_name(path, root)}: {size} bytes, expected a short text")
  return decoded(path.read_bytes(), _name(path, root))


def decoded(content: bytes, where: str) -> str:
  """The text in UTF-8, with a mark of its order or without; DataError that guesses what it is in.

  With replacement characters, "it’s" would become "it�s" in every prompt.
  """
  try:
    return content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    line = content.count(b"\n", 0, error.start) + 1
    byte = content[error.start : error.start + 1]
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or content[:64].count(0) > 8:
      guess = "is in UTF-16"
    else:
      letter = byte.decode("windows-1252", errors="ignore") or "no letter"
      guess = f"may be in Windows-1252, in which 0x{byte.hex()} in line {line} is {letter}"
    raise DataError(f"{where}: not text in UTF-8, but {guess}; save it as UTF-8") from None


def read_json(path: Path, root: Path) -> dict[str, Any]:
  """The object in a JSON file; DataError where there is none."""
  text = read_text(path, root)
  try:
    content = json.loads(text)
  except (ValueError, RecursionError) as error:
    reason = "nested too deeply" if isinstance(error, RecursionError) else error
    raise DataError(f"{_name(path, root)}: malformed JSON ({reason})") from None
  return of_kind(content, dict, _name(path, root))


def of_kind(value: Any, kind: type, where: str) -> Any:
  """The value itself; DataError where it is of another kind."""
  if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
    raise DataError(f"{where}: is a {type(value).__name__}, expected a {kind.__name__}")
  return value


def description(content: Mapping[str, Any], where: str, notes: list[str]) -> dict[str, Any]:
  """`caption`, `genre` and `bpm` as a JSON file beside audio gives them.

  What cannot be understood is left out, and said in `notes`: no field is worth a mix.
  """
  found: dict[str, Any] = {}
  for name in ("caption", "genre"):
    value = content.get(name) or ""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
      value = ", ".join(value)
    if not isinstance(value, str):
      notes.append(f"{where}: {name} is a {type(value).__name__}, not a text; left out")
      value = ""
    found[name] = clean(value)
  found["bpm"] = tempo(content.get("bpm"))
  if found["bpm"] is None and content.get("bpm") not in (None, ""):
    notes.append(
      f"{where}: bpm {clean(str(content['bpm'])[:40])!r} is no tempo from {BPM_RANGE[0]:g} to"
      f" {BPM_RANGE[1]:g}; left out"
    )
  return found


def tempo(value: Any) -> float | None:
  """Beats per minute that a number or a text says ("120", "92,5", "ca. 120 BPM"), if any."""
  if isinstance(value, str):
    found = BPM.fullmatch(value.strip().lower())
    value = float(found[1].replace(",", ".")) if found else None
  if not isinstance(value, (int, float)) or isinstance(value, bool):
    return None
  return float(value) if BPM_RANGE[0] <= value <= BPM_RANGE[1] else None


def _name(path: Path, root: Path) -> str:
  """How a file is called in messages: by its path in the set or, where that is all, the whole."""
  return str(path) if root == Path(root.anchor) else path.relative_to(root).as_posix()

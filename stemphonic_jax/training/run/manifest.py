"""What the files of a checkpoint were when they were written: size and CRC-32 of each.

No store of arrays notices a flipped bit. `manifest.json` is written into a checkpoint before it
becomes visible, so that there is none without; Orbax writes two small files after that, which
`seal` adds as soon as the checkpoint is there.
"""

import json
import os
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NAME = "manifest.json"
LATE = ("_CHECKPOINT_METADATA", "commit_success.txt")
SMALL = ("metrics/", "run/", *LATE)  # all files but those of the arrays
BLOCK = 1 << 22  # bytes read at once
READERS = 4  # threads; zlib lets go of the interpreter's lock


def write(folder: Path) -> None:
  """Writes the manifest of all files in `folder` but the late ones."""
  names = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
  _replace(folder, _measure(folder, (name for name in names if name not in (NAME, *LATE))))


def seal(folder: Path) -> None:
  """Adds the late files to the manifest of a checkpoint that is complete."""
  _replace(folder, _read(folder) | _measure(folder, LATE))


def findings(
  folder: Path, *, contents: bool, share: tuple[int, int] = (0, 1), only: tuple[str, ...] = ("",)
) -> list[str]:
  """What is wrong with the files of a checkpoint, by name; nothing where it is whole.

  Sizes are compared always, `contents` only when asked for; `share` is (i, n): of n readers, the
  i-th, who reads every n-th file; `only` is how the names of those begin that are looked at.
  """
  try:
    files = {name: now for name, now in _read(folder).items() if name.startswith(only)}
  except FileNotFoundError:
    return [f"{NAME}: missing"]
  except (ValueError, OSError):
    return [f"{NAME}: damaged"]
  found = [f"{name}: missing" for name in LATE if not (folder / name).is_file()]
  whole = []
  for name, (size, _) in files.items():
    path = folder / name
    if not path.is_file():
      found.append(f"{name}: missing")
    elif (now := path.stat().st_size) != size:
      found.append(f"{name}: {now} bytes instead of {size}")
    else:
      whole.append(name)
  if contents:
    i, n = share
    now = _measure(folder, whole[i::n])
    found += [f"{name}: other contents" for name in now if now[name] != files[name]]
  return sorted(set(found))


def _measure(folder: Path, names: Iterable[str]) -> dict[str, list[int]]:
  """Name → [size, CRC-32]."""
  names = sorted(names)
  with ThreadPoolExecutor(READERS) as readers:
    return dict(zip(names, readers.map(_checksum, [folder / name for name in names]), strict=True))


def _checksum(path: Path) -> list[int]:
  size = crc = 0
  with path.open("rb", buffering=0) as file:
    while block := file.read(BLOCK):
      size, crc = size + len(block), zlib.crc32(block, crc)
  return [size, crc]


def _render(files: dict[str, list[int]]) -> bytes:
  """The text of a manifest, which holds a checksum of itself."""
  crc = zlib.crc32(json.dumps(files, sort_keys=True).encode())
  return json.dumps({"crc32": crc, "files": files}, indent=1, sort_keys=True).encode()


def _read(folder: Path) -> dict[str, list[int]]:
  """Name → [size, CRC-32]; ValueError where the manifest is not to the bit what was written."""
  text = (folder / NAME).read_bytes()
  try:
    files = json.loads(text)["files"]
  except (KeyError, TypeError, RecursionError):
    files = None
  if _render(files) != text:
    raise ValueError(f"{folder / NAME}: damaged")
  return files


def _replace(folder: Path, files: dict[str, list[int]]) -> None:
  """Writes the manifest so that a reader, or a machine that stops, finds an old or a new one."""
  partial = folder / f"{NAME}.partial"
  with partial.open("wb") as file:
    file.write(_render(files))
    file.flush()
    os.fsync(file.fileno())
  os.replace(partial, folder / NAME)

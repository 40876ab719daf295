"""JSON on disk, whole and durable: what was acknowledged is there after the power is back."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.errors import DataError, OutputError


def write_json(path: Path, content: Any) -> None:
  """Writes a file, and returns when it is on the disk; OutputError where it cannot."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
    json.dump(content, file, ensure_ascii=False, allow_nan=False)
    file.flush()
    os.fsync(file.fileno())
  handle = os.open(path.parent, os.O_RDONLY)  # the name, too
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def read_json(path: Path) -> Any:
  """What a file holds; DataError where that cannot be read, FileNotFoundError where it is not."""
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise
  except (OSError, ValueError, RecursionError) as error:
    raise DataError(f"{path}: cannot be read ({error})") from None


def check_json(content: Any) -> None:
  """ValueError where something is read as JSON but cannot be written as such: NaN, half a letter.

  UnicodeEncodeError, which is one, for the latter: "\\ud800" alone is no text in any encoding.
  """
  json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def lock_folder(path: Path) -> int:
  """Makes a folder, where it is missing, ours alone as long as this process lives.

  Some network file systems have no locks: there nothing is known. OutputError where another process
  has it, or it cannot be written.
  """
  try:
    path.mkdir(parents=True, exist_ok=True)
    handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
  except OSError as error:
    raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    os.close(handle)
    raise OutputError(
      f"{path.parent}: another studio works on these songs; open its page, or choose other --songs"
    ) from None
  except OSError as error:
    logging.warning(
      "%s: cannot be locked (%s); do not open a second studio", path, error.strerror or error
    )
  return handle

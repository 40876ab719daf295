"""JSON on disk, whole and durable: what was acknowledged is there after the power is back."""

import json
import os
from pathlib import Path
from typing import Any

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.errors import DataError


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

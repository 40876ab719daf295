"""Files of a model as they are on disk: their JSON, and what they hash to."""

import hashlib
import json
from pathlib import Path
from typing import Any

from stemphonic_jax.errors import DataError, MissingError

ROWS = 10  # differences named in one message


def digest(path: Path) -> str:
  """The SHA-256 of a file, in hexadecimal."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
  """The object in a JSON file of a model; MissingError or DataError where there is none."""
  if not path.is_file():
    raise MissingError(f"{path}: no such file; copy the whole folder again")
  try:
    content = json.loads(path.read_bytes())
  except (ValueError, RecursionError) as error:
    raise DataError(f"{path}: not JSON ({error})") from None
  if not isinstance(content, dict):
    raise DataError(f"{path}: expected a JSON object")
  return content

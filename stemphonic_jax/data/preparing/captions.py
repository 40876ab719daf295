"""Captions: what describes a mix in words, where its data set does not.

A file of captions holds one JSON object per line, as any audio language model can write it:

    {"id": "train/Artist - Title", "caption": "Relaxing country rock with ..."}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from stemphonic_jax.errors import DataError, MissingError

MAX_LENGTH = 4_000  # characters


def read_captions(path: Path) -> dict[str, str]:
  """Captions by id of the mix; MissingError, or DataError with the line that is wrong."""
  if not path.is_file():
    raise MissingError(f"{path}: no such file of captions")
  captions = {}
  with path.open(encoding="utf-8", errors="replace") as file:
    for number, line in enumerate(file, 1):
      if not line.strip():
        continue
      try:
        row = json.loads(line)
        mix, caption = row["id"], row["caption"]
        (mix + caption).encode()  # half a letter is none
      except (ValueError, KeyError, TypeError, RecursionError):
        mix = caption = None
      if not isinstance(mix, str) or not isinstance(caption, str) or not caption.strip():
        raise DataError(f'{path}: line {number} is not {{"id": "...", "caption": "..."}}')
      if len(caption) > MAX_LENGTH:
        raise DataError(
          f"{path}: line {number}: {len(caption)} characters, expected at most {MAX_LENGTH}"
        )
      captions[mix] = " ".join(caption.split())
  return captions


def template(genre: str, types: Sequence[str], bpm: float | None) -> str:
  """A plain caption of what is known: "Pop music with drums, basses and vocals at 120 BPM"."""
  kinds = list(dict.fromkeys(types))
  what = f"{genre.strip().capitalize()} music" if genre.strip() else "Music"
  if kinds:
    what += " with " + " and ".join([", ".join(kinds[:-1])] * (len(kinds) > 1) + kinds[-1:])
  return what + (f" at {bpm:.0f} BPM" if bpm else "")


def describe(
  mix: str, given: str, genre: str, types: Sequence[str], bpm: float | None, file: Mapping[str, str]
) -> tuple[str, str]:
  """The caption of a mix and where it is from: "file", "given" by the data set, or "template"."""
  if mix in file:
    return file[mix], "file"
  if given.strip():
    return " ".join(given.split()), "given"
  return template(genre, types, bpm), "template"

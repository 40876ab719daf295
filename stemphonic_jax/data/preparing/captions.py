"""Captions: what describes a mix in words, where its data set does not.

A file of captions holds one JSON object per line, as any audio language model can write it:

    {"id": "train/Artist - Title", "caption": "Relaxing country rock with ..."}
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from absl import logging

from stemphonic_jax.data.sources.tree import decoded
from stemphonic_jax.data.taxonomy import MIX
from stemphonic_jax.errors import DataError, MissingError

MAX_LENGTH = 4_000  # characters
SHOWN = 5  # unknown ids in a message
UNHEARD = (MIX, "other")  # types that say nothing of what is heard


def read_captions(path: Path) -> dict[str, str]:
  """Captions by id of the mix; MissingError, or DataError with the line that is wrong."""
  if not path.is_file():
    raise MissingError(f"{path}: no such file of captions")
  captions: dict[str, str] = {}
  for number, line in enumerate(decoded(path.read_bytes(), str(path)).split("\n"), 1):
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
    mix, caption = unicodedata.normalize("NFC", mix), " ".join(caption.split())
    if captions.get(mix, caption) != caption:
      raise DataError(f"{path}: line {number} has a second caption for {mix!r}; keep one")
    captions[mix] = caption
  if not captions:
    raise DataError(f"{path}: holds no captions")
  return captions


def check_ids(path: Path, captions: Mapping[str, str], ids: Collection[str]) -> None:
  """Warns of captions of no mix among `ids`; DataError where none is of any."""
  unknown = sorted(captions.keys() - set(ids))
  if not unknown:
    return
  listed = ", ".join(map(repr, unknown[:SHOWN])) + (", …" if len(unknown) > SHOWN else "")
  what = f"{len(unknown)} of {len(captions)} ids are no mixes of this set: {listed}"
  hint = f"its ids are as {min(ids)!r}" if ids else "it has none"
  if len(unknown) == len(captions):
    raise DataError(f"{path}: {what}; {hint}, all of them are in report.jsonl of a --check-only")
  logging.warning("%s: %s; %s", path, what, hint)


def template(genre: str, types: Sequence[str], bpm: float | None) -> str:
  """A plain caption of what is known: "Pop music with drums, basses and vocals at 120 BPM"."""
  kinds = [kind for kind in dict.fromkeys(types) if kind not in UNHEARD]
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

"""Whole mixes without their stems, to pre-train on: any folder of audio files, however deep.

ROOT/**/SONG.wav|flac|aiff|ogg|…      one mix each (audio/files.py has the endings)
ROOT/**/SONG.json                     optional: {"caption": …, "genre": …, "bpm": …}
ROOT/**/SONG.caption.txt or SONG.txt  the caption, where the JSON file has none
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from absl import logging

from stemphonic_jax.audio import files
from stemphonic_jax.data.sources import tree
from stemphonic_jax.data.sources.entries import Catalogue, Entry, Part, gather
from stemphonic_jax.data.taxonomy import MIX
from stemphonic_jax.errors import MissingError

FIELDS = {"caption", "genre", "bpm"}
TEXTS = (".caption.txt", ".txt")
LICENCE = "not known: the files are their owner's"


def scan(root: Path) -> Catalogue:
  """Every audio file below `root` as a mix of one part; MissingError where there is none."""
  found = list(tree.walk(root))
  foreign, audio = tree.foreign(found), [path for path in found if files.is_audio(path)]
  if not audio:
    hint = foreign[0] if foreign else f"expected files ending in {', '.join(files.ENDINGS)}"
    raise MissingError(f"{root}: holds no audio; {hint}")
  if foreign:
    logging.warning("%s: %d files of other audio; %s", root, len(foreign), foreign[0])
  return gather("mixes", LICENCE, root, audio, partial(_read, root))


def _read(root: Path, path: Path, name: str) -> Entry:
  part = Part(MIX, MIX, (tree.inside(path, root),), label=tree.clean(path.stem))
  json, notes = path.with_suffix(".json"), []
  content = tree.read_json(json, root) if json.exists() else {}
  notes += [f"{json.name}: {tree.clean(key)!r} ignored" for key in sorted(content.keys() - FIELDS)]
  text = tree.description(content, json.name, notes)
  for ending in TEXTS:
    beside = path.with_suffix(ending)
    if not text["caption"] and beside.exists():
      text["caption"] = tree.clean(tree.read_text(beside, root))
  return Entry(name, (part,), **text, notes=tuple(notes))

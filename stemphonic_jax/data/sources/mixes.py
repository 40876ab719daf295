"""Whole mixes without their stems, to pre-train on: any folder of audio files, however deep.

ROOT/**/SONG.wav|flac|aiff|ogg|mp3    one mix each
ROOT/**/SONG.json                     optional: {"caption": …, "genre": …, "bpm": …}
ROOT/**/SONG.txt                      or, without a JSON file: the caption
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stemphonic_jax.data.sources import tree
from stemphonic_jax.data.sources.entries import Catalogue, Entry, Part, gather
from stemphonic_jax.data.taxonomy import MIX
from stemphonic_jax.errors import MissingError

LICENCE = "not known: the files are their owner's"


def scan(root: Path) -> Catalogue:
  """Every audio file below `root` as a mix of one part; MissingError where there is none."""
  files = [path for path in tree.walk(root) if path.suffix.lower() in tree.AUDIO]
  if not files:
    raise MissingError(f"{root}: holds no audio; expected files ending in {', '.join(tree.AUDIO)}")
  return gather("mixes", LICENCE, root, files, partial(_read, root))


def _read(root: Path, path: Path, name: str) -> Entry:
  part = Part(MIX, MIX, (tree.inside(path, root),), label=tree.clean(path.stem))
  json, text = path.with_suffix(".json"), path.with_suffix(".txt")
  if json.exists():
    return Entry(name, (part,), **tree.description(tree.read_json(json, root), json.name))
  caption = tree.clean(tree.read_text(text, root)) if text.exists() else ""
  return Entry(name, (part,), caption)

"""MoisesDB: 240 songs in stems of eleven kinds, each a folder of tracks.

    ROOT/moisesdb_v0.1/SONG/data.json                   (ROOT may be moisesdb_v0.1 itself)
    ROOT/moisesdb_v0.1/SONG/STEM NAME/TRACK.wav         SONG and TRACK are UUIDs

Tracks of one stem that are of one type of ours become one part, so that "other keys" is split into
keys and synths, and a stem that is listed twice is one. Tracks of a song end up to 15 s apart in
the published set, whose own reader pads them to the longest; so do we, whatever the tolerance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from stemphonic_jax.data import taxonomy
from stemphonic_jax.data.sources import tree
from stemphonic_jax.data.sources.entries import Catalogue, Entry, Part, gather, named
from stemphonic_jax.errors import DataError, MissingError

LICENCE = "MoisesDB: CC BY-NC-SA 4.0, not for commercial use"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CLICK = "click track"

# Names as in moisesdb/defaults.py, without what stands in brackets there.
TYPE_OF_STEM = {
  "vocals": "vocals",
  "bass": "basses",
  "drums": "drums",
  "percussion": "percussion",
  "guitar": "guitars",
  "other plucked": "guitars",
  "piano": "keys",
  "other keys": "keys",
  "bowed strings": "strings",
  "wind": "winds",
}
TYPE_OF_TRACK = {
  ("other keys", "synth pad"): "synths",
  ("other keys", "synth lead"): "synths",
  ("other plucked", "harp"): "strings",
  ("vocals", "other"): "synth-vocals",
}
DOUBTFUL = {
  ("vocals", "other"): "vocoder, beatbox and the like",
  ("other plucked", "banjo, mandolin, ukulele, harp etc"): "maybe a harp",
}


def scan(root: Path) -> Catalogue:
  """The songs at `root` or one folder below; MissingError where there are none.

  A song whose data.json is missing or malformed, or names a track that is not there, is rejected.
  """
  bases = tree.bases(root, lambda base: any(map(_is_song, tree.folders(base))))
  if not bases:
    raise MissingError(
      f"{root}: not MoisesDB; expected moisesdb_v0.1/ with folders named by UUIDs and data.json in"
      f" each, as in the archive of https://developer.moises.ai/research"
    )
  songs = [path for base in bases for path in tree.folders(base) if _is_song(path)]
  return gather("moisesdb", LICENCE, root, songs, partial(_read, root))


def words(name: str) -> str:
  """A published name in plain words: "a-tonal_percussion_(claps,_…)" -> "a-tonal percussion"."""
  return tree.clean(re.sub(r"\(.*", "", name.replace("_", " "))).lower()


def type_of(stem: str, track: str) -> str:
  """Our type of a track, from the names of stem and track in plain words; a free one if unknown."""
  if stem == "other":
    return "SFX" if track.startswith("fx") else "other"
  return TYPE_OF_TRACK.get((stem, track)) or TYPE_OF_STEM.get(stem) or taxonomy.guess_type(stem)


def _read(root: Path, folder: Path, name: str) -> Entry:
  content = tree.read_json(folder / "data.json", root)
  groups: dict[tuple[str, str], list[tuple[Path, str, bool]]] = {}
  notes: dict[str, None] = {}  # each once, in order
  for stem, track in _tracks(content):
    stem_name = tree.file_name(_text(stem, "stemName"), "data.json: stemName")
    key = words(stem_name), words(_text(track, "trackType"))
    if key[1] == CLICK:
      notes["click track dropped"] = None
      continue
    file = f"{_text(track, 'id')}.{_text(track, 'extension').lstrip('.')}"
    path = tree.inside(folder / stem_name / tree.file_name(file, "data.json: id"), root)
    kind = type_of(*key)
    if kind not in taxonomy.STEM_TYPES:
      notes[f"{key[0]}, {key[1]}: kept as the free type {kind}"] = None
    elif key in DOUBTFUL:
      notes[f"{key[0]}, {DOUBTFUL[key]}: taken as {kind}, listen to it"] = None
    group = groups.setdefault((key[0], kind), [])
    if path not in [other for other, *_ in group]:  # a stem may be listed twice
      group.append((path, key[1], track.get("has_bleed") is True))
  if not groups:
    raise DataError("data.json: no tracks")
  parts = []
  for (_, kind), group in groups.items():
    files, labels, bleed = zip(*group, strict=True)
    parts.append(Part("", kind, files, ", ".join(dict.fromkeys(labels)), any(bleed)))
  genre = content.get("genre")
  genre = tree.clean(genre).replace("_", " ") if isinstance(genre, str) else ""
  return Entry(name, named(parts), genre=genre, notes=tuple(notes), ragged=True)


def _is_song(path: Path) -> bool:
  return UUID.fullmatch(path.name) is not None or (path / "data.json").is_file()


def _tracks(content: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
  """Each stem with each of its tracks."""
  for stem in _items(content, "stems"):
    for track in _items(stem, "tracks"):
      yield stem, track


def _items(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
  where = f"data.json: {key}"
  items = tree.of_kind(content.get(key), list, where)
  return [tree.of_kind(item, dict, where) for item in items]


def _text(content: dict[str, Any], key: str) -> str:
  return tree.of_kind(content.get(key), str, f"data.json: {key}")

"""Anybody's stems: a folder for each mix, a file for each stem.

    ROOT/MIX/STEM.wav|flac|aiff|ogg|mp3    "drums.wav", "Gitar 2.flac", "theremin.ogg"
    ROOT/MIX/mix.json                      optional: {"caption": …, "genre": …, "bpm": …,
                                           "types": {"theremin.ogg": "synths"}}

A stem's type is what `types` says, or else what its name means (taxonomy.guess_type).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from stemphonic_jax.data import taxonomy
from stemphonic_jax.data.sources import tree
from stemphonic_jax.data.sources.entries import Catalogue, Entry, Part, gather, named
from stemphonic_jax.data.taxonomy import MIX
from stemphonic_jax.errors import DataError, MissingError

LICENCE = "not known: the files are their owner's"
MIXTURES = {MIX, "mixture", "mixdown", "master", "full mix"}  # what is heard together, not a stem
FIELDS = {"caption", "genre", "bpm", "types"}


def scan(root: Path) -> Catalogue:
  """Every folder in `root` as a mix; MissingError where there is none."""
  found = tree.folders(root)
  if not found:
    raise MissingError(f"{root}: holds no folders; expected {root.name}/MIX/STEM.wav")
  return gather("folder", LICENCE, root, found, partial(_read, root))


def _read(root: Path, folder: Path, name: str) -> Entry:
  path = folder / "mix.json"
  content = tree.read_json(path, root) if path.exists() or path.is_symlink() else {}
  notes = [f"mix.json: {tree.clean(key)!r} ignored" for key in sorted(content.keys() - FIELDS)]
  text = tree.description(content, "mix.json")
  stems = _stems(root, folder, notes)
  types = _types(content, stems)
  parts = []
  for stem, file in stems.items():
    label = tree.clean(stem)
    kind = types.get(file.name, types.get(stem)) or taxonomy.guess_type(label)
    if stem not in types and file.name not in types and not taxonomy.knows(label):
      known = kind in taxonomy.STEM_TYPES
      notes.append(f"{label}: {'taken as' if known else 'kept as the free type'} {kind}")
    parts.append(Part("", kind, (file,), label))
  if not parts:
    raise DataError(f"no stems; expected audio files ending in {', '.join(tree.AUDIO)}")
  return Entry(name, named(parts), **text, notes=tuple(notes))


def _stems(root: Path, folder: Path, notes: list[str]) -> dict[str, Path]:
  """The audio file of each stem by its name without ending; one file where there are several."""
  audio = [path for path in tree.listing(folder) if path.suffix.lower() in tree.AUDIO]
  found: dict[str, Path] = {}
  for path in sorted(audio, key=lambda path: tree.AUDIO.index(path.suffix.lower())):
    if tree.clean(path.stem).lower().replace("_", " ") in MIXTURES:
      notes.append(f"{tree.clean(path.name)}: a mix, left out")
    elif path.stem in found:
      notes.append(f"{tree.clean(path.name)}: left out, {tree.clean(found[path.stem].name)} is it")
    else:
      found[path.stem] = tree.inside(path, root)
  return dict(sorted(found.items()))


def _types(content: dict, stems: dict[str, Path]) -> dict[str, str]:
  """`types` of mix.json; its keys are files of this mix, with their ending or without."""
  known = {*stems, *(path.name for path in stems.values())}
  types = {}
  for key, value in tree.of_kind(content.get("types") or {}, dict, "mix.json: types").items():
    if tree.file_name(key, "mix.json: types") not in known:
      raise DataError(f"mix.json: types names {key!r}; stems: {', '.join(map(tree.clean, stems))}")
    word = tree.clean(tree.of_kind(value, str, f"mix.json: type of {key}"))
    if not word or word.lower() in MIXTURES:
      raise DataError(f"mix.json: {key!r} cannot be of the type {word!r}")
    types[key] = taxonomy.guess_type(word)
  return types

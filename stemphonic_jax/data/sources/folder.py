"""Anybody's stems: a folder for each mix, a file for each stem.

    ROOT/MIX/STEM.wav|flac|aiff|ogg|…   "drums.wav", "gtr 2.flac", "theremin.ogg" (audio/files.py)
    ROOT/MIX/mix.json                   optional: {"caption": …, "genre": …, "bpm": …,
                                        "types": {"theremin.ogg": "synths"}}
    ROOT/MIX/caption.txt                or ANYTHING.caption.txt, where mix.json has no caption

A stem's type is what `types` says, or else what its name means (taxonomy.guess_type). What is a mix
by its name ("mixture", "no_vocals") is left out, unless it has a type in `types`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.audio import files
from stemphonic_jax.data import taxonomy
from stemphonic_jax.data.sources import tree
from stemphonic_jax.data.sources.entries import Catalogue, Entry, Part, gather, named
from stemphonic_jax.errors import MissingError

LICENCE = "not known: the files are their owner's"
FIELDS = {"caption", "genre", "bpm", "types"}
CAPTION = "caption.txt"


def scan(root: Path) -> Catalogue:
  """Every folder in `root` as a mix; MissingError where there is none."""
  found = tree.folders(root)
  loose = [p for p in tree.listing(root) if files.is_audio(p) or files.is_foreign(p)]
  if not found:
    hint = "; is it one mix? then name the folder that it is in" if loose else ""
    raise MissingError(f"{root}: holds no folders; expected {root.name}/MIX/STEM.wav{hint}")
  if loose:
    first = tree.clean(loose[0].name)
    logging.warning("%s: %d files are in no folder of a mix: %s, …", root, len(loose), first)
  return gather("folder", LICENCE, root, found, partial(read, root))


def read(root: Path, folder: Path, name: str) -> Entry:
  """The mix in one folder, of files that lie in `root`.

  MissingError where it has no stems, DataError where its mix.json or caption cannot be read.
  """
  path = folder / "mix.json"
  content = tree.read_json(path, root) if path.exists() or path.is_symlink() else {}
  notes = [f"mix.json: {tree.clean(key)!r} ignored" for key in sorted(content.keys() - FIELDS)]
  text = tree.description(content, "mix.json", notes)
  listing = tree.listing(folder)
  text["caption"] = text["caption"] or _caption(root, listing, notes)
  audio = [path for path in listing if files.is_audio(path) and not path.is_dir()]
  types = _types(content, audio, notes)
  parts = []
  for label, file in _stems(root, audio, types, notes).items():
    kind = types.get(file) or taxonomy.guess_type(label)
    if file not in types and not taxonomy.knows(label):
      known = kind in taxonomy.STEM_TYPES
      notes.append(f"{label}: {'taken as' if known else 'kept as the free type'} {kind}")
    parts.append(Part("", kind, (file,), label))
  notes += tree.foreign(listing)
  below = [path for path in tree.folders(folder) if tree.audio_below(path)]
  if not parts:
    raise MissingError(_no_stems(folder, notes, below))
  notes += [f"{tree.clean(path.name)}: a folder with audio, left out" for path in below]
  return Entry(name, named(parts), **text, notes=tuple(notes))


def _no_stems(folder: Path, notes: list[str], below: list[Path]) -> str:
  """Why there are none, as far as that can be told."""
  if below:
    hint = f"there are folders in it: to prepare them name {folder}, for one of them {below[0]}"
  elif notes:
    hint = "; ".join(notes)
  else:
    hint = f"expected audio files such as drums.wav, ending in {', '.join(files.ENDINGS)}"
  return f"no stems, {hint}"


def _stems(
  root: Path, audio: list[Path], types: dict[Path, str], notes: list[str]
) -> dict[str, Path]:
  """The audio file of each stem by its name without ending; one file where there are several."""
  found: dict[str, Path] = {}
  for path in sorted(audio, key=lambda path: files.ENDINGS.index(path.suffix.lower())):
    label = tree.clean(path.stem)
    if path not in types and taxonomy.is_mix(label):
      notes.append(f"{tree.clean(path.name)}: a mix, left out")
    elif label in found:
      notes.append(f"{tree.clean(path.name)}: left out, {tree.clean(found[label].name)} is it")
    else:
      found[label] = tree.inside(path, root)
  return dict(sorted(found.items()))


def _types(content: dict[str, Any], audio: list[Path], notes: list[str]) -> dict[Path, str]:
  """`types` of mix.json; its keys are files of this mix, with their ending or without.

  Names may be composed in one and not in the other, as macOS leaves them; both are compared clean.
  """
  given = content.get("types") or {}
  if not isinstance(given, dict):
    notes.append(f"mix.json: types is a {type(given).__name__}, expected a dict; left out")
    return {}
  types = {}
  for key, value in given.items():
    name, word = tree.clean(key), tree.clean(value) if isinstance(value, str) else ""
    named_so = [path for path in audio if name in (tree.clean(path.name), tree.clean(path.stem))]
    if not named_so:
      notes.append(f"mix.json: types names {name!r}, which is not there")
    elif not word or taxonomy.is_mix(word):
      said = tree.clean(repr(word or value))[:40]
      notes.append(f"mix.json: {name!r} cannot be of the type {said}; its name counts")
    else:
      types |= dict.fromkeys(named_so, taxonomy.guess_type(word))
  return types


def _caption(root: Path, listing: list[Path], notes: list[str]) -> str:
  """The caption in a text file of the folder; "" where there is none, or it is not clear which."""
  found = [path for path in listing if path.name.lower().endswith(CAPTION)]
  if len(found) > 1:
    names = ", ".join(tree.clean(path.name) for path in found)
    notes.append(f"{names}: {len(found)} captions of one mix, left out")
  return tree.clean(tree.read_text(found[0], root)) if len(found) == 1 else ""

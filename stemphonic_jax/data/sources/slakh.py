"""Slakh2100: MIDI files played by sampled instruments, mono, with the one tempo that is exact.

    ROOT/train|validation|test/TRACK/metadata.yaml, all_src.mid, stems/S00.flac (and mix.flac)

BabySlakh, twenty tracks in WAV without those three folders, is read as well. Tracks in `omitted`
occur elsewhere in the set and are skipped; the other duplicates are for slakh-utils to sort out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.data import taxonomy
from stemphonic_jax.data.sources import midi, tree
from stemphonic_jax.data.sources.entries import Catalogue, Entry, Part, gather, named
from stemphonic_jax.data.stems import BPM_RANGE
from stemphonic_jax.errors import DataError, MissingError

LICENCE = "Slakh2100: CC BY 4.0 as published; check yourself"
SPLITS = {"train": "train", "validation": "valid", "test": "test"}

# The classes of General MIDI, whose spelling varies in case only.
TYPE_OF_CLASS = {
  "drums": "drums",
  "bass": "basses",
  "guitar": "guitars",
  "piano": "keys",
  "organ": "keys",
  "chromatic percussion": "percussion",
  "percussive": "percussion",
  "strings": "strings",
  "strings (continued)": "strings",
  "ensemble": "strings",
  "brass": "winds",
  "reed": "winds",
  "pipe": "winds",
  "synth lead": "synths",
  "synth pad": "synths",
  "synth effects": "synths",
  "sound effects": "SFX",
  "ethnic": "guitars",
}
# Programs that are something else than most of their class.
TYPE_OF_PROGRAM = {
  "choir aahs": "synth-vocals",
  "voice oohs": "synth-vocals",
  "synth voice": "synth-vocals",
  "timpani": "percussion",
  "kalimba": "percussion",
  "bag pipe": "winds",
  "shanai": "winds",
  "fiddle": "strings",
}


def scan(root: Path) -> Catalogue:
  """The tracks of all splits; MissingError where there are none, or mido or PyYAML is.

  A stem without a file is left out with a note; a track whose metadata are malformed is rejected.
  """
  try:
    import mido  # noqa: F401
    import yaml  # noqa: F401
  except ImportError as error:
    raise MissingError(
      f'slakh: reading it needs {error.name}: pip install "stemphonic-jax[datasets]"'
    ) from None
  base = tree.base(root, lambda base: bool(_tracks(base)))
  if base is None:
    raise MissingError(
      f"{root}: not Slakh2100; expected train/, validation/ and test/ with Track00001/metadata.yaml"
      f" and so on, as in slakh2100_flac_redux.tar.gz of https://zenodo.org/records/4599666"
    )
  if (base / "omitted").is_dir():
    logging.info("slakh: skipped %s", base / "omitted")
  return gather("slakh", LICENCE, root, _tracks(base), partial(_read, root))


def _read(root: Path, folder: Path, name: str) -> Entry:
  parts, notes = [], []
  for stem, details in sorted(_stems(folder / "metadata.yaml", root).items()):
    files = [folder / "stems" / f"{stem}{suffix}" for suffix in (".flac", ".wav")]
    file = next((file for file in files if file.exists()), None)
    rendered = details.get("audio_rendered") is not False
    if file is None:
      notes.append(f"{stem}: {'no audio' if rendered else 'never rendered'}, left out")
      continue
    if not rendered:  # all of BabySlakh says so
      notes.append(f"{stem}: said not to be rendered, but it is there")
    label = _text(details, "midi_program_name")
    kind = _type(details, label)
    if kind not in taxonomy.STEM_TYPES:
      notes.append(f"{stem}: kept as the free type {kind}")
    parts.append(Part("", kind, (tree.inside(file, root),), label))
  if not parts:
    raise DataError("metadata.yaml: no stem has audio")
  bpm = _tempo(folder / "all_src.mid", root, notes)
  split = SPLITS.get(folder.parent.name, "")
  return Entry(name, named(parts), bpm=bpm, split=split, notes=tuple(notes))


def _tracks(base: Path) -> list[Path]:
  """The folders of tracks in the three splits, or those in `base` itself."""
  found = [base / split for split in SPLITS if (base / split).is_dir()] or [base]
  return [p for part in found for p in tree.folders(part) if p.name.startswith("Track")]


def _stems(path: Path, root: Path) -> dict[str, dict[str, Any]]:
  import yaml

  try:
    content = yaml.safe_load(tree.read_text(path, root))
  except (yaml.YAMLError, ValueError, RecursionError) as error:
    reason = str(error) or type(error).__name__
    raise DataError(f"metadata.yaml: malformed YAML ({reason})") from None
  content = tree.of_kind(content, dict, "metadata.yaml")
  stems = tree.of_kind(content.get("stems"), dict, "metadata.yaml: stems")
  for stem, details in stems.items():
    tree.file_name(tree.of_kind(stem, str, "metadata.yaml: a stem's name"), "metadata.yaml: stems")
    tree.of_kind(details, dict, f"metadata.yaml: {stem}")
  return stems


def _type(details: dict[str, Any], label: str) -> str:
  if details.get("is_drum") is True:
    return "drums"
  name = _text(details, "inst_class").lower()
  return TYPE_OF_PROGRAM.get(label.lower()) or TYPE_OF_CLASS.get(name) or taxonomy.guess_type(name)


def _text(details: dict[str, Any], key: str) -> str:
  value = details.get(key)  # not str(value): YAML's aliases can make it larger than memory
  return tree.clean(value) if isinstance(value, str) else ""


def _tempo(path: Path, root: Path, notes: list[str]) -> float | None:
  try:
    bpm = midi.main_tempo(tree.inside(path, root))
  except DataError as error:
    notes.append(f"no tempo: {tree.clean(str(error))}")
    return None
  if bpm is None or not BPM_RANGE[0] <= bpm <= BPM_RANGE[1]:
    notes.append(f"no tempo: all_src.mid says {'none' if bpm is None else f'{bpm:g}'}")
    return None
  return bpm

"""What a source finds on disk, before any audio is read: a catalogue of mixes and their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stemphonic_jax.data.sources import tree
from stemphonic_jax.errors import DataError, MissingError

MAX_REASON = 400  # characters; reasons and notes quote what they found, which may be of any length


@dataclass(frozen=True)
class Part:
  """One stem on disk: its files, which are summed, or one stream of a file.

  `name` is unique in its mix ("guitars", "guitars 2"), `type` one of taxonomy.py or a free one in
  lower case, `label` what the set itself calls it ("grand piano"); `bleed` says that other
  instruments are heard in it; `stream` counts from 0 in a `.stem.mp4`.
  """

  name: str
  type: str
  files: tuple[Path, ...]
  label: str = ""
  bleed: bool = False
  stream: int | None = None


@dataclass(frozen=True)
class Entry:
  """One mix on disk, not yet read.

  `id` is unique in its catalogue; caption and genre are "" and bpm is None where the set gives
  none; `split` is "train", "valid", "test" or ""; `notes` say what was left out or guessed; of a
  `ragged` one the stems may end anywhere.
  """

  id: str
  parts: tuple[Part, ...]
  caption: str = ""
  genre: str = ""
  bpm: float | None = None
  split: str = ""
  notes: tuple[str, ...] = ()
  ragged: bool = False


@dataclass(frozen=True)
class Catalogue:
  """All mixes of a set, the licence of its audio, and why others were rejected, by id."""

  source: str
  licence: str
  entries: tuple[Entry, ...]
  rejected: Mapping[str, str]


def gather(
  source: str,
  licence: str,
  root: Path,
  paths: Iterable[Path],
  read: Callable[[Path, str], Entry],
) -> Catalogue:
  """Reads what each path of a set describes; one that raises DataError or MissingError is
  rejected, no more.

  `read` takes a path and the id of its mix.
  """
  entries: dict[str, Entry] = {}
  rejected: dict[str, str] = {}
  for path in paths:
    name = tree.mix_id(path, root)
    if name in entries or name in rejected:  # spelled alike, but in other bytes
      name = tree.hashed(name, os.fsencode(path.relative_to(root)))
    reason = ""
    try:
      if not tree.leads_inside(path, root):
        raise DataError(f"leads out of {root}; copy what it links to")
      entry = read(path, name)
      entries[name] = replace(entry, notes=tuple(note[:MAX_REASON] for note in entry.notes))
    except (DataError, MissingError) as error:
      reason = str(error)
    except OSError as error:
      reason = f"cannot be read ({error.strerror or error})"
    if reason:
      rejected[name] = tree.clean(reason)[:MAX_REASON]
  return Catalogue(source, licence, tuple(entries.values()), rejected)


def named(parts: Iterable[Part]) -> tuple[Part, ...]:
  """The parts, each with a name made of its type: "guitars", "guitars 2"."""
  names: dict[str, Part] = {}
  for part in parts:
    name, number = part.type, 1
    while name in names:
      number += 1
      name = f"{part.type} {number}"
    names[name] = replace(part, name=name)
  return tuple(names.values())

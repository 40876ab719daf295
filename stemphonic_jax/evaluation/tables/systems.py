"""Songs that any other system made, as folders of stems, measured like a model's of ours.

    DIR/SONG/STEM.wav                   as `prepare folder` reads a mix (data/sources/folder.py)
    DIR/SONG/mix.json, caption.txt      the text and tempo that it was asked for with; or song.json,
                                        which `generate` writes

Each DIR is a row, by its name. What a song was asked for is needed for key, tempo and CLAP alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.audio.folders import if_file
from stemphonic_jax.data.bar import bar
from stemphonic_jax.data.sources import folder, tree
from stemphonic_jax.data.sources.entries import Entry
from stemphonic_jax.data.sources.reader import read_entry
from stemphonic_jax.data.stems import BPM_RANGE, Mix
from stemphonic_jax.errors import DataError, MissingError, StemphonicError, UsageError
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.kept import Cell
from stemphonic_jax.evaluation.listeners.ears import Ears, Listener
from stemphonic_jax.evaluation.measures import metrics
from stemphonic_jax.evaluation.measures.metrics import METRICS
from stemphonic_jax.evaluation.shown.sheet import Line, Sheet
from stemphonic_jax.evaluation.songs import ablation, corpus
from stemphonic_jax.evaluation.songs.ablation import Pieces
from stemphonic_jax.evaluation.tables import basis
from stemphonic_jax.evaluation.tables.basis import Measured, Options
from stemphonic_jax.generation.song_folder import INFO

RATE = 44_100  # Hz, at which songs are read
LEAST = 1.0  # seconds of a song
APART = 1.0  # seconds by which the stems of a song may end apart
SHOWN = tuple(name for name in METRICS if name != "activity")  # which nobody is known to have asked


@dataclass(frozen=True, eq=False)
class System:
  """The songs of a folder, read when they are asked for, and how long each is, in samples."""

  name: str
  root: Path
  entries: Sequence[Entry]
  lengths: Sequence[int]

  def read(self, place: int, samples: int) -> Mix:
    """The beginning of a song."""
    mix = _read(self.entries[place])
    return told(replace(mix.crop(0, samples), id=f"{self.name}/{mix.id}"), self.root / mix.id)


def measure(
  folders: Sequence[Path],
  out: Path,
  options: Options,
  listeners: Sequence[Listener] = (),
  count: int | None = None,
) -> Measured:
  """One sheet with a row for each folder beside real pieces, shuffled stems and noise.

  Songs are cut to `options.seconds`, or to the shortest of all; shorter ones are left out, and the
  log says so. With `count`, so many songs of each are measured and as many real ones; without it
  all, and as many real ones as the largest folder has. MissingError and DataError where a folder
  has no songs.
  """
  kept.begin(out)
  systems = [opened(path, name) for name, path in _names(folders).items()]
  if options.seconds:
    seconds = options.seconds
  else:  # in whole hundredths, that a table can say
    shortest = min(length for system in systems for length in system.lengths)
    seconds = shortest * 100 // RATE / 100
  samples = round(seconds * RATE)
  chosen = {system.name: _long_enough(system, samples)[:count] for system in systems}
  options = replace(options, songs=count or max(map(len, chosen.values())))
  mixes = basis.mixes(out, options, seconds, RATE)
  ears = Ears(out, listeners)
  real = ablation.pieces(mixes, {None: options.songs}, options.reference, options.seed, ears)
  lines = []
  for system in systems:
    cell = _cell(out, heard(system, chosen[system.name], samples, ears), real[None])
    lines.append(Line(system.name, (system.name,), cell.scores, models={system.name: cell}))
  kinds = ablation.baselines(out, real[None], options.seed)
  lines += [Line(n, (n,), cell.scores, detail=cell.detail) for n, cell in kinds.items()]
  note = (
    f"Songs of {', '.join(f'{s.name} ({len(chosen[s.name])})' for s in systems)}, each cut to"
    f" {seconds:g} s, beside {basis.measured_on(real, seconds, options)} {ears.note}"
  ).strip()
  about = basis.about({}, basis.ids(real), seconds, options) | {
    "songs": {s.name: [s.entries[place].id for place in chosen[s.name]] for s in systems}
  }
  shown = SHOWN + ears.metrics
  sheet = Sheet("systems", "Songs of other systems", note, ("Songs",), shown, lines, about)
  return Measured([sheet], {}, mixes[0], basis.counts(real))


def opened(path: Path, name: str) -> System:
  """The songs of a folder, of which all are read once; the log names those that cannot be.

  MissingError where there is no such folder, or none in it; DataError where none can be read.
  """
  if not path.is_dir():
    expected = if_file(path) or f"; expected {path.name}/SONG/STEM.wav"
    raise MissingError(f"{path}: no such folder of songs{expected}")
  catalogue = folder.scan(path)
  bad = dict(catalogue.rejected)

  def length(entry: Entry) -> int:
    try:
      return _read(entry).samples
    except StemphonicError as error:
      bad[entry.id] = str(error)
      return 0

  looks = corpus.in_threads(length, catalogue.entries)
  lengths = list(bar(looks, name, len(catalogue.entries), "songs"))
  for song, reason in sorted(bad.items()):
    logging.warning("%s: %s is left out: %s", path, song, reason)
  good = [place for place, samples in enumerate(lengths) if samples]
  if not good:
    first = next(iter(sorted(bad.items())), ("", "it is empty"))
    raise DataError(f"{path}: no song in it can be read; the first, {first[0]}: {first[1]}")
  entries = [catalogue.entries[place] for place in good]
  return System(name, path, entries, [lengths[place] for place in good])


def heard(system: System, places: Sequence[int], samples: int, ears: Ears) -> list[SongFeatures]:
  """What is heard in songs of a system, a few of which are in memory at a time."""

  def listen() -> Iterator[SongFeatures]:
    return corpus.in_threads(lambda place: ears.listen(system.read(place, samples)), places)

  return list(bar(listen(), system.name, len(places), "songs"))


def told(mix: Mix, place: Path) -> Mix:
  """A mix with the prompt and tempo of a song.json in its folder, where nothing else says them."""
  if not (place / INFO).is_file():
    return mix
  request = tree.read_json(place / INFO, place.parent).get("request")
  asked: dict[str, Any] = request if isinstance(request, dict) else {}
  prompt, bpm = asked.get("prompt"), asked.get("bpm")
  fits = isinstance(bpm, int | float) and BPM_RANGE[0] <= bpm <= BPM_RANGE[1]
  caption = prompt if isinstance(prompt, str) else ""
  return replace(mix, caption=mix.caption or caption, bpm=mix.bpm or (bpm if fits else None))


def _cell(out: Path, found: Sequence[SongFeatures], real: Pieces) -> Cell:
  key = {
    "songs_from": kept.digest_of(found),
    "heard": [song.heard for song in found],
    "pieces": real.stamp,
  }
  cell = kept.cell(out, key, lambda: Cell(metrics.measure(found, real.reference)))
  return ablation.judged(out, key, cell, lambda: found, real)


def _read(entry: Entry) -> Mix:
  mix, _ = read_entry(entry, RATE, tolerance=APART, min_seconds=LEAST)
  return mix


def _long_enough(system: System, samples: int) -> list[int]:
  """The places of songs of so many samples; DataError where there is none."""
  places = [place for place, length in enumerate(system.lengths) if length >= samples]
  if not places:
    raise DataError(
      f"{system.root}: no song of {samples / RATE:g} s or more; choose less --seconds"
    )
  if left := len(system.lengths) - len(places):
    logging.warning(
      "%s: %d songs are left out, which are shorter than %g s", system.root, left, samples / RATE
    )
  return places


def _names(folders: Sequence[Path]) -> dict[str, Path]:
  """Folders by their names, or by their paths where two are called alike."""
  absolute = [path.resolve() for path in folders]
  if len(set(absolute)) < len(absolute):
    raise UsageError("--songs-from: names a folder twice; expected different ones")
  names = [path.name for path in absolute]
  alike = len(set(names)) < len(names)
  return {
    (str(path) if alike else place.name): path
    for path, place in zip(folders, absolute, strict=True)
  }

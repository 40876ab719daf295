"""The mixes of a run: composed by rule, or read from a data set after checking all of it."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from stemphonic_jax.audio.lengths import whole_times
from stemphonic_jax.data.preparing.captions import check_ids, read_captions
from stemphonic_jax.data.preparing.check import Rules, check, is_checked, refuse_bad
from stemphonic_jax.data.preparing.report import write_report
from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.sources.catalogue import Catalogue, Entry, check_root, scan
from stemphonic_jax.data.sources.reader import read_entry
from stemphonic_jax.data.sources.window import read_window
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.data.taxonomy import MIX, STEM_TYPES
from stemphonic_jax.errors import DataError, UsageError

PARTS = ("train", "held_out")
CROPS = 4  # times the length of a crop is read at once, to cut it out of anywhere
# Seconds that composed pieces are longer than a segment, which is cut out of them anywhere: four
# bars. With less, sections would begin at places that the tempo alone tells.
SPARE = 16.0
# Number of the first piece that is held out, whatever number of them is trained on.
HELD_OUT = 900_000


@dataclass(frozen=True, eq=False)
class Checked(Sequence):
  """The mixes that a check has taken, read when they are asked for, with what it found of them."""

  entries: Sequence[Entry]
  rows: Sequence[Mapping[str, Any]]
  rules: Rules

  def __len__(self) -> int:
    return len(self.entries)

  def __getitem__(self, index: int) -> Mix:
    row, rules = self.rows[index], self.rules
    mix, _ = read_entry(
      self.entries[index], rules.rate, tolerance=rules.tolerance, min_seconds=rules.min_seconds
    )
    return replace(mix, caption=row["caption"], bpm=row["bpm"])


@dataclass(frozen=True, eq=False)
class Windows(Sequence):
  """Stretches of checked mixes, `seconds` each, side by side; only what is asked for is read."""

  mixes: Checked
  seconds: float

  @functools.cached_property
  def _places(self) -> list[tuple[int, int]]:
    """(mix, window) of each; what is shorter than a window, or left of a mix, is not one."""
    rate = self.mixes.rules.rate
    counts = [whole_times(row["seconds"], self.seconds, rate) for row in self.mixes.rows]
    return [(i, k) for i, count in enumerate(counts) for k in range(count)]

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, index: int) -> Mix:
    number, window = self._places[index]
    mixes = self.mixes
    types, rate = mixes.rows[number]["types"], mixes.rules.rate
    return read_window(mixes.entries[number], types, rate, window * self.seconds, self.seconds)


@dataclass(frozen=True)
class Corpora:
  """Mixes by use ("train", "held_out" and, where a set has one, "test"), and their licence."""

  parts: Mapping[str, Sequence[Mix]]
  licence: str
  free_types: Sequence[str]  # those of stems that are none of the eleven
  edition: demo.Edition | None = None  # of composed pieces

  @property
  def composed(self) -> bool:
    """Whether one segment comes out of each piece, else all there are."""
    return self.edition is not None


def check_set(config: ConfigDict) -> None:
  """UsageError or MissingError where the set of `config.data` is none, or none that is there."""
  d = config.data
  if d.soundfont and d.source != "demo":
    raise UsageError(f"data.soundfont: plays the demo corpus, and data.source is {d.source!r}")
  if d.source == "demo":
    edition_of(config)
  else:
    check_root(d.source, d.root)


def open_corpora(config: ConfigDict, folder: Path, hop: int) -> Corpora:
  """The mixes of `config.data`; a check of what is on disk leaves its report in `folder`.

  DataError, after the report, where too many mixes are bad.
  """
  check_set(config)
  d = config.data
  if d.source == "demo":
    seconds, edition = config.seconds + SPARE, edition_of(config)
    numbers = {"train": (0, d.pieces), "held_out": (HELD_OUT, d.held_out)}
    parts = {
      name: demo.Corpus(
        config.seed, count, seconds, config.sample_rate, first=first, edition=edition
      )
      for name, (first, count) in numbers.items()
      if count
    }
    licence = "CC0-1.0"
    if d.soundfont:
      licence += f"; played by {Path(d.soundfont).name} under its own licence"
    return Corpora(parts, licence, [], edition)
  rules = Rules(config.sample_rate, hop, d.tolerance, estimate_tempo=d.estimate_tempo)
  return checked(
    scan(d.source, d.root),
    folder,
    rules,
    captions=Path(d.captions) if d.captions else None,
    held_out=d.held_out,
    max_bad=d.max_bad,
    processes=d.processes,
  )


def edition_of(config: ConfigDict) -> demo.Edition:
  """The edition of the demo corpus that a config is for; errors are those of Edition.check."""
  d = config.data
  return demo.Edition(d.corpus, d.soundfont, d.soundfont_share).check(config.sample_rate)


def waveforms(config: ConfigDict, folder: Path, hop: int) -> tuple[Sequence[Mix], Sequence[Mix]]:
  """Stretches of mixes to cut crops from, to train an autoencoder on and two or more to test it."""
  d, count = config.data, config.train_vae.pieces
  if d.source == "demo":
    edition = edition_of(config)
    logging.info("composing %d pieces to cut crops from", count)
    make = functools.partial(
      demo.Corpus,
      config.seed,
      seconds=config.seconds,
      rate=config.sample_rate,
      edition=edition,
    )
    return list(make(count)), list(make(2, first=HELD_OUT))
  parts = open_corpora(config, folder, hop).parts
  seconds = CROPS * config.train_vae.samples / config.sample_rate
  train, unseen = (Windows(parts.get(name, parts["train"]), seconds) for name in PARTS)
  if not len(train) or not len(unseen):
    raise DataError(f"{d.root}: no mix of {seconds:.1f} s or more to train the autoencoder on")
  return train, [unseen[i] for i in range(min(2, len(unseen)))]


def checked(
  catalogue: Catalogue,
  folder: Path,
  rules: Rules,
  *,
  captions: Path | None = None,
  held_out: int,
  max_bad: float,
  processes: int = 0,
  evaluate: bool = False,
  alone: bool = True,
) -> Corpora:
  """The mixes of a catalogue that are fit for use; see `open_corpora`.

  To `evaluate` on a set, all of it is its test part. UsageError for numbers out of range, or where
  others do the same, so that this is not `alone`, and the set is not checked yet.
  """
  if not 0 <= max_bad <= 1:  # nor is NaN
    raise UsageError(f"max_bad: got {max_bad}, expected a share from 0 to 1")
  if held_out < 0:
    raise UsageError(f"held_out: got {held_out}, expected a number of mixes from 0 on")
  spoken = read_captions(captions) if captions else {}
  if captions:
    check_ids(captions, spoken, [*(entry.id for entry in catalogue.entries), *catalogue.rejected])
  if not alone and not is_checked(catalogue, folder, rules, spoken):
    raise UsageError(
      f"{folder}: has no report of this set with these settings yet; check it once, on one host,"
      f" with --check-only"
    )
  rows = check(catalogue, folder, rules, spoken, processes)
  logging.info("%s", write_report(folder, catalogue, rows))
  refuse_bad(rows, folder, max_bad)
  entries = {entry.id: entry for entry in catalogue.entries}
  taken = [row for row in rows if row["taken"]]
  parts = {
    name: Checked([entries[row["id"]] for row in chosen], chosen, rules)
    for name, chosen in ({"test": taken} if evaluate else split(taken, held_out)).items()
  }
  types = {kind for row in taken for kind in row["types"].values()}
  free = sorted(types - {*STEM_TYPES, MIX})
  return Corpora(parts, catalogue.licence, free)


def split(rows: Sequence[Mapping[str, Any]], held_out: int) -> dict[str, list[Mapping[str, Any]]]:
  """Rows by use: as the set is split or, where it has no validation part, by a hash of their ids.

  So `held_out` mixes, at most a tenth, are hardly others when mixes are added; with 0 all are to
  train on. DataError where there are too few to train and, if so, to measure on.
  """
  parts = {"train": [], "held_out": [], "test": []}
  for row in rows:
    parts[{"valid": "held_out", "test": "test"}.get(row["split"], "train")].append(row)
  if held_out and not parts["held_out"]:
    count = min(held_out, max(1, len(parts["train"]) // 10))
    ranked = sorted(parts["train"], key=lambda r: hashlib.sha256(r["id"].encode()).digest())
    chosen = {row["id"] for row in ranked[:count]}
    parts["held_out"] = [row for row in parts["train"] if row["id"] in chosen]
    parts["train"] = [row for row in parts["train"] if row["id"] not in chosen]
  if not parts["train"] or (held_out and not parts["held_out"]):
    raise DataError(
      f"{len(rows)} usable mixes are too few: expected at least one to train on and one to measure"
      f" on; add mixes, or hold none out (--held-out 0, data.held_out=0)"
    )
  return {name: chosen for name, chosen in parts.items() if chosen}

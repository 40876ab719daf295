"""Edits of a model: a range of a stem made anew among the others, beside the stem as it was.

Of each piece one pitched stem is hidden in the middle half, and made again. What is heard is that
range alone, all stems together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.evaluation.features import SongFeatures, cut
from stemphonic_jax.evaluation.kept import Cell
from stemphonic_jax.evaluation.listeners.ears import Ears
from stemphonic_jax.evaluation.measures.harmony import UNPITCHED, chords, harmony
from stemphonic_jax.evaluation.measures.synchrony import synchrony
from stemphonic_jax.evaluation.scores import Score
from stemphonic_jax.evaluation.shown.sheet import Line, Sheet
from stemphonic_jax.evaluation.tables import remade
from stemphonic_jax.evaluation.tables.basis import Measured, Options
from stemphonic_jax.evaluation.tables.remade import Make, Shuffled, matches, target
from stemphonic_jax.generation.pipeline import StemPipeline

MEASURES = {"synchrony": synchrony, "harmony": harmony, "chords": chords}
NOTE = (
  "One pitched stem of each piece is hidden in the middle half, and made again among the others;"
  " measured is that range of all stems. Whole: the stem was made again from end to end. Shuffled:"
  " the stem is that of another piece, of the same type."
)


def measure(path: Path, out: Path, options: Options) -> Measured:
  """The sheet of a model; errors are those of `paper.one_model`."""
  ears = Ears(out)
  of = remade.setting(__name__, path, out, options, ears, pitched_last, "with two pitched stems")
  real = remade.heard(of.pieces, ears, "real pieces")
  rows: dict[str, Sequence[SongFeatures | None]] = {
    "repaired": remade.anew(of, "repair", repaired(whole=False)),
    "whole": remade.anew(of, "make again", repaired(whole=True)),
    "real": real,
    "shuffled": remade.heard(Shuffled(of.pieces, matches(real)), ears, "shuffled"),
  }
  lines = []
  for name, songs in rows.items():
    cell = Cell(scored([middle(song, of.seconds) for song in songs if song]))
    models = {of.model.name: cell} if name in ("repaired", "whole") else {}
    lines.append(Line(name, (name,), cell.scores, models=models))
  title = "Repairs. A range of a stem made again"
  note = f"{NOTE} {of.said}"
  sheet = Sheet("repairs", title, note, ("Stems",), tuple(MEASURES), lines, of.about)
  return Measured([sheet], {}, of.pieces, {None: len(of.pieces)})


def scored(songs: Sequence[SongFeatures]) -> Mapping[str, Score]:
  """How stems fit, which is what a repair can spoil."""
  return {name: of(songs) for name, of in MEASURES.items()}


def pitched_last(mix: Mix, place: int) -> Mix | None:
  """The piece with one of its pitched stems last, which is to be made; None below two of them."""
  pitched = [name for name, stem in mix.stems.items() if stem.type not in UNPITCHED]
  if len(pitched) < 2:
    return None
  last = pitched[place % len(pitched)]
  others = {name: stem for name, stem in mix.stems.items() if name != last}
  return replace(mix, stems=others | {last: mix.stems[last]})


def middle(song: SongFeatures, seconds: float) -> SongFeatures:
  """The half of a song that is hidden, between its first and its last quarter."""
  return cut(song, seconds / 4, seconds / 2)


def repaired(whole: bool) -> Make:
  """What hides the middle of a piece's last stem, or all of it, and makes it again."""

  def make(pipe: StemPipeline, mix: Mix, seed: int) -> Mix:
    song, name = remade.as_song(pipe, mix), target(mix)
    quarter, frame = mix.samples / 4, pipe.hop
    edges = math.floor(quarter / frame), math.ceil(3 * quarter / frame)
    hidden = None if whole else [edge * frame / pipe.rate for edge in edges]
    made = pipe.again(song, [name], range=hidden, seed=seed).stems[name]
    return replace(mix, stems=mix.stems | {name: Stem(mix.stems[name].type, made)})

  return make

"""Table 3 of StemGen: a stem that is made to a context, by FAD of the stem and MIRDD of the two.

As in the paper (Sec. 3.2) populations are compared, not pairs: stems made to contexts with the real
stems of the same contexts. The context is some of a piece's other stems, drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stemphonic_jax.data.stems import Mix
from stemphonic_jax.evaluation.distances.cepstra import stem_distance
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.kept import Cell
from stemphonic_jax.evaluation.listeners import descriptors, music
from stemphonic_jax.evaluation.listeners.ears import Ears, Listener
from stemphonic_jax.evaluation.scores import Score
from stemphonic_jax.evaluation.shown.sheet import Line, Sheet
from stemphonic_jax.evaluation.tables import published, remade
from stemphonic_jax.evaluation.tables.basis import Measured, Options
from stemphonic_jax.evaluation.tables.remade import Shuffled, matches, target

STEM = "stem"  # the type of all: populations are of every type together
NOTE = (
  "A stem of each piece is made to some of the others, by the text, its type and these; the FAD of"
  " stems is over all types together, MIRDD is of stem and context. Real: of other pieces."
  " Shuffled: the stem of another piece, of the same type."
)


def measure(
  path: Path, out: Path, options: Options, listeners: Sequence[Listener] = ()
) -> Measured:
  """The sheet of a model; errors are those of `paper.one_model`."""
  hears = music.listener()
  judges = [one for one in listeners if f"{one.name}_fad_stem" in one.metrics]
  ears = Ears(out, [*judges, hears])
  choose = functools.partial(pair, options.seed)
  of = remade.setting(__name__, path, out, options, ears, choose, "of two stems or more")
  real = remade.heard(of.pieces, ears, "real pieces")
  one = remade.to_the_others(lambda mix: [target(mix)])
  made = [song for song in remade.anew(of, "accompany one", one) if song]
  rows = {
    "generated": made,
    "real": remade.heard(of.others, ears, "other pieces"),
    "shuffled": remade.heard(Shuffled(of.pieces, matches(real)), ears, "shuffled"),
  }
  shown = ("fad_stem", *(f"{one.name}_{n}" for one in judges for n in ("fad_stem", "kad_stem")))
  lines = []
  for name, songs in rows.items():
    cell = _cell(ears, judges, hears, songs, real)
    models = {of.model.name: cell} if name == "generated" else {}
    lines.append(Line(name, (name,), cell.scores, models=models, detail=cell.detail))
  theirs = published.stemgen(options.source, 1)
  note = f"{NOTE} {of.said} {ears.note}" + f" {published.STEMGEN_NOTE}" * bool(theirs)
  title = "StemGen, Table 3. A stem to a context"
  sheet = Sheet("stemgen", title, note, ("Stems",), (*shown, "mirdd"), lines + theirs, of.about)
  return Measured([sheet], {}, of.pieces, {None: len(of.pieces)})


def pair(seed: int, mix: Mix, place: int) -> Mix:
  """Some stems of a piece, and last of all one of the others, which is to be made."""
  rng = np.random.default_rng([seed, place, 1])
  last, *others = rng.permutation(list(mix.stems)).tolist()
  given = others[: rng.integers(1, len(others) + 1)]
  return replace(mix, stems={name: mix.stems[name] for name in (*given, last)})


def _cell(
  ears: Ears,
  judges: Sequence[Listener],
  hears: Listener,
  songs: Sequence[SongFeatures],
  real: Sequence[SongFeatures],
) -> Cell:
  sides = [[_alone(song) for song in some] for some in (songs, real)]
  scores: dict[str, Score] = {"fad_stem": stem_distance(*sides)}
  detail = {}
  for judge in judges:
    found, more = ears.scored(judge, *sides)
    scores |= {name: score for name, score in found.items() if name.endswith("_stem")}
    detail |= {name: part for name, part in more.items() if name.endswith("_stem")}
  recall = ears.recall(hears)
  whole = (music.recalled(some, recall) for some in (songs, real))
  scores["mirdd"], detail["mirdd"] = descriptors.distances(*whole)
  return Cell(scores, detail=detail)


def _alone(song: SongFeatures) -> SongFeatures:
  """The song of its last stem."""
  stem = song.stems[target(song)]
  return replace(song, stems={STEM: replace(stem, type=STEM)}, heard="")

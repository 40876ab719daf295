"""Tables 1 to 3 of the paper in its layout, one of stems that hear each other, and one model's own
figures, by weights-free metrics.

    stemphonic evaluate --table 1 --models runs     runs/a_0, runs/a_1, … runs/b_0, … runs/c_0, …
    stemphonic evaluate --model runs/demo           one model beside real pieces, shuffled and noise

What they look like is in sheet.py, for a page to listen to in report.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.data.stems import Mix
from stemphonic_jax.errors import UsageError
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.kept import Cell
from stemphonic_jax.evaluation.listeners.ears import Ears, Listener
from stemphonic_jax.evaluation.measures.metrics import LABELS, METRICS
from stemphonic_jax.evaluation.shown import seeds
from stemphonic_jax.evaluation.shown.sheet import NONE, Line, Sheet
from stemphonic_jax.evaluation.songs import ablation, trained
from stemphonic_jax.evaluation.songs.ablation import Pieces, Run
from stemphonic_jax.evaluation.songs.trained import Model
from stemphonic_jax.evaluation.tables import basis, published
from stemphonic_jax.evaluation.tables.basis import Measured, Options
from stemphonic_jax.generation.pipeline import StemPipeline

YES, NO = "✓", "✗"
FREE = tuple(name for name in METRICS if name != "activity")  # of what was asked besides the prompt
ALONE = ("key", "identity", "tempo", "tempo_octave", "fad_stem")  # not of how stems fit
MIXED = tuple(name for name in FREE if name not in ALONE)  # as in Table 2
PAIRED = ("synchrony", "harmony", "chords")
STEMS = (3, 4, 5, 6)  # K of Table 2


@dataclass(frozen=True)
class Row:
  """A row of a table: what it says of the setting, which models it asks, and how."""

  columns: tuple[str, ...]
  trained: str
  run: Run
  note: str = ""  # that tells it from others of its setting, outside of the table
  optional: bool = False  # left out where no model of its setting is there

  @property
  def label(self) -> str:
    return self.columns[0] + self.note


@dataclass(frozen=True)
class Table:
  """A table before it is measured."""

  title: str
  columns: tuple[str, ...]
  rows: tuple[Row, ...]
  differences: tuple[tuple[int, int], ...]  # rows, the second of which is taken from the first
  metrics: tuple[str, ...]
  note: str
  timed: bool = False  # whether seconds per song are a column


TABLES = {
  "1": Table(
    "Table 1. Stem grouping and noise sharing",
    ("Setting", "Train: stem grp.", "Train: noise share", "Infer.: noise share"),
    (
      Row(("A-(i)", NO, NO, NO), "a", Run(share_noise=False)),
      Row(("A-(ii)", NO, NO, YES), "a", Run()),
      Row(("B-(i)", YES, NO, NO), "b", Run(share_noise=False)),
      Row(("B-(ii)", YES, NO, YES), "b", Run()),
      Row(("C-(i)*", YES, YES, NO), "c", Run(share_noise=False)),
      Row(("C-(ii)", YES, YES, YES), "c", Run()),
    ),
    ((3, 1), (5, 3), (5, 1)),
    FREE,
    "All stems of a piece in one pass. * is not in the paper.",
  ),
  "2": Table(
    "Table 2. Passes, and what they cost",
    ("K", "Setting", "Infer. passes"),
    (
      Row(("A-(i)", "K"), "a", Run(share_noise=False, passes="K"), ", K passes"),
      Row(("C-(ii)", "2"), "c", Run(passes=2), ", 2 passes"),
      Row(("C-(ii)", "1"), "c", Run(), ", 1 pass"),
    ),
    ((1, 0), (2, 0)),
    MIXED,
    "K stems of a piece. Seconds are those of a song in a warm process, its first call left out.",
    timed=True,
  ),
  "3": Table(
    "Table 3. Stem activity control",
    ("Setting", "Train: act. ctrl", "Infer.: act. ctrl"),
    (
      Row(("C-(ii)", NO, NO), "c", Run()),
      Row(("C-(ii) +Act", YES, NO), "act", Run()),
      Row(("C-(ii) +Act", YES, YES), "act", Run(activity=True), ", given"),
    ),
    ((1, 0), (2, 0)),
    (*FREE, "activity"),
    "All stems of a piece in one pass. Activity is that of the real stems; F1 is of partially"
    " active ones, also in rows that were not told of it: what ignoring it scores.",
  ),
  "ensemble": Table(
    "Stems that hear each other",
    ("Setting", "Train: stems hear", "Train: noise share", "Infer.: noise share"),
    (
      Row(("C-(ii) +Act", NO, "1", "1"), "act", Run()),
      Row(("D-(i)", YES, "0", "0"), "d", Run(share_noise=False)),
      Row(("D-(ii)", YES, "0", "1"), "d", Run()),
      Row(("D½-(ii)", YES, "½", "1"), "d_half", Run(), optional=True),
      Row(("D1-(ii)", YES, "1", "1"), "d_one", Run(), optional=True),
    ),
    ((2, 0), (2, 1), (2, 3), (2, 4)),
    FREE,
    "All stems of a piece in one pass. Not in the paper: see docs/ensemble.md.",
  ),
}


def table(
  name: str, models: Path, out: Path, options: Options, listeners: Sequence[Listener] = ()
) -> Measured:
  """Measures one of TABLES on the models of a folder; cells go to `out` as they come.

  UsageError for a table there is not; MissingError, MismatchError and DataError where models or
  pieces are not what it takes.
  """
  if name not in TABLES:
    raise UsageError(f"table {name}: expected one of {', '.join(TABLES)}")
  plan = _with_models(TABLES[name], models)
  found = {
    setting: trained.find_models(models, setting)
    for setting in dict.fromkeys(row.trained for row in plan.rows)
  }
  for setting, ones in found.items():
    for model in ones:
      ablation.check_model(model, [row.run for row in plan.rows if row.trained == setting])
  everyone = [model for ones in found.values() for model in ones]
  trained.check_alike(everyone)
  options = _as_trained(everyone, options)
  kept.begin(out)
  ears = Ears(out, listeners)
  seconds, mixes = _mixes(everyone, out, options)
  each = math.ceil(options.songs / len(STEMS))
  counts = dict.fromkeys(STEMS, each) if plan.columns[0] == "K" else {None: options.songs}
  real = ablation.pieces(mixes, counts, options.reference, options.seed, ears)
  measured: dict[tuple[int, int | None, str], Cell] = {}
  for setting, ones in found.items():
    runs = {i: row.run for i, row in enumerate(plan.rows) if row.trained == setting}
    for model in ones:
      cells = _cells(out, model, runs, real, seconds, options, plan.timed)
      measured |= {(i, k, model.name): cell for (i, k), cell in cells.items()}
  lines = []
  for k, pieces in real.items():
    head, where = ((), "") if k is None else ((str(k),), f"K = {k}: ")
    rows = []
    for i, row in enumerate(plan.rows):
      cells = {model.name: measured[i, k, model.name] for model in found[row.trained]}
      rows.append(line(where + row.label, head + row.columns, cells, where))
    lines += rows + [_difference(rows[a], rows[b], head) for a, b in plan.differences]
    kinds = ablation.baselines(out, pieces, options.seed)
    empty = (NONE,) * (len(plan.columns) - len(head) - 1)
    for baseline in ("real",) if k else kinds:
      shown, kind = (*head, baseline, *empty), kinds[baseline]
      lines.append(Line(where + baseline, shown, kind.scores, detail=kind.detail))
    if ears.metrics:
      columns = {row.label: head + row.columns for row in plan.rows}
      lines += published.rows(name, options.source, k, columns, where)
  said = [plan.note, seeds_of(found), basis.measured_on(real, seconds, options), ears.note]
  said += [published.NOTE] * any(published.MARK in line.label for line in lines)
  sheet = Sheet(
    f"table_{name}",
    plan.title,
    " ".join(filter(None, said)),
    plan.columns,
    plan.metrics + ears.metrics,
    lines,
    _about(everyone, real, seconds, options),
    plan.timed,
  )
  asked = {row.label: (found[row.trained][0], row.run) for row in plan.rows}
  return Measured([sheet], asked, mixes[0], basis.counts(real))


def one_model(
  path: Path,
  out: Path,
  options: Options,
  accompany: bool = False,
  listeners: Sequence[Listener] = (),
) -> Measured:
  """One model beside real pieces, the same through its autoencoder, shuffled stems and noise.

  With `accompany` a second sheet: are generated stems in time and in tune with given ones? Errors
  are those of `table`.
  """
  model = trained.open_model(path)
  runs = {"generated": Run(share_noise=_shares(model))}
  if model.bundle.config["dropout"]["activity"] < 1:
    runs["generated, activity given"] = Run(share_noise=_shares(model), activity=True)
  ablation.check_model(model, [Run(passes=2)] if accompany else [])
  options = _as_trained([model], options)
  kept.begin(out)
  ears = Ears(out, listeners)
  seconds, mixes = _mixes([model], out, options)
  real = ablation.pieces(mixes, {None: options.songs}, options.reference, options.seed, ears)
  cells = _cells(out, model, runs, real, seconds, options, timed=True)
  lines = [line(name, (name,), {model.name: cell}) for (name, _), cell in cells.items()]
  kinds = ablation.baselines(out, real[None], options.seed)
  through = ablation.through_autoencoder(out, model, mixes[0], real[None])
  kinds = {"real": kinds.pop("real"), "real, through its autoencoder": through} | kinds
  lines += [Line(n, (n,), cell.scores, detail=cell.detail) for n, cell in kinds.items()]
  about = _about([model], real, seconds, options)
  said = basis.measured_on(real, seconds, options)
  note = f"{said} Model {model.bundle.fingerprint[:12]}. {ears.note}"
  name, shown = "Figures of one model", tuple(METRICS) + ears.metrics
  sheets = [Sheet("figures", name, note.strip(), ("Songs",), shown, lines, about, True)]
  if accompany:
    sheets.append(_accompany(out, model, mixes[0], real[None], options.seed, about))
  asked = {name: (model, run) for name, run in runs.items()}
  return Measured(sheets, asked, mixes[0], basis.counts(real))


def _with_models(plan: Table, models: Path) -> Table:
  """The table without its optional rows of which no model is there."""
  rows = [r for r in plan.rows if not r.optional or trained.is_there(models, r.trained)]
  pairs = [(plan.rows[a], plan.rows[b]) for a, b in plan.differences]
  pairs = [(rows.index(a), rows.index(b)) for a, b in pairs if a in rows and b in rows]
  return replace(plan, rows=tuple(rows), differences=tuple(pairs))


def _mixes(
  models: Sequence[Model], out: Path, options: Options
) -> tuple[float, tuple[Sequence[Mix], Sequence[Mix]]]:
  """Seconds of a song, and the held-out pieces of that length."""
  seconds, rate = trained.length_of(models, options.seconds)
  return seconds, basis.mixes(out, options, seconds, rate)


def _as_trained(models: Iterable[Model], options: Options) -> Options:
  """The options, with `held_out` or the corpus as the trainings had it that were on this set."""
  models = list(models)
  if options.source == "demo":
    return replace(options, **trained.corpus_of(models, options.corpus, options.soundfont))
  if options.held_out:
    return options
  found = [trained.held_out_of(model, options.source, options.root) for model in models]
  return replace(options, held_out=min(filter(None, found), default=None))


def _cells(
  out: Path,
  model: Model,
  runs: Mapping[Any, Run],
  real: Mapping[int | None, Pieces],
  seconds: float,
  options: Options,
  timed: bool,
) -> dict[tuple[Any, int | None], Cell]:
  """The cells of one model, by name of the run and K; it is loaded where one is not there yet."""
  load = functools.cache(lambda: StemPipeline(model.bundle))
  found = {}
  for name, run in runs.items():
    for k, pieces in real.items():
      logging.info("%s, %s stems: %s", model.name, k or "all", run)
      found[name, k] = ablation.ask(
        out, model, load, run, pieces, seconds=seconds, seed=options.seed, timed=timed
      )
  return found


def line(label: str, columns: tuple[str, ...], cells: Mapping[str, Cell], group: str = "") -> Line:
  """A row of the cells of models that were trained alike, from several seeds."""
  names = dict.fromkeys(name for cell in cells.values() for name in cell.scores)
  scores = {
    name: seeds.pooled(
      [c.scores[name] for c in cells.values() if name in c.scores], LABELS[name].within
    )
    for name in names
  }
  times = seeds.pooled([cell.seconds for cell in cells.values() if cell.seconds])
  return Line(label, columns, scores, times, cells, group)


def _difference(first: Line, second: Line, head: tuple[str, ...]) -> Line:
  """What sets a row apart from another of its group, paired by seed."""
  names = dict.fromkeys([*first.scores, *second.scores])
  scores = {name: seeds.difference(first.by_seed(name), second.by_seed(name)) for name in names}
  name = " − ".join(line.label.removeprefix(first.group) for line in (first, second))
  columns = (*head, name, *[""] * (len(first.columns) - len(head) - 1))
  return Line(first.group + name, columns, scores, group=first.group, subtracts=True)


def _accompany(
  out: Path, model: Model, mixes: Sequence[Mix], real: Pieces, seed: int, about: Mapping[str, Any]
) -> Sheet:
  """Pairs of a given and a generated stem beside the same pairs of the real pieces."""
  cells = ablation.playing_along(out, model, lambda: StemPipeline(model.bundle), mixes, real, seed)
  lines = []
  for name, cell in cells.items():
    models = {model.name: cell} if name == "generated to real" else {}
    lines.append(Line(name, (name,), cell.scores, models=models))
  note = (
    "Half of a real piece's stems are given, and the others are generated to them; of each piece"
    " one given stem is compared with one of the others."
  )
  return Sheet("accompany", "Playing along", note, ("Pairs",), PAIRED, lines, about)


def _shares(model: Model) -> bool:
  return model.bundle.config["sample"]["share_noise"]


def seeds_of(found: Mapping[str, Sequence[Model]]) -> str:
  """What intervals are over, by how many models there are of each setting."""
  counts = {setting: len(models) for setting, models in found.items()}
  listed = ", ".join(f"{count} of {setting}" for setting, count in counts.items())
  if max(counts.values()) == 1:
    return (
      "One training of each setting: 95 % intervals are over songs alone (bootstrap), differences"
      " (−) would take two, and the best is bold if its interval is clear of the next one's."
    )
  return (
    f"Means over trainings with different seeds ({listed}), with 95 % intervals over seeds"
    " (Student's t) and songs (bootstrap), half-widths added in quadrature; of real pieces,"
    " shuffled stems and noise over songs. Differences (−) are paired by seed, with Student's t"
    " over them; the best is bold if its difference from the next one is clear of 0."
  )


def _about(
  models: Iterable[Model], real: Mapping[int | None, Pieces], seconds: float, options: Options
) -> dict[str, Any]:
  prints = {model.name: model.bundle.fingerprint for model in models}
  return basis.about(prints, basis.ids(real), seconds, options)

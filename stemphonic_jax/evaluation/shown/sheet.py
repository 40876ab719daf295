"""A measured table, and what it looks like: Markdown, JSON and a figure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.kept import Cell
from stemphonic_jax.evaluation.measures.metrics import LABELS
from stemphonic_jax.evaluation.scores import FEWEST, Score
from stemphonic_jax.evaluation.shown import figures, seeds

NONE = "n.a."
SONGS = (
  "n",
  f"Songs in the row; without [interval] a number is of fewer than {FEWEST} of them, or has none",
)


@dataclass(frozen=True, eq=False)
class Line:
  """A measured row: what it is called, and what came out of each model and of all together.

  `models` are by name, which ends in the seed: c_0. A line that `subtracts` is the difference of
  two others.
  """

  label: str  # outside of its table
  columns: tuple[str, ...]
  scores: Mapping[str, Score]
  seconds: Score | None = None
  models: Mapping[str, Cell] = field(default_factory=dict)
  group: str = ""  # of rows that compare
  subtracts: bool = False
  detail: Mapping[str, Any] = field(default_factory=dict)  # of a row that no model made

  @property
  def n(self) -> int:
    """The number of songs in the row: the largest n of its scores."""
    return max((score.n for score in self.scores.values()), default=0)

  def by_seed(self, name: str) -> dict[str, Score]:
    """The scores of a metric by the seed of training."""
    cells = {model.rpartition("_")[2]: cell.scores for model, cell in self.models.items()}
    return {seed: scores[name] for seed, scores in cells.items() if name in scores}


@dataclass(frozen=True, eq=False)
class Sheet:
  """A measured table; `about` is what its JSON says beside the numbers."""

  name: str
  title: str
  note: str
  columns: tuple[str, ...]
  metrics: tuple[str, ...]
  lines: Sequence[Line]
  about: Mapping[str, Any]
  timed: bool = False


def write(sheet: Sheet, out: Path) -> None:
  """Writes name.md, name.json and name.png of a sheet; OutputError where it cannot be done."""
  out.mkdir(parents=True, exist_ok=True)
  with whole_file(out / f"{sheet.name}.md") as partial:
    partial.write_text(markdown(sheet), encoding="utf-8")
  with whole_file(out / f"{sheet.name}.json") as partial:
    text = json.dumps(as_json(sheet), indent=1, ensure_ascii=False) + "\n"
    partial.write_text(text, encoding="utf-8")
  measured = (line for line in sheet.lines if not line.subtracts)
  rows = {line.label: (line.scores, not line.models) for line in measured}
  named = {name: (LABELS[name].label, LABELS[name].better) for name in sheet.metrics}
  figures.scores_figure(out / f"{sheet.name}.png", rows, named, sheet.title)


def markdown(sheet: Sheet) -> str:
  """The sheet as a table of Markdown, the best of the models in bold, and what it means."""
  head, rows = cells_of(sheet)
  text = [[f"**{word}**" if best else word for word, best in row] for row in rows]
  lines = [f"## {sheet.title}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
  lines += ["| " + " | ".join(word.replace("|", "\\|") for word in row) + " |" for row in text]
  legend = [f"- *{name}*: {summary}" for name, summary in legend_of(sheet)]
  return "\n".join([*lines, "", sheet.note, "", *legend]) + "\n"


def cells_of(sheet: Sheet) -> tuple[list[str], list[list[tuple[str, bool]]]]:
  """The head of a sheet, and of each row the words with whether they are the best of the models."""
  arrows = {"higher": "↑", "lower": "↓"}
  labels = (f"{LABELS[name].label} {arrows[LABELS[name].better]}" for name in sheet.metrics)
  head = [*sheet.columns, SONGS[0], *labels, *["Seconds per song ↓"] * sheet.timed]
  groups = {line.group for line in sheet.lines}
  best = {(group, name): _ahead(sheet, group, name) for group in groups for name in sheet.metrics}
  rows = []
  for line in sheet.lines:
    row = [(word, False) for word in (*line.columns, str(line.n or NONE))]
    for name in sheet.metrics:
      words = number(line.scores.get(name), signed=line.subtracts)
      row.append((words, line is best[line.group, name]))
    if sheet.timed:
      row.append((number(line.seconds, signed=line.subtracts), False))
    rows.append(row)
  return head, rows


def legend_of(sheet: Sheet) -> list[tuple[str, str]]:
  """Label and summary of each metric of a sheet, and of n."""
  return [SONGS, *((LABELS[name].label, LABELS[name].summary) for name in sheet.metrics)]


def number(score: Score | None, *, signed: bool = False) -> str:
  """ "0.934 [0.912, 0.951]", "0.934" of too few songs, n.a. where nothing could be measured."""
  if score is None or not score.n or not math.isfinite(score.value):
    return NONE
  form = f"{'+' if signed else ''}.{3 if abs(score.value) < 10 else 1}f"
  if not math.isfinite(score.low + score.high):
    return f"{score.value:{form}}"
  return f"{score.value:{form}} [{score.low:{form}}, {score.high:{form}}]"


def as_json(sheet: Sheet) -> dict[str, Any]:
  """Everything that there is of a sheet."""
  named = {
    name: {"label": LABELS[name].label, "better": LABELS[name].better,
           "summary": LABELS[name].summary}
    for name in sheet.metrics
  }  # fmt: skip
  rows = [asdict(line) for line in sheet.lines]
  whole = {"title": sheet.title, "note": sheet.note, "columns": sheet.columns, "metrics": named}
  return kept.plain(whole | {"rows": rows} | dict(sheet.about))


def _ahead(sheet: Sheet, group: str, name: str) -> Line | None:
  """The line of models in a group that is best by a metric, if it is ahead of the next for sure.

  That is by the interval of their difference, paired by seed, or, where they have not two seeds in
  common, if their own intervals do not overlap.
  """
  sign = 1.0 if LABELS[name].better == "higher" else -1.0
  rivals = [line for line in sheet.lines if line.models and line.group == group]
  rivals = [r for r in rivals if name in r.scores and math.isfinite(r.scores[name].value)]
  if len(rivals) < 2:
    return None
  best, second = sorted(rivals, key=lambda line: -sign * line.scores[name].value)[:2]
  apart = seeds.difference(best.by_seed(name), second.by_seed(name))
  if apart.n:
    clear = apart.low > 0 if sign > 0 else apart.high < 0
  else:
    ours, theirs = best.scores[name], second.scores[name]
    clear = ours.low > theirs.high if sign > 0 else ours.high < theirs.low
  return best if clear else None

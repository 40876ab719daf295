"""A measured table as it is written down."""

import json
import math
from pathlib import Path

import pytest

from stemphonic_jax.evaluation.kept import Cell
from stemphonic_jax.evaluation.scores import NOTHING, Score
from stemphonic_jax.evaluation.shown import sheet
from stemphonic_jax.evaluation.shown.seeds import difference, pooled
from stemphonic_jax.evaluation.shown.sheet import Line, Sheet, markdown


@pytest.mark.parametrize(
  ("score", "text"),
  [
    (Score(0.93449, 0.9, 0.95, 60), "0.934 [0.900, 0.950]"),
    (Score(123.46, 99.0, 150.0, 60), "123.5 [99.0, 150.0]"),
    (Score(0.5, math.nan, math.nan, 4), "0.500"),
    (NOTHING, "n.a."),
    (None, "n.a."),
  ],
)
def test_numbers_are_written_with_their_interval(score, text):
  assert sheet.number(score) == text


def test_differences_are_written_with_their_sign():
  assert sheet.number(Score(0.05, -0.02, 0.12, 9), signed=True) == "+0.050 [-0.020, +0.120]"


def rows(name="synchrony", **settings):
  """A sheet of settings, each of scores by seed."""
  lines = [
    Line(
      setting, (setting,), {name: pooled(parts)},
      models={f"{setting}_{seed}": Cell({name: part}) for seed, part in enumerate(parts)},
    )
    for setting, parts in settings.items()
  ]  # fmt: skip
  return Sheet("table", "T", "", ("Setting",), (name,), lines, {})


def near(value, half=0.1):
  return Score(value, value - half, value + half, 9)


def best(table):
  _, rows = sheet.cells_of(table)
  return [row[0][0] for row in rows if row[-1][1]]


def test_with_one_seed_the_best_is_bold_where_intervals_of_songs_are_apart():
  assert best(rows(a=[near(0.5)], c=[near(0.8)])) == ["c"]
  assert best(rows(a=[near(0.65)], c=[near(0.8)])) == []
  assert best(rows("fad_mix", a=[near(0.5)], c=[near(0.8)])) == ["a"]


def test_with_more_the_best_is_bold_where_paired_differences_are_clear_of_zero():
  # Half of either's interval is the other's; but seed by seed c is ahead by the same each time.
  a, c = [near(v) for v in (0.5, 0.6, 0.7)], [near(v) for v in (0.55, 0.651, 0.749)]
  assert best(rows(a=a, c=c)) == ["c"]
  assert best(rows("fad_mix", a=a, c=c)) == ["a"]
  assert best(rows(a=a, c=c[::-1])) == []
  assert best(rows(a=a, c=a)) == []  # a tie


def test_a_difference_is_no_rival_and_no_baseline_is_best():
  table = rows(a=[near(0.2)], c=[near(0.8)])
  lines = [*table.lines, Line("real", ("real",), {"synchrony": near(0.99, 0)})]
  lines.append(Line("c − a", ("c − a",), {"synchrony": near(5.0)}, subtracts=True))
  table = Sheet("table", "T", "", ("Setting",), ("synchrony",), lines, {})
  assert best(table) == ["c"]
  assert "| c − a | 9 | +5.000 [+4.900, +5.100] |" in markdown(table)
  assert not difference(lines[0].by_seed("synchrony"), lines[1].by_seed("synchrony")).n


def wild():
  lines = [
    Line("A", ("A | B",), {"synchrony": near(0.5)}, models={"a_0": Cell({})}),
    Line("C", ("C",), {"synchrony": near(0.8), "fad_mix": NOTHING}, models={"c_0": Cell({})}),
    Line("C − A", ("C − A",), {"synchrony": NOTHING}, subtracts=True),
    Line("real", ("real",), {"synchrony": near(0.9, 0.0)}),
  ]
  metrics = ("synchrony", "fad_mix")
  return Sheet("figures", "A $title$ <b>", "A note.", ("Setting",), metrics, lines, {"seed": 0})


def test_markdown():
  rows = markdown(wild()).splitlines()
  assert rows[2].startswith("| Setting | n | Synchrony ↑ |")
  assert rows[4:8] == [
    "| A \\| B | 9 | 0.500 [0.400, 0.600] | n.a. |",
    "| C | 9 | **0.800 [0.700, 0.900]** | n.a. |",
    "| C − A | n.a. | n.a. | n.a. |",
    "| real | 9 | 0.900 [0.900, 0.900] | n.a. |",
  ]


def test_everything_is_written_as_json_that_any_reader_takes(tmp_path):
  def refuse(word):
    raise ValueError(word)

  sheet.write(wild(), tmp_path)
  assert {path.name for path in tmp_path.iterdir()} == {"figures.md", "figures.json", "figures.png"}
  found = json.loads(Path(tmp_path, "figures.json").read_text(), parse_constant=refuse)
  assert found["rows"][1]["scores"]["fad_mix"]["value"] is None
  assert found["rows"][0]["scores"]["synchrony"] == {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
  assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")

"""What papers print stands below ours, marked, where the data set is theirs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from stemphonic_jax.evaluation.listeners.ears import Listener
from stemphonic_jax.evaluation.scores import Score
from stemphonic_jax.evaluation.songs import corpus
from stemphonic_jax.evaluation.tables import paper, published
from stemphonic_jax.evaluation.tables.paper import TABLES
from tests.evaluation.tables.test_paper import FEW, models, piece, requests  # noqa: F401  (fixtures)


def columns(name, head=()):
  return {row.label: head + row.columns for row in TABLES[name].rows}


def test_rows_are_those_of_the_paper():
  found = published.rows("1", "moisesdb", None, columns("1"))
  last = found[-1]
  assert last.columns == ("C-(ii) (published)", paper.YES, paper.YES, paper.YES)
  assert (last.scores["vggish_fad_stem"].value, last.scores["clap"].value) == (2.31, 30.19)
  assert (last.n, math.isnan(last.scores["clap"].low), last.models) == (1488, True, {})
  (_, _, given) = published.rows("3", "musdb", None, columns("3"))
  assert (given.scores["activity"].value, given.n) == (0.9943, 964)
  two = published.rows("2", "moisesdb", 5, columns("2", ("5",)), "K = 5: ")
  assert [line.seconds.value for line in two] == [6.88, 3.70, 3.13]
  assert two[1].columns == ("5", "C-(ii) (published)", "2")
  assert [line.scores["mirdd"].value for line in published.stemgen("slakh", 1)] == [0.43, 0.14]


@pytest.mark.parametrize(("name", "source", "k"), [
  ("1", "demo", None), ("2", "musdb", 3), ("2", "moisesdb", 9), ("ensemble", "musdb", None),
])  # fmt: skip
def test_there_are_none_where_the_paper_has_none(name, source, k):
  assert published.rows(name, source, k, {}) == []


def test_a_table_with_the_papers_measures_has_its_rows(models, requests, tmp_path, monkeypatch):  # noqa: F811
  real = [piece(number, 3) for number in range(3)]
  monkeypatch.setattr(corpus, "on_disk", lambda *_, **__: (real, real))
  score = {"clap": Score(30.0, 29.0, 31.0, 3)}
  listener = Listener("some", {}, ("clap",), lambda _: {"/x": np.ones(1)}, lambda *_: (score, {}))
  options = replace(FEW, source="musdb", root="x", held_out=2)
  found = paper.table("3", models, tmp_path / "out", options, [listener]).sheets[0]
  assert (found.name, found.metrics[-1]) == ("table_3", "clap")
  theirs = [line for line in found.lines if published.MARK in line.label]
  assert [line.columns[1:] for line in theirs] == [row.columns[1:] for row in TABLES["3"].rows]
  assert found.lines[-3:] == theirs
  assert published.NOTE in found.note
  assert found.lines[0].scores["clap"].value == 30.0
  assert len(list((tmp_path / "out").glob("heard/some-*/*.npz"))) > 3

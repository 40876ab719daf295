"""`stemphonic evaluate`: what it prints and writes, and one line for what it cannot."""

import functools
import json

import pytest

from stemphonic_jax.evaluation import ablation, report, songs, tables, trained
from tests import tiny
from tests.evaluation.test_tables import piece


@pytest.fixture
def evaluate(stemphonic, monkeypatch):
  """Runs the command in this process and an empty folder: (exit code, stdout, stderr)."""
  bundle, load = tiny.pipeline().bundle, trained.load_bundle
  monkeypatch.setattr(trained, "load_bundle", lambda p: bundle if p == tiny.model() else load(p))
  real = tuple(
    [piece(number, 3, tiny.SAMPLES) for number in range(first, first + 4)] for first in (0, 10)
  )
  monkeypatch.setattr(songs, "composed", lambda *_: real)
  monkeypatch.setattr(report, "SHOWN", 1)
  monkeypatch.setattr(songs, "autoencoded", lambda _: lambda mix: mix)
  for module in (tables, report):
    monkeypatch.setattr(module, "StemPipeline", lambda _: tiny.pipeline())
  return functools.partial(stemphonic, "evaluate")


def test_one_model_beside_what_its_numbers_are_read_by(evaluate, tmp_path):
  code, out, err = evaluate(
    "--model", tiny.model(), "--songs", 2, "--reference", 3, "--out", "deep/out", "--accompany",
    "--report",
  )  # fmt: skip
  assert code == 0, err
  assert [line.split(" |")[0] for line in out.splitlines() if line.startswith("| ")] == [
    *("| Songs", "| generated", "| generated, activity given", "| real"),
    *("| real, through its autoencoder", "| shuffled", "| noise"),
    *("| Pairs", "| generated to real", "| real to real", "| shuffled"),
  ]
  assert out.endswith("deep/out/figures/index.html\n")
  folder = tmp_path / "deep" / "out"
  assert (folder / "figures.md").read_text() in out
  found = json.loads((folder / "figures.json").read_text())
  assert list(found["models"].values()) == [tiny.pipeline().bundle.fingerprint]
  assert found["options"]["songs"] == 2
  assert found["pieces"]["all"] == ["piece 0", "piece 1"]
  assert "2 held-out pieces of 2 s (demo), compared with 3 others, on " in out
  assert found["hardware"] == ablation.hardware()
  assert {"figures.png", "accompany.md", "accompany.json"} <= {f.name for f in folder.iterdir()}


@pytest.mark.parametrize(
  ("arguments", "code", "words"),
  [
    ([], 2, "one of the arguments --table --model is required"),
    (["--table", 1], 2, "--table N takes --models DIR"),
    (["--model", "m", "--models", "x"], 2, "--model DIR stands alone"),
    (["--table", 0, "--models", "."], 2, "expected a whole number from 1 on"),
    (["--table", 4, "--models", "."], 2, "table 4: the paper has 1, 2, 3"),
    (["--table", 1, "--models", "x"], 66, "x: no such folder of models"),
    (["--table", 2, "--models", "."], 66, "no model named a_0; expected a_0, a_1, …"),
    (["--table", 1, "--models", ".", "--accompany"], 2, "evaluate --model DIR"),
    (["--model", "nowhere"], 66, "nowhere: no such model folder"),
    (
      ["--model", tiny.model(), "--seconds", "nan"],
      2,
      "--seconds: got 'nan', expected a number fro",
    ),
    (
      ["--model", tiny.model(), "--seed", -1],
      2,
      "--seed: got '-1', expected a whole number from 0 t",
    ),
    (["--model", tiny.model(), "--seconds", 99], 2, "seconds: got 99, expected 1 to 2"),
    (["--model", "m", "--root", "x"], 2, "a --source on disk takes --root DIR"),
    (["--model", "m", "--held-out", 32], 2, "--held-out and --captions are of a --source on disk"),
    (["--model", tiny.model(), "--source", "musbd", "--root", "x"], 2, "did you mean 'musdb'?"),
  ],
)
def test_what_cannot_be_done_is_said_in_one_line(evaluate, arguments, code, words):
  got, out, err = evaluate(*arguments)
  assert (got, out) == (code, "")
  assert words in err
  assert err.count("\n") == 1


def test_a_place_that_cannot_be_written_is_known_before_the_work(evaluate, tmp_path):
  (tmp_path / "file").touch()
  for out in ("file", "file/deep"):
    code, _, err = evaluate("--model", tiny.model(), "--out", tmp_path / out)
    assert (code, err.count("\n")) == (73, 1)
    assert f"{tmp_path / out}: cannot be written" in err

"""`stemphonic evaluate`: what it prints and writes, and one line for what it cannot."""

import functools
import itertools
import json

import pytest

from stemphonic_jax.cli import evaluate as evaluate_command
from stemphonic_jax.evaluation import report
from stemphonic_jax.evaluation.distances import populations
from stemphonic_jax.evaluation.judges import vggish
from stemphonic_jax.evaluation.shown import figures
from stemphonic_jax.evaluation.songs import ablation, asking, corpus, trained
from stemphonic_jax.evaluation.tables import paper, remade
from tests import tiny
from tests.data.sources import trees
from tests.evaluation.tables.test_paper import piece
from tests.weights import judges as weights


@pytest.fixture
def evaluate(stemphonic, monkeypatch):
  """Runs the command in this process and an empty folder: (exit code, stdout, stderr)."""
  bundle, load = tiny.pipeline().bundle, trained.open_bundle
  monkeypatch.setattr(trained, "open_bundle", lambda p: bundle if p == tiny.model() else load(p))
  real = tuple(
    [piece(number, 3, tiny.SAMPLES) for number in range(first, first + 4)] for first in (0, 10)
  )
  monkeypatch.setattr(corpus, "composed", lambda *_: real)
  monkeypatch.setattr(report, "SHOWN", 1)
  monkeypatch.setattr(asking, "autoencoded", lambda _: lambda mix: mix)
  for module, name in ((paper, "StemPipeline"), (report, "StemPipeline"), (remade, "pipeline_of")):
    monkeypatch.setattr(module, name, lambda _: tiny.pipeline())
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
  ("table", "head", "names"),
  [
    (
      "musicgen-stem",
      "HAR, bass edited ↑ | HAR, other edited ↑ | BEAT bass ↑ | BEAT drums ↑",
      ["Stems", "generated", "real", "shuffled"],
    ),
    ("stemgen", "FD stem ↓ | MIRDD ↓", ["Stems", "generated", "real", "shuffled"]),
    (
      "repairs",
      "Synchrony ↑ | Harmony ↑ | Chords ↑",
      ["Stems", "repaired", "whole", "real", "shuffled"],
    ),
    (
      "continuation",
      "Tempo or octave ↑ | Identity ↑",
      [
        *("Part", "0–0.333 s, given", "0.333–0.667 s", "0.667–1 s", "1–1.33 s", "1.33–1.67 s"),
        *("1.67–2 s", "real", "Part", "at seams", "between seams", "real"),
      ],
    ),
    (
      "prompts",
      "Silent ↓ | Diverged ↓ | Identity ↑",
      ["Prompts", "as people write them", "of the corpus"],
    ),
  ],
)
def test_the_tables_of_one_model_and_what_was_made_is_kept(
  evaluate, tmp_path, monkeypatch, table, head, names
):
  pytest.importorskip("mir_eval")
  monkeypatch.setattr(figures, "scores_figure", lambda *_: None)
  ask = functools.partial(
    evaluate, "--model", tiny.model(), "--table", table, "--songs", 2, "--seconds", 2
  )
  if table == "prompts":
    (tmp_path / "mine.txt").write_text("calm piano\n\n静かなピアノ\n", encoding="utf-8")
    ask = functools.partial(ask, "--prompts", tmp_path / "mine.txt")
  code, out, err = ask()
  assert code == 0, err
  rows = [line.split(" | ") for line in out.splitlines() if line.startswith("| ")]
  assert [row[0] for row in rows] == [f"| {name}" for name in names]
  assert head in out
  if "generated" in names:  # the others say nothing of two seconds
    assert [row[1] for row in rows[1:3]] == ["2", "2"]
  assert "2 held-out pieces of 2 s (demo), on " in out
  for way in ("generate", "again", "extend"):
    monkeypatch.setattr(tiny.pipeline(), way, lambda *_, **__: pytest.fail("made again"))
  assert ask()[1] == out


@pytest.fixture
def made(tmp_path):
  """Songs of two other systems, one of which says what it was asked for; one song is damaged."""
  for number, (system, song) in enumerate(itertools.product(("theirs", "other"), "abcde")):
    folder = tmp_path / system / song
    for stem, kind in enumerate(("drums", "bass", "gtr 2")):
      trees.tone(folder / f"{kind}.wav", number + 3 * stem, 2.5)
  (tmp_path / "theirs" / "a" / "mix.json").write_text('{"caption": "A song", "bpm": 100}')
  info = {"request": {"prompt": "Another song", "bpm": 90.0}}
  (tmp_path / "theirs" / "b" / "song.json").write_text(json.dumps(info))
  (tmp_path / "other" / "e" / "drums.wav").write_bytes(b"RIFF")


def test_songs_of_other_systems_beside_real_pieces_and_what_is_heard_is_kept(
  evaluate, made, tmp_path, monkeypatch, warned
):
  monkeypatch.setattr(populations, "RESAMPLES", 5)
  monkeypatch.setattr(figures, "scores_figure", lambda *_: None)  # a second, and looked at above
  weights.save(tmp_path / "v.safetensors", weights.vggish())
  ask = functools.partial(
    evaluate, "--songs-from", "theirs", "other", "--reference", 4, "--vggish", "v.safetensors",
    "--seconds", 2,
  )  # fmt: skip
  code, out, err = ask()
  assert code == 0, err
  rows = [line for line in out.splitlines() if line.startswith("| ")]
  assert [row.split(" |")[0] for row in rows] == [
    *("| Songs", "| theirs", "| other", "| real", "| shuffled", "| noise"),
  ]
  head = [word.strip() for word in rows[0].split("|")[1:-1]]
  assert {"FAD stem ↓", "FAD mix ↓", "KAD mix ↓"} <= set(head)
  assert "Activity F1 ↑" not in head
  assert "Songs of theirs (5), other (4), each cut to 2 s, beside 4 held-out pieces" in out
  assert "FAD and KAD: VGGish" in out
  assert any("other: e is left out: other/e/drums.wav" in line for line in warned)
  found = json.loads((tmp_path / "runs/evaluation/systems.json").read_text())
  assert found["songs"]["other"] == ["a", "b", "c", "d"]
  theirs = found["rows"][0]
  assert theirs["scores"]["tempo"]["n"] == 2  # the two that say what they were asked for
  assert list(theirs["models"]["theirs"]["detail"]["vggish_stem"]) == ["basses", "drums"]
  assert found["rows"][3]["scores"]["vggish_fad_mix"]["n"] == 4  # of stems that are shuffled too

  monkeypatch.setattr(vggish.VGGishJudge, "embed_each", lambda *_: pytest.fail("heard again"))
  assert ask()[1] == out


@pytest.mark.parametrize(
  ("arguments", "code", "words"),
  [
    ([], 2, "expected one of --models, --model, --songs-from, --systems, --embeddings"),
    (
      ["--model", "m", "--songs-from", "x"],
      2,
      "expected one of --models, --model, --songs-from, --systems, --embeddings",
    ),
    (["--songs-from", "x"], 66, "x: no such folder of songs; expected x/SONG/STEM.wav"),
    (["--songs-from", ".", "--report"], 2, "--report is of `evaluate --model DIR`"),
    (["--model", "m", "--fad", "fadtk"], 2, "add --vggish FILE"),
    (
      ["--model", "m", "--table", "repairs", "--music"],
      2,
      "--music adds nothing to --table repairs",
    ),
    (["--model", tiny.model(), "--vggish", "none.pth"], 66, "none.pth"),
    (["--table", 1], 2, "expected one of --models, --model"),
    (["--model", "m", "--table", 1], 2, "--model DIR stands alone"),
    (["--table", "stemgen", "--models", "."], 2, "--table stemgen takes --model DIR"),
    (["--table", 4, "--models", "."], 2, "table 4: expected one of 1, 2, 3, ensemble"),
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


def test_tables_that_are_named_before_they_are_loaded_are_those_that_there_are():
  assert tuple(paper.TABLES) == evaluate_command.OF_PAPERS

"""Tables: what they ask of which model, what of it is kept, and how it is written down."""

import math

import numpy as np
import pytest

from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.errors import DataError, DivergedError, MismatchError, MissingError, UsageError
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.scores import NOTHING, Score
from stemphonic_jax.evaluation.shown import sheet
from stemphonic_jax.evaluation.songs import ablation, asking, corpus, trained
from stemphonic_jax.evaluation.songs.ablation import Run
from stemphonic_jax.evaluation.tables import paper
from stemphonic_jax.evaluation.tables.paper import TABLES, Options
from stemphonic_jax.generation.song import Song
from tests import tiny

TYPES = ("drums", "basses", "keys", "guitars", "strings", "winds")
FEW = Options(songs=3)
SAMPLES = tiny.RATE // 2  # of a piece: what is measured here is no music


def piece(number, stems, samples=SAMPLES):
  """Noise that fades; cheaper than a composed piece."""
  rng = np.random.default_rng(number)
  decay = np.exp(-4 * np.arange(samples) / samples)
  noise = rng.standard_normal((stems, samples, 2), np.float32) * 0.1
  audio = (noise * decay[:, None]).astype(np.float32)
  made = {kind: Stem(kind, audio[k]) for k, kind in enumerate(TYPES[:stems])}
  return Mix(f"piece {number}", made, "Relaxing country rock", 120.0)


def loudness(measured, reference, lanes):
  """In place of all metrics, which have tests of their own: how loud the songs are."""
  assert len(reference) > 0
  levels = [float(song.bands.astype(np.float32).mean()) for song in measured]
  score = Score(np.mean(levels), min(levels), max(levels), len(levels))
  return dict.fromkeys(paper.METRICS, score) | ({} if lanes else {"activity": NOTHING})


def as_json(measured):
  return sheet.as_json(measured.sheets[0])


@pytest.fixture
def models(tmp_path, monkeypatch):
  """A folder of models, two of most settings, all of them the tiny one; and few held-out pieces."""
  for name in ("a_0", "a_1", "b_0", "b_1", "c_0", "c_1", "act_0", "d_0", "a_x", "notes"):
    (tmp_path / "models").mkdir(exist_ok=True)
    (tmp_path / "models" / name).symlink_to(tiny.model())
  real = [piece(number, 3 + number % 4) for number in range(8)]
  other = [piece(number, 3) for number in range(100, 108)]
  monkeypatch.setattr(corpus, "composed", lambda *_: (real, other))
  bundle = tiny.pipeline().bundle  # loaded once
  monkeypatch.setattr(trained, "open_bundle", lambda _: bundle)
  monkeypatch.setattr(paper, "StemPipeline", lambda _: tiny.pipeline())
  monkeypatch.setattr(ablation.metrics, "measure", loudness)
  return tmp_path / "models"


@pytest.fixture(autouse=True)
def requests(monkeypatch):
  """The options of all requests, each of which is answered at once; killed after `most` of them."""

  class Seen(list):
    most = math.inf

  seen = Seen()

  def answer(prompt, stems, *, seed, activity, **options):
    if len(seen) >= seen.most:
      raise KeyboardInterrupt
    seen.append({"stems": len(stems), "seed": seed, "activity": activity} | options)
    made = {kind: stem.audio for kind, stem in piece(seed, len(stems)).stems.items()}
    info = {"timings": {"sample": 0.5, "decode": 0.25}}
    return Song(made, tiny.RATE, 3584, {}, {}, info)

  monkeypatch.setattr(tiny.pipeline(), "generate", answer)
  return seen


# What a table asks.


@pytest.mark.parametrize("row", TABLES["1"].rows, ids=lambda row: row.columns[0])
def test_settings_are_what_their_columns_say(row):
  setting, grouped, trained, shared = row.columns
  assert row.trained == setting[0].lower()
  assert (grouped, trained) == {
    "a": (paper.NO, paper.NO), "b": (paper.YES, paper.NO), "c": (paper.YES, paper.YES)
  }[row.trained]  # fmt: skip
  assert row.run.share_noise == (shared == paper.YES) == ("(ii)" in setting)


def test_what_is_missing_is_named(models, tmp_path):
  (models / "act_0").unlink()
  with pytest.raises(MissingError, match="no model named act_0; expected act_0, act_1, …"):
    paper.table("3", models, tmp_path, FEW)
  with pytest.raises(MissingError, match="no such folder of models"):
    paper.table("1", tmp_path / "nowhere", tmp_path, FEW)
  with pytest.raises(UsageError, match="table 4: expected one of 1, 2, 3, ensemble"):
    paper.table("4", models, tmp_path, FEW)
  with pytest.raises(UsageError, match="seconds: got 9, expected 1 to 2"):
    paper.table("1", models, tmp_path, Options(seconds=9))


def test_models_that_cannot_be_asked_are_refused(tmp_path):
  deaf = tiny.save_model(tmp_path / "deaf", dropout={"activity": 1.0, "context": 1.0})
  model = trained.open_model(deaf)
  ablation.check_model(model, [Run()])
  for run in (Run(passes=2), Run(passes="K"), Run(activity=True)):
    with pytest.raises(MismatchError, match=r"deaf: was trained without (context|activity)"):
      ablation.check_model(model, [run])


def test_rows_without_models_are_left_out_where_they_may_be(models, requests, tmp_path):
  found = paper.table("ensemble", models, tmp_path / "out", FEW).sheets[0]
  settings = [line.columns[0] for line in found.lines[:3]]
  assert settings == ["C-(ii) +Act", "D-(i)", "D-(ii)"]
  apart = [line.columns[0] for line in found.lines if line.subtracts]
  assert apart == ["D-(ii) − C-(ii) +Act", "D-(ii) − D-(i)"]
  (models / "d_0").unlink()
  with pytest.raises(MissingError, match="no model named d_0"):
    paper.table("ensemble", models, tmp_path / "out", FEW)


def test_table_1(models, requests, tmp_path):
  found = paper.table("1", models, tmp_path / "out", FEW).sheets[0]
  settings = [row.columns[0] for row in TABLES["1"].rows]
  apart = ["B-(ii) − A-(ii)", "C-(ii) − B-(ii)", "C-(ii) − A-(ii)"]
  baselines = ["real", "shuffled", "noise"]
  assert [line.columns[0] for line in found.lines] == [*settings, *apart, *baselines]
  assert {len(line.columns) for line in found.lines} == {4}
  assert [list(line.models) for line in found.lines[:2]] == [["a_0", "a_1"]] * 2
  # All folders hold one model, which is asked once in each way.
  assert [request["share_noise"] for request in requests] == [False] * 3 + [True] * 3
  assert "Means over trainings with different seeds (2 of a, 2 of b, 2 of c)" in found.note
  same = found.lines[6].scores["synchrony"]
  assert (same.value, same.n) == (0.0, 3)
  assert math.isnan(same.low), "three songs give no interval"
  assert "**" not in sheet.markdown(found)  # one model is nowhere ahead of itself


def test_table_2_times_each_number_of_stems(models, requests, tmp_path):
  found = paper.table("2", models, tmp_path, Options(songs=8)).sheets[0]
  assert [line.columns[:2] for line in found.lines[:6]] == [
    ("3", "A-(i)"), ("3", "C-(ii)"), ("3", "C-(ii)"),
    ("3", "C-(ii), 2 passes − A-(i), K passes"), ("3", "C-(ii), 1 pass − A-(i), K passes"),
    ("3", "real"),
  ]  # fmt: skip
  assert {(r["stems"], r["passes"]) for r in requests} == {
    (k, passes) for k in (3, 4, 5, 6) for passes in (1, 2, k)
  }
  assert len({line.label for line in found.lines}) == len(found.lines) == 24
  timed = [line.seconds for line in found.lines if line.models]
  assert [seconds.value for seconds in timed] == [0.75] * 12
  assert "Seconds per song ↓" in sheet.markdown(found)


def test_activity_is_scored_also_where_it_was_not_given(models, requests, tmp_path):
  found = paper.table("3", models, tmp_path, FEW).sheets[0]
  assert [bool(request["activity"]) for request in requests] == [False] * 3 + [True] * 3
  assert found.metrics[-1] == "activity"
  apart = [not line.scores["activity"].n for line in found.lines if line.subtracts]
  assert apart == [True, True]  # c_0 and act_0 alone can be paired
  assert all(line.scores["activity"].n == 3 for line in found.lines if not line.subtracts)


# What is kept.


def test_a_table_that_was_cut_off_goes_on(models, requests, tmp_path):
  requests.most = 5
  with pytest.raises(KeyboardInterrupt):
    paper.table("1", models, tmp_path / "out", FEW)
  requests.most = math.inf
  before = len(requests)
  again = as_json(paper.table("1", models, tmp_path / "out", FEW))
  assert len(requests) - before < 6
  done = len(requests)
  whole = as_json(paper.table("1", models, tmp_path / "out", FEW))
  assert len(requests) == done
  assert again == whole
  elsewhere = as_json(paper.table("1", models, tmp_path / "new", FEW))
  assert [untimed(row) for row in elsewhere["rows"]] == [untimed(row) for row in whole["rows"]]


def untimed(row):
  return row["columns"], row["scores"]


def test_songs_are_kept_one_by_one_and_a_damaged_one_is_named(models, tmp_path):
  out = tmp_path / "out"
  paper.table("3", models, out, FEW)
  files = sorted(out.glob("songs/*/*.npz"))
  assert [file.name for file in files[:3]] == ["00000.npz", "00001.npz", "00002.npz"]
  song = kept.read(files[0])
  assert (song.song.id, song.song.bpm, list(song.song.stems)) == ("piece 0", 120.0, [*TYPES[:3]])
  files[0].write_bytes(files[0].read_bytes()[:100])
  for cell in out.glob("cells/*"):
    cell.unlink()
  with pytest.raises(DataError, match=r"00000.npz: is damaged .* remove it"):
    paper.table("3", models, out, FEW)


def test_what_is_no_sound_is_left_out_and_the_others_are_counted(
  models, requests, tmp_path, monkeypatch, warned
):
  answer = tiny.pipeline().generate

  def sometimes(prompt, stems, *, seed, **options):
    if seed in broken:
      raise DivergedError("the model made NaN")
    return answer(prompt, stems, seed=seed, **options)

  monkeypatch.setattr(tiny.pipeline(), "generate", sometimes)
  broken = {1}
  for _ in range(2):  # the second is read from what was kept
    row, *_ = as_json(paper.table("1", models, tmp_path / "out", FEW))["rows"]
    assert row["scores"]["synchrony"]["n"] == 2
  assert "piece 1 is left out: the model made NaN" in warned
  broken = range(3)
  with pytest.raises(DivergedError, match="none of 3 songs is sound"):
    paper.table("1", models, tmp_path / "other", FEW)


def test_other_pieces_are_other_cells(models, requests, tmp_path, monkeypatch):
  monkeypatch.setattr(asking, "autoencoded", lambda _: lambda mix: mix)
  paper.one_model(tiny.model(), tmp_path, FEW)
  done = len(requests)
  paper.one_model(tiny.model(), tmp_path, Options(songs=3, seed=1))
  assert len(requests) > done

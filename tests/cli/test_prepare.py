"""`stemphonic prepare …`: a report first, records after it; one line for what cannot be done."""

import functools
import json

import pytest

from stemphonic_jax.data.batching.records import open_records, open_unseen
from tests import tiny
from tests.data.sources import trees

QUICK = ("--no-tempo", "--processes", "1", "--submixes", "0", "--held-out", "1")


@pytest.fixture
def prepare(stemphonic):
  """Runs `stemphonic prepare …` in an empty folder: (exit code, stdout, stderr)."""
  return functools.partial(stemphonic, "prepare")


@pytest.fixture
def music(tmp_path):
  return trees.write_folder(tmp_path / "music", mixes=2, seconds=2.2)


def failure(result, code, message):
  assert result[:2] == (code, "")
  line = result[2].splitlines()[-1]
  assert line.startswith("stemphonic: error: ")
  assert message in line


def test_a_folder_is_checked_and_encoded(prepare, music, tmp_path):
  code, out, _ = prepare("folder", music, "out", "--model", tiny.model(), *QUICK)
  assert (code, out) == (0, "out\n")
  names = {path.name for path in (tmp_path / "out").iterdir()}
  assert names == {".report", "report.jsonl", "report.txt", "report.png", "train", "held_out"}
  assert len(open_records("out/train")) == len(open_records("out/held_out")) == 1


def test_a_check_needs_no_model_and_makes_no_records(prepare, music, tmp_path):
  assert prepare("folder", music, "out", "--check-only", *QUICK)[:2] == (0, "out\n")
  names = {path.name for path in (tmp_path / "out").iterdir()}
  assert names == {".report", "report.jsonl", "report.txt", "report.png"}


def test_records_made_in_another_way_are_not_taken_for_these(prepare, music, tmp_path):
  options = ("folder", music, "out", "--model", tiny.model(), *QUICK, "--held-out", "0")
  assert prepare(*options)[0] == 0
  assert open_unseen(tmp_path / "out").directory == tmp_path / "out" / "train"
  failure(prepare(*options, "--seed", "1"), 78, "was prepared with seed = 0, now it is 1")
  failure(prepare(*options, "--held-out", "1"), 78, "prepared with mixes = 2, now it is 1")
  assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"train"}
  assert prepare(*options)[0] == 0
  (tmp_path / "out" / "held_out").mkdir()
  failure(prepare(*options), 78, "mixes were held out, now none are")


def test_bad_mixes_end_the_run_after_the_report(prepare, music, tmp_path):
  stem = next(path for path in sorted(music.rglob("*.wav")) if path.stem not in ("mix", "mixture"))
  stem.write_bytes(b"RIFF")
  failure(
    prepare("folder", music, "out", "--check-only", *QUICK), 65, "1 of 2 mixes cannot be used"
  )
  assert "1 mixes left out" in (tmp_path / "out" / "report.txt").read_text()


def test_captions_come_from_a_file(prepare, music, tmp_path):
  ids = [path.name for path in sorted(music.iterdir()) if path.is_dir()]
  lines = [f'{{"id": "{name}", "caption": "very warm soul"}}' for name in ids]
  (tmp_path / "words.jsonl").write_text("\n".join(lines))
  options = ("--model", tiny.model(), "--captions", "words.jsonl", *QUICK)
  assert prepare("folder", music, "out", *options)[0] == 0
  assert open_records("out/train")[0].caption == "very warm soul"


def test_captions_that_match_are_taken_and_others_are_said(prepare, music, tmp_path):
  check = ("folder", music, "out", "--check-only", *QUICK, "--captions", "words.jsonl")
  (tmp_path / "words.jsonl").write_text('{"id": "mix_00", "caption": "soul"}')
  failure(prepare(*check), 65, "1 of 1 ids are no mixes of this set: 'mix_00'; its ids are as")
  assert not (tmp_path / "out").exists()
  with (tmp_path / "words.jsonl").open("a") as file:
    file.write('\n{"id": "mix 00", "caption": "soul"}')
  assert prepare(*check)[0] == 0
  rows = [json.loads(line) for line in (tmp_path / "out" / "report.jsonl").read_text().splitlines()]
  assert [row["caption_from"] for row in rows] == ["file", "given"]


def test_its_own_report_is_no_mix_of_the_folder(prepare, music):
  check = ("folder", music, music / "records", "--check-only", *QUICK)
  for _ in range(2):
    assert prepare(*check)[0] == 0
    assert len((music / "records" / "report.jsonl").read_text().splitlines()) == 2


def test_a_report_in_the_folder_of_a_mix_costs_no_mix(prepare, music):
  mix = next(path for path in sorted(music.iterdir()) if path.is_dir())
  check = ("folder", music, mix, "--check-only", *QUICK)
  for _ in range(2):
    assert prepare(*check)[0] == 0
    assert len((mix / "report.jsonl").read_text().splitlines()) == 2


def test_a_place_that_cannot_be_written_is_named(prepare, music, tmp_path):
  (tmp_path / "file").touch()
  for out in ("file", "file/deep"):
    result = prepare("folder", music, tmp_path / out, "--check-only", *QUICK)
    failure(result, 73, f"{tmp_path / out}: cannot be written")


def test_one_song_is_enough_where_none_is_held_out(prepare, tmp_path):
  music = trees.write_folder(tmp_path / "music", mixes=1, seconds=2.2)
  check = ("folder", music, "out", "--check-only", *QUICK)
  failure(prepare(*check), 65, "or hold none out (--held-out 0, data.held_out=0)")
  assert prepare(*check, "--held-out", "0")[0] == 0


def test_how_far_stems_may_end_apart_can_be_said(prepare, music):
  trees.tone(music / "mix 00" / "drums.wav", 1, 0.9)
  check = ("folder", music, "out", "--check-only", *QUICK)
  failure(prepare(*check), 65, "between them; export them from one start to one end, or allow more")
  assert prepare(*check, "--tolerance", "1.5")[0] == 0


@pytest.mark.parametrize(
  ("option", "expected"),
  [
    ("--max-bad", "a number from 0 to 1"),
    ("--tolerance", "a number from 0 to 1800"),
    ("--held-out", "a whole number from 0 on"),
    ("--submixes", "a whole number from 0 on"),
    ("--processes", "a whole number from 0 to 1024"),
    ("--shard", "a whole number from 1 on"),
    ("--seed", "a whole number from 0 to 4294967295"),
  ],
)
@pytest.mark.parametrize("value", ["-1", "nan", "1e9", "x", "inf"])
def test_numbers_have_a_range(prepare, option, value, expected):
  message = (
    f"argument {option}: got {value!r}, expected {expected}; see `stemphonic prepare --help`"
  )
  failure(prepare("folder", "music", "out", "--check-only", option, value), 2, message)


@pytest.mark.parametrize(
  ("arguments", "code", "message"),
  [
    (("folder", "music", "out"), 2, "--model DIR"),
    (("fodler", "music", "out", "--check-only"), 2, "did you mean 'folder'"),
    (("folder", "nowhere", "out", "--check-only"), 66, "nowhere: no such folder"),
    (("musdb", "music", "out", "--check-only"), 66, "musdb"),
    (("folder", "music", "out", "--check-only", "--host", "2/2"), 2, "expected I/N"),
    (("folder", "music", "out", "--check-only", "--host", f"0/{'9' * 5000}"), 2, "expected I/N"),
    (("folder", "", "out", "--check-only"), 2, "argument root: got '', expected a path"),
    (("folder", "music", "", "--check-only"), 2, "argument out: got '', expected a path"),
    (("folder", "music", "out", "--check-only", "--shard", "0"), 2, "expected a whole number"),
    (
      ("folder", "music", "out", "--check-only", "--captions", "none"),
      66,
      "no such file of captions",
    ),
    (("folder", "music", "out", "--model", "nowhere"), 66, "no such model folder"),
  ],
)
def test_what_cannot_be_done_is_one_line(prepare, music, tmp_path, arguments, code, message):
  failure(prepare(*arguments), code, message)
  assert not (tmp_path / "out").exists()

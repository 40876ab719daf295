"""The check of a data set: a row for every mix, however it ends, and however often it is killed."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
import soundfile

from stemphonic_jax.audio.files import write_wav
from stemphonic_jax.data.preparing import check as checking
from stemphonic_jax.data.preparing.check import Rules, check, refuse_bad
from stemphonic_jax.data.preparing.report import write_report
from stemphonic_jax.data.sources.catalogue import scan
from stemphonic_jax.errors import DataError, UsageError
from tests.data.sources import trees

RULES = Rules(44_100, 3584, estimate_tempo=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """Six mixes of which one is damaged and one has a stem that is far too short."""
  root = trees.write_folder(tmp_path_factory.mktemp("set") / "music", mixes=6, seconds=1.2)
  first, second = (entry.parts[0].files[0] for entry in scan("folder", root).entries[:2])
  first.write_bytes(first.read_bytes()[:-20_000])
  soundfile.write(second, np.full((9 * 44_100, 2), 0.1), 44_100)
  return root


@pytest.fixture
def catalogue(root):
  return scan("folder", root)


def test_every_mix_has_a_row_with_its_reason(catalogue, tmp_path):
  rows = check(catalogue, tmp_path, RULES, {}, processes=1)
  assert [row["id"] for row in rows] == [entry.id for entry in catalogue.entries]
  assert [row["taken"] for row in rows] == [False, False, True, True, True, True]
  assert "expected" in rows[1]["reason"]
  assert not any("\n" in row["reason"] for row in rows)
  good = rows[2]
  assert good["types"].keys() == good["activity"].keys() == good["findings"]["stems"].keys()
  assert all(0 < share <= 1 for share in good["activity"].values())
  assert good["caption_from"] in ("given", "template")
  lines = (tmp_path / "report.jsonl").read_text().splitlines()
  assert [json.loads(line) for line in lines] == rows
  assert {path.name for path in tmp_path.iterdir()} == {"report.jsonl", ".report"}


def test_a_report_is_the_same_wherever_the_set_is(catalogue, root, tmp_path, monkeypatch):
  moved = shutil.copytree(root, tmp_path / "moved")
  monkeypatch.chdir(tmp_path)
  sets = {"a": catalogue, "b": scan("folder", moved), "c": scan("folder", "moved")}
  for name, found in sets.items():
    check(found, tmp_path / name, RULES, {}, processes=1)
  assert len({(tmp_path / name / "report.jsonl").read_bytes() for name in sets}) == 3
  assert len({checking.report_digest(tmp_path / name) for name in sets}) == 1
  (moved / "another").mkdir()
  write_wav(moved / "another" / "drums.wav", np.full((60_000, 2), 0.1), 44_100)
  check(scan("folder", moved), tmp_path / "b", RULES, {}, processes=1)
  assert len({checking.report_digest(tmp_path / name) for name in sets}) == 2
  assert checking.report_digest(tmp_path / "none") is None


def test_several_processes_write_the_same_report(catalogue, tmp_path, monkeypatch):
  monkeypatch.setattr(checking, "CHUNK", 2)
  monkeypatch.setattr(checking, "CHUNKS", 1)
  for processes in (1, 2):
    check(catalogue, tmp_path / str(processes), RULES, {}, processes=processes)
  one, two = ((tmp_path / n / "report.jsonl").read_bytes() for n in "12")
  assert one == two


def test_a_check_goes_on_where_it_was_cut_off(catalogue, tmp_path, monkeypatch):
  monkeypatch.setattr(checking, "CHUNK", 2)
  monkeypatch.setattr(checking, "CHUNKS", 1)
  expected = check(catalogue, tmp_path / "whole", RULES, {}, processes=1)
  read, seen = checking.read_entry, []

  def cut_off(entry, *rest, **options):
    seen.append(entry.id)
    if len(seen) == 4:
      raise KeyboardInterrupt
    return read(entry, *rest, **options)

  monkeypatch.setattr(checking, "read_entry", cut_off)
  with pytest.raises(KeyboardInterrupt):
    check(catalogue, tmp_path / "cut", RULES, {}, processes=1)
  assert not (tmp_path / "cut" / "report.jsonl").exists()
  assert check(catalogue, tmp_path / "cut", RULES, {}, processes=1) == expected
  assert seen[4:] == [entry.id for entry in catalogue.entries[2:]]  # a chunk of two was kept


def test_a_report_holds_until_something_else_is_asked(catalogue, tmp_path, monkeypatch):
  first = check(catalogue, tmp_path, RULES, {}, processes=1)
  read, seen = checking.read_entry, []
  spy = lambda entry, *rest, **o: seen.append(entry.id) or read(entry, *rest, **o)  # noqa: E731
  monkeypatch.setattr(checking, "read_entry", spy)
  assert check(catalogue, tmp_path, RULES, {}, processes=1) == first
  assert seen == []
  fewer = dataclasses.replace(catalogue, entries=catalogue.entries[1:])
  assert check(fewer, tmp_path, RULES, {}, processes=1) == first[1:]
  spoken = {catalogue.entries[3].id: "warm soul"}
  assert check(fewer, tmp_path, RULES, spoken, processes=1)[2]["caption"] == "warm soul"
  assert len(seen) == 2 * len(fewer.entries)


def test_other_rules_begin_anew(catalogue, tmp_path, monkeypatch):
  monkeypatch.setattr(checking, "CHUNK", 2)
  monkeypatch.setattr(checking, "CHUNKS", 1)
  monkeypatch.setattr(checking, "_run", lambda *_: (_ for _ in [0] if check))
  with pytest.raises(FileNotFoundError):
    check(catalogue, tmp_path, RULES, {}, processes=1)
  stamp = (tmp_path / ".check" / "stamp").read_text()
  with pytest.raises(FileNotFoundError):
    check(catalogue, tmp_path, RULES, {"a": "caption"}, processes=1)
  assert (tmp_path / ".check" / "stamp").read_text() != stamp


def test_captions_of_a_file_and_tempi_are_in_the_rows(catalogue, tmp_path, monkeypatch):
  monkeypatch.setattr(checking.tempo, "estimate", lambda audio, rate: 96.5)
  spoken = {catalogue.entries[3].id: "warm soul"}
  rows = check(catalogue, tmp_path, Rules(44_100, 3584), spoken, processes=1)
  assert (rows[3]["caption"], rows[3]["caption_from"]) == ("warm soul", "file")
  for row in rows[2:]:
    assert row["bpm_from"] in ("given", "estimated")
    assert row["bpm_from"] == "given" or row["bpm"] == 96.5


def test_too_many_bad_mixes_end_the_work_after_the_report(catalogue, tmp_path):
  rows = check(catalogue, tmp_path, RULES, {}, processes=1)
  refuse_bad(rows, tmp_path, most=0.34)
  with pytest.raises(DataError, match=r"2 of 6 mixes cannot be used, more than 0\.3 of them"):
    refuse_bad(rows, tmp_path, most=0.3)
  with pytest.raises(DataError, match="6 of 6"):
    refuse_bad([row | {"taken": False, "reason": "x"} for row in rows], tmp_path, most=1.0)


def test_the_report_counts_what_there_is(catalogue, tmp_path):
  rows = check(catalogue, tmp_path, RULES, {}, processes=1)
  text = write_report(tmp_path, catalogue, rows)
  assert text + "\n" == (tmp_path / "report.txt").read_text()
  assert text.startswith("folder: 4 of 6 mixes taken")
  assert "2 mixes left out:" in text
  counts = [len(row["types"]) for row in rows if row["taken"]]
  assert f"stems per mix: {np.mean(counts):.1f} ± {np.std(counts):.1f}" in text
  hours = sum(row["seconds"] for row in rows if row["taken"]) / 3600
  assert f"{hours:.2f} hours of mixes" in text
  assert not math.isnan(hours)
  assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_is_a_length_of_time(seconds):
  with pytest.raises(UsageError, match=f"tolerance: got {seconds}, expected a number of seconds"):
    Rules(44_100, 2048, seconds)

import json
import shutil

import pytest

from stemphonic_jax.data.sources import catalogue, musdb, reader
from stemphonic_jax.errors import DataError, UsageError
from tests.audio import packing
from tests.data.sources import trees


def test_the_four_stems_and_the_splits(tmp_path):
  root = trees.write_musdb(tmp_path, seconds=0.05)
  found = catalogue.scan("musdb", root)
  assert {entry.id: entry.split for entry in found.entries} == {
    "train/A Band - Sång 00": "train",
    "train/ANiMAL - Rockshow": "valid",
    "test/A Band - Song 02": "test",
  }
  for entry in found.entries:
    assert [part.type for part in entry.parts] == ["drums", "basses", "other", "vocals"]
    files = [[file.name for file in part.files] for part in entry.parts]
    assert files == [["drums.wav"], ["bass.wav"], ["other.wav"], ["vocals.wav"]]
    assert entry.notes == ("other: of no known type; other.json can name it",)
    assert (entry.bpm, entry.caption) == (None, "")


def test_fourteen_songs_validate_only_in_train():
  assert len(musdb.VALID) == 14


def test_other_json_names_what_is_heard_in_other(tmp_path, caplog):
  root = trees.write_musdb(tmp_path / "unpacked" / "musdb18hq", seconds=0.05)
  content = {"A Band - Sång 00": "Guitar", "ANiMAL - Rockshow": "theremin"}
  (root / "other.json").write_text(json.dumps(content))
  found = catalogue.scan("musdb", tmp_path / "unpacked")  # or one folder above
  first, second, third = found.entries
  assert first.id == "musdb18hq/train/A Band - Sång 00"
  assert [entry.parts[2].type for entry in found.entries] == ["guitars", "theremin", "other"]
  assert (first.notes, second.notes, len(third.notes)) == ((), (), 1)
  (root / "other.json").write_text('{"A Band - Sång 00": 3, "ANiMAL - Rockshow": "flute"}')
  found = catalogue.scan("musdb", root)
  assert [entry.parts[2].type for entry in found.entries] == ["other", "winds", "other"]
  assert "'A Band - Sång 00' is 3, expected a stem type; left out" in caplog.text
  (root / "other.json").write_text("{")
  with pytest.raises(DataError, match=r"other\.json: malformed JSON"):
    catalogue.scan("musdb", root)


def test_two_versions_side_by_side_are_not_mixed_up(tmp_path):
  trees.write_musdb(tmp_path / "musdb18", packed=True)
  trees.write_musdb(tmp_path / "musdb18hq", seconds=0.05)
  with pytest.raises(UsageError, match=r"holds 2 sets \(musdb18, musdb18hq\); name one of these"):
    catalogue.scan("musdb", tmp_path)


def test_stem_files_are_streams_one_to_four(tmp_path):
  root = trees.write_musdb(tmp_path, packed=True)
  entry = catalogue.scan("musdb", root).entries[0]
  assert entry.id == "train/A Band - Sång 00.stem.mp4"
  assert [(part.name, part.stream) for part in entry.parts] == [
    ("drums", 1),
    ("basses", 2),
    ("other", 3),
    ("vocals", 4),
  ]
  assert {part.files for part in entry.parts} == {(root / entry.id,)}
  assert catalogue.scan("musdb", root).entries[1].split == "valid"


def test_the_stems_of_a_stem_file_are_those_packed(tmp_path, monkeypatch):
  ffmpeg = packing.use_ffmpeg(tmp_path, monkeypatch)
  stems = [packing.tones(number, 1.1) for number in range(4)]
  root = tmp_path / "musdb18"
  mix = sum(stems[1:], stems[0])
  path = packing.pack(ffmpeg, root / "test" / "A - B.stem.mp4", [mix, *stems], cover=True)
  (entry,) = catalogue.scan("musdb", root).entries
  found, findings = reader.read_entry(entry, packing.RATE)
  assert list(found.stems) == ["drums", "basses", "other", "vocals"]
  for expected, stem in zip(stems, found.stems.values(), strict=True):
    assert packing.error(stem.audio, expected) < packing.CLOSE
  # None was padded: what is packed together is equally long.
  assert {finding.note for finding in findings.stems.values()} == {""}
  path.unlink()
  packing.pack(ffmpeg, path, [mix, *stems[:3]])
  with pytest.raises(DataError, match=r"A - B\.stem\.mp4: audio stream 4 cannot be read"):
    reader.read_entry(entry, packing.RATE)


def test_a_song_without_one_of_the_four_is_rejected(tmp_path):
  root = trees.write_musdb(tmp_path, seconds=0.05)
  (root / "train" / "ANiMAL - Rockshow" / "bass.wav").unlink()
  (root / "train" / "empty").mkdir()
  shutil.rmtree(root / "test")
  found = catalogue.scan("musdb", root)
  assert [entry.id for entry in found.entries] == ["train/A Band - Sång 00"]
  assert found.rejected == {
    "train/ANiMAL - Rockshow": "train/ANiMAL - Rockshow/bass.wav: no such file; copy or unpack it"
    " again",
    "train/empty": "train/empty/drums.wav: no such file; copy or unpack it again",
  }

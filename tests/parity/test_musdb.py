"""MUSDB18 as its own package reads it: the same songs, splits and stems, the same samples."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from stemphonic_jax.audio.files import read_audio
from stemphonic_jax.audio.stems_mp4 import read_stream
from stemphonic_jax.data.sources import catalogue, musdb
from tests.audio import packing
from tests.data.sources import trees

if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
  pytest.skip("musdb reads even WAV with ffmpeg", allow_module_level=True)
reader = pytest.importorskip("musdb")
stempeg = pytest.importorskip("stempeg")  # what musdb reads files with


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_samples_of_every_stem_are_equal(split, tmp_path):
  root = trees.write_musdb(tmp_path, mixes=4, seconds=0.3)
  subset = {"subsets": "test"} if split == "test" else {"subsets": "train", "split": split}
  expected = {track.name: track for track in reader.DB(str(root), is_wav=True, **subset)}
  found = {e.id.split("/")[1]: e for e in catalogue.scan("musdb", root).entries if e.split == split}
  assert found.keys() == expected.keys()
  for title, entry in found.items():
    sources = expected[title].sources
    assert {part.label for part in entry.parts} == sources.keys()
    for part in entry.parts:
      (file,) = part.files
      assert str(file) == sources[part.label].path
      np.testing.assert_array_equal(read_audio(file, trees.RATE), sources[part.label].audio)


def test_stem_files_give_the_same_samples(tmp_path):
  """But for two things that musdb does: it rounds to 16 bits, and clips."""
  stems = [packing.tones(number, 0.7) for number in range(4)]
  stems[0] *= 4.0
  path = tmp_path / "train" / "A Band - Song.stem.mp4"
  packing.pack("ffmpeg", path, [sum(stems[1:], stems[0]), *stems], cover=True)
  (track,) = reader.DB(str(tmp_path), subsets="train", split="train")
  (entry,) = catalogue.scan("musdb", tmp_path).entries
  for part in entry.parts:
    audio, rate = read_stream(part.files[0], part.stream)
    expected = track.sources[part.label].audio
    assert rate == track.sources[part.label].rate
    np.testing.assert_array_equal(
      np.clip(np.round(audio * 2.0**15), -(2**15), 2**15 - 1), expected * 2.0**15
    )


def test_a_song_of_native_instruments_own_layout_is_equal():
  """The example that comes with stempeg: no times of edits, and a cover beside the streams."""
  path = stempeg.example_stem_path()
  expected, rate = stempeg.read_stems(path, dtype=np.float32)
  assert len(expected) == 5
  for stream, audio in enumerate(expected):
    found = read_stream(Path(path), stream)
    assert found[1] == rate
    np.testing.assert_array_equal(found[0], audio)


def test_the_songs_that_are_validated_on_are_the_same(tmp_path):
  assert set(reader.DB(str(tmp_path), is_wav=True).setup["validation_tracks"]) == musdb.VALID


def test_the_streams_of_a_stem_file_are_the_same(tmp_path):
  streams = reader.DB(str(tmp_path), is_wav=True).setup["stem_ids"]
  entry = catalogue.scan("musdb", trees.write_musdb(tmp_path, packed=True)).entries[0]
  assert {"mixture": 0, **{part.label: part.stream for part in entry.parts}} == streams

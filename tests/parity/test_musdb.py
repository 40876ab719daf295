"""MUSDB18-HQ as its own package reads it: the same songs, splits and stems, the same samples."""

import shutil

import numpy as np
import pytest

from stemphonic_jax.audio.files import read_audio
from stemphonic_jax.data.sources import catalogue, musdb
from tests.data.sources import trees

if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
  pytest.skip("musdb reads even WAV with ffmpeg", allow_module_level=True)
reader = pytest.importorskip("musdb")


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


def test_the_songs_that_are_validated_on_are_the_same(tmp_path):
  assert set(reader.DB(str(tmp_path), is_wav=True).setup["validation_tracks"]) == musdb.VALID


def test_the_streams_of_a_stem_file_are_the_same(tmp_path):
  streams = reader.DB(str(tmp_path), is_wav=True).setup["stem_ids"]
  entry = catalogue.scan("musdb", trees.write_musdb(tmp_path, packed=True)).entries[0]
  assert {"mixture": 0, **{part.label: part.stream for part in entry.parts}} == streams

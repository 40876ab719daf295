"""What is kept is found again only where all that it depends on is the same."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from stemphonic_jax.errors import DataError
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.features import SongFeatures, StemFeatures
from stemphonic_jax.evaluation.songs.ablation import Pieces
from stemphonic_jax.evaluation.songs.asking import Prompt


@pytest.fixture
def package(tmp_path):
  """A copy of the package's sources."""
  only = lambda folder, names: {n for n in names if "." in n and not n.endswith(".py")}  # noqa: E731
  return shutil.copytree(kept.PACKAGE, tmp_path / "package", ignore=only)


def codes(package):
  kept.code.cache_clear()
  return kept.code(kept.SONG, package), kept.code(kept.CELL, package)


@pytest.mark.parametrize(
  ("file", "song", "cell"),
  [
    ("sampler.py", True, True),
    ("models/dit.py", True, True),
    ("generation/pipeline.py", True, True),
    ("data/sources/demo/drums.py", True, True),
    ("evaluation/songs/corpus.py", True, True),
    ("evaluation/measures/harmony.py", False, True),
    ("evaluation/shown/sheet.py", False, False),
    ("bench/train.py", False, False),
  ],
)
def test_other_code_makes_other_songs_and_cells(package, file, song, cell):
  before = codes(package)
  with (package / file).open("a") as opened:
    opened.write("# changed")
  after = codes(package)
  assert (before[0] != after[0], before[1] != after[1]) == (song, cell)


def test_another_release_of_jax_makes_other_songs(package, monkeypatch):
  before = codes(package)
  monkeypatch.setattr(kept.jax, "__version__", "another")
  assert set(before).isdisjoint(codes(package))


def test_all_places_are_there():
  assert [place for place in kept.CELL if not (kept.PACKAGE / place).exists()] == []


def song(level=0.0, kind="keys"):
  stem = StemFeatures(
    kind, np.full((4, 3), level, np.float16), np.ones((2, 12), np.float32), np.ones(2, np.int8)
  )
  return SongFeatures("piece", 120.0, {"keys": stem})


def test_pieces_are_told_apart_by_how_they_sound():
  pieces = Pieces([Prompt("piece", "Rock", 120.0, {})], [song()], [song()], [song()])
  again = Pieces([Prompt("piece", "Rock", 120.0, {})], [song()], [song()], [song()])
  assert (pieces.asked, pieces.stamp) == (again.asked, again.stamp)
  for change in ({"real": [song(1.0)]}, {"reference": [song(kind="drums")]}):
    assert replace(pieces, **change).stamp != pieces.stamp
    assert replace(pieces, **change).asked == pieces.asked  # so songs are made once
  assert replace(pieces, prompts=[Prompt("piece", "Jazz", 120.0, {})]).asked != pieces.asked


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"scores": 3}', "[" * 100_000])
def test_a_damaged_cell_is_named(tmp_path, monkeypatch, content):
  monkeypatch.setattr(kept, "digest", lambda key: "key")
  (tmp_path / "cells").mkdir()
  (tmp_path / "cells" / "key.json").write_text(content)
  with pytest.raises(DataError, match=r"key\.json: is damaged .* remove it, and it is made again"):
    kept.cell(tmp_path, {}, lambda: None)

"""What is kept is found again only where all that it depends on is the same."""

import ast
import functools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stemphonic_jax.errors import DataError
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.features import SongFeatures, StemFeatures
from stemphonic_jax.evaluation.listeners import ears, music, networks
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


# What is imported and no part of a hash, because it changes nothing of what is kept: errors, lines
# of log, tables of numbers, weights as they are (their digest counts), which pieces are measured
# (what is heard in them counts).
NO_PART = {
  *("__init__.py", "errors.py", "audio/folders.py", "data/bar.py"),
  *("evaluation/scores.py", "evaluation/kept.py"),
  *(f"weights/{name}.py" for name in ("checkpoint", "files", "lazy", "tensors", "wrappers")),
  *(f"evaluation/{name}.py" for name in ("songs/trained", "tables/basis", "tables/published")),
  *("data/preparing/check.py", "data/sources/catalogue.py", "evaluation/shown/sheet.py"),
  *(f"training/inputs/{name}.py" for name in ("corpora", "prepare")),
  *(f"data/batching/{name}.py" for name in ("alignment", "grouping", "pipeline")),  # to train
  "data/sources/folder.py",  # of audio that users give
}
MEASURED = ("evaluation/measures", "evaluation/distances", "evaluation/listeners")
OTHERS = {  # what else is no part of one hash: how songs are measured, and what hands them over
  "song": (*MEASURED, "data/bpe.py"),
  "cell": ("data/bpe.py",),
  **dict.fromkeys(("vggish", "clap", "music"), ("evaluation", "data/stems.py")),
  "features": (),
  **dict.fromkeys(("accompanying", "continuing", "editing", "prompts", "repairing"), MEASURED),
  "compared": (
    *(*MEASURED, "data/preparing/parts.py"),  # whose source is in its key
    *(f"evaluation/tables/{name}.py" for name in ("editing", "paper", "systems")),  # what is shown
  ),
}


def sources(places):
  found = [
    [kept.PACKAGE / p] if p.endswith(".py") else (kept.PACKAGE / p).rglob("*.py") for p in places
  ]
  return {path.relative_to(kept.PACKAGE).as_posix() for some in found for path in some}


@functools.cache
def imported(source):
  """The modules of the package that one imports, wherever it does."""
  found = []
  for node in ast.walk(ast.parse((kept.PACKAGE / source).read_text())):
    if isinstance(node, ast.ImportFrom) and node.module.startswith("stemphonic_jax"):
      place = Path(*node.module.split(".")[1:])
      for name in (alias.name for alias in node.names):
        modules = (
          place / f"{name}.py",
          place / name / "__init__.py",
          f"{place}.py",
          place / "__init__.py",
        )
        found.append(next(str(m) for m in modules if (kept.PACKAGE / m).is_file()))
  return found


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_is_kept_depends_on_all_that_it_is_made_with(name):
  """A table whose songs are made with the functions of another would not see them change."""
  parts = {"song": kept.SONG, "cell": kept.CELL, "features": ears.FEATURES}
  parts |= {"vggish": networks.VGGISH, "clap": networks.CLAP, "music": music.CODE}
  table = f"evaluation/tables/{name}.py"
  own = sources(parts.get(name, (table,)))
  known = (
    own | NO_PART | sources(OTHERS[name]) | (sources(kept.SONG) if name not in parts else set())
  )
  assert sorted({module for source in own for module in imported(source)} - known) == []


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

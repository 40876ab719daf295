"""The notebook runs from top to bottom, with a tiny model and short songs.

Its fine-tuning, whose commands docs/training.md has too, only where STEMPHONIC_NOTEBOOK is 1.
"""

import os
from pathlib import Path

import pytest

from tests.test_docs import SECONDS, stand_in  # noqa: F401

nbformat = pytest.importorskip("nbformat", reason="needs nbclient, of the extra test")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient, of the extra test")

LAUNCH = Path(__file__).resolve().parents[2] / "launch"


def test_the_notebook_runs_from_top_to_bottom(stand_in, tmp_path, monkeypatch):  # noqa: F811
  monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")  # and one device
  notebook = nbformat.read(LAUNCH / "colab.ipynb", as_version=4)
  small = {"MODEL": str(stand_in), "STEMS": "drums, basses", "SECONDS": SECONDS}
  train = int(os.environ.get("STEMPHONIC_NOTEBOOK", "0"))
  small |= {"OUT": str(tmp_path / "song"), "TRAIN_STEPS": train, "CONFIG": "configs/demo.py:tiny"}
  for cell in notebook.cells:
    lines = cell.source.splitlines()
    names = [line.partition(" = ")[0] for line in lines]
    new = [
      f"{name} = {small[name]!r}" if name in small else line
      for name, line in zip(names, lines, strict=True)
    ]
    cell.source = "\n".join(new).replace("--held-out 0", "--held-out 0 --no-tempo --processes 1")
  nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": LAUNCH}}).execute()
  outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
  players = [o for o in outputs if "text/html" in o.get("data", {})]
  assert len(players) == 4 + train
  assert all("<iframe" in "".join(o["data"]["text/html"]) for o in players)
  assert (tmp_path / "song.dawproject").is_file()
  assert (tmp_path / "song_model").is_dir() == bool(train)

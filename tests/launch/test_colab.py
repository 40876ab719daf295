"""The notebook runs from top to bottom, with a tiny model and short songs.

Its cells are run here as they stand; with a kernel, and fine-tuning, whose commands are those of
docs/training.md, where STEMPHONIC_NOTEBOOK is 1. That takes half a minute more.
"""

import ast
import json
import os
from pathlib import Path

import pytest

from tests.test_docs import SECONDS, stand_in  # noqa: F401

NOTEBOOK = Path(__file__).resolve().parents[2] / "launch" / "colab.ipynb"
WHOLE = os.environ.get("STEMPHONIC_NOTEBOOK") == "1"


def small(source: str, model: Path, folder: Path, steps: int) -> str:
  """A cell that makes little, of a model that is small."""
  new = {"MODEL": str(model), "STEMS": "drums, basses", "SECONDS": SECONDS, "TRAIN_STEPS": steps}
  new |= {"OUT": str(folder / "song"), "CONFIG": "configs/demo.py:tiny"}
  lines = [line.partition(" = ") for line in source.splitlines()]
  lines = [f"{n} = {new[n]!r}" if n in new else f"{n}{sign}{rest}" for n, sign, rest in lines]
  return "\n".join(lines).replace("--held-out 0", "--held-out 0 --no-tempo --processes 1")


def test_the_cells_run_one_after_the_other(stand_in, tmp_path, monkeypatch):  # noqa: F811
  monkeypatch.chdir(NOTEBOOK.parent)
  cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
  names, shown = {"__name__": "notebook"}, []
  names["display"] = shown.append
  for cell in cells:
    source = small("".join(cell["source"]), stand_in, tmp_path, 0).replace("\n  !", "\n  # !")
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    if last:
      shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
  players = [page._repr_html_() for page in shown if hasattr(page, "_repr_html_")]
  assert len(players) == 4
  assert all(page.startswith("<iframe") for page in players)
  assert (tmp_path / "song.dawproject").is_file()


@pytest.mark.skipif(not WHOLE, reason="STEMPHONIC_NOTEBOOK=1 runs the notebook with a kernel")
def test_the_notebook_runs_with_a_kernel(stand_in, tmp_path, monkeypatch):  # noqa: F811
  nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
  monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")  # and one device
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  for cell in notebook.cells:
    cell.source = small(cell.source, stand_in, tmp_path, 1)
  place = {"metadata": {"path": NOTEBOOK.parent}}
  nbclient.NotebookClient(notebook, timeout=300, resources=place).execute()
  outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
  assert len([output for output in outputs if "text/html" in output.get("data", {})]) == 5
  assert (tmp_path / "song_model").is_dir()

"""The check of a GPU: its small form on a CPU, in a Python that has jax and flax alone."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

from configs import c_ii
from stemphonic_jax.training.plan import describe

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
# Hides from a Python what neither jax nor flax brings.
BARE = """
import sys
from importlib.machinery import PathFinder

MISSING = {"beartype", "grain", "jaxtyping", "librosa", "matplotlib", "ml_collections",
           "safetensors", "sentencepiece", "soundfile", "soxr", "tensorflow_datasets"}


class Finder:
  def find_spec(self, name, *place):
    return None if name.partition(".")[0] in MISSING else PathFinder.find_spec(name, *place)


sys.meta_path = [Finder() if finder is PathFinder else finder for finder in sys.meta_path]
"""


def check(*arguments, **environment):
  return subprocess.run(
    ["bash", LAUNCH / "gpu_check.sh", *arguments],
    env=os.environ | {"PYTHON": sys.executable} | environment,
    capture_output=True,
    text=True,
  )


def test_its_page_has_a_row_for_each_program(tmp_path):
  (tmp_path / "sitecustomize.py").write_text(BARE)
  page = tmp_path / "page.md"
  done = check("--tiny", f"--out={page}", PYTHONPATH=str(tmp_path))
  assert done.returncode == 0, done.stderr
  text = page.read_text()
  assert text.startswith("# cpu, one of 8\n")
  assert re.search(r"^\| bfloat16 \| [\d.]+ \| - \|$", text, re.MULTILINE)
  # On a CPU attention is computed in one way only.
  step = re.search(r"^\| head \| [\d.e+]+ \| [\d.]+ \| .* \| \d+% \| - \|$", text, re.MULTILINE)
  passes = re.findall(r"^\| (\d) \| head \| .* \| \d+% \| - \|$", text, re.MULTILINE)
  assert (bool(step), passes) == (True, ["1", "2"])


def test_what_is_missing_is_one_line(tmp_path):
  for environment, line in (
    ({"PYTHON": "/bin/false"}, "'/bin/false' has no jax and flax; name one that has: PYTHON="),
    ({}, f"jax of '{sys.executable}' finds no GPU; --tiny runs without one"),
  ):
    done = check(f"--out={tmp_path}/page.md", **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"gpu_check: {line}")
    assert done.stderr.count("\n") == 1


def test_its_model_is_the_paper_s():
  there = runpy.run_path(str(LAUNCH / "gpu_check.py"))
  config = c_ii.get_config()
  size = describe.step_size(config)
  assert there["FULL"] == describe.network(config)
  assert (there["FRAMES"], there["TOKENS"]) == (size["frames"], size["tokens"])
  assert (there["STEPS"], there["INTERVAL"]) == (config.sample.steps, tuple(config.sample.interval))

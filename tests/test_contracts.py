"""The rules of the house that a machine can check, on every source file there is."""

import ast
import configparser
import importlib.metadata
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import pytest
from ml_collections import ConfigDict

from stemphonic_jax import flow

ROOT = Path(__file__).resolve().parents[1]
SETUP = ROOT / "setup.cfg"
PACKAGE = ROOT / "stemphonic_jax"
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def name(path: Path) -> str:
  return str(path.relative_to(ROOT))


def test_modules_import_only_from_the_layers_below():
  # In a process of its own, as it switches off every logger that there is.
  program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
  subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_models_flow_and_sampler_run_with_only_jax_and_flax():
  contracts = configparser.ConfigParser()
  contracts.read(SETUP)
  forbidden = contracts["importlinter:contract:bare"]["forbidden_modules"].split()
  absent = set(forbidden) - {"absl", "optax", "orbax"}  # flax brings these along
  program = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({absent}))  # None in sys.modules is a module that is not there
import stemphonic_jax.flow, stemphonic_jax.sampler
from stemphonic_jax import models, tokens
for package in (models, tokens):
  for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
"""
  subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_shapes_in_signatures_are_asserted():
  x = jnp.zeros((2, 3, 4))
  with pytest.raises(jaxtyping.TypeCheckError):
    flow.interpolate(x, x, jnp.zeros(3))


def test_every_folder_of_modules_is_a_package():
  folders = {path.parent for path in PACKAGE.rglob("*.py")}
  assert [name(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def imports(tree: ast.AST) -> Iterator[str]:
  """Full names of the modules imported anywhere in a source file, also inside of functions."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
      yield node.module


def test_every_import_is_declared():
  modules = {
    module.split(".")[0]
    for path in PACKAGE.rglob("*.py")
    for module in imports(ast.parse(path.read_text()))
  }
  foreign = modules - sys.stdlib_module_names - {"stemphonic_jax"}
  distributions = importlib.metadata.packages_distributions()
  distributions = {"fluidsynth": ["pyfluidsynth"]} | distributions  # which need not be installed
  needed = {normal(distributions.get(module, [module])[0]) for module in foreign}
  declared = {
    normal(re.match(r"[\w.-]+", requirement)[0])
    for requirement in importlib.metadata.requires("stemphonic-jax")
  }
  assert needed - declared == set()


def normal(distribution: str) -> str:
  """A distribution's name as package indices compare it."""
  return re.sub(r"[-_.]+", "-", distribution).lower()


UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}
UNSAFE_OPTIONS = {"shell", "allow_pickle"}


def unsafe(source: str) -> list[str]:
  """What in a source file could run code that came with data, as "line: what"."""
  tree = ast.parse(source)
  found = [module for module in imports(tree) if module.split(".")[0] in UNSAFE_MODULES]
  for node in ast.walk(tree):
    if not isinstance(node, ast.Call):
      continue
    if ast.unparse(node.func) in UNSAFE_CALLS:
      found.append(f"{node.lineno}: {ast.unparse(node)}")
    options = {option.arg: ast.unparse(option.value) for option in node.keywords}
    if ast.unparse(node.func) == "torch.load" and options.get("weights_only") != "True":
      found.append(f"{node.lineno}: {ast.unparse(node)}")
    for option in node.keywords:
      if option.arg in UNSAFE_OPTIONS and ast.unparse(option.value) != "False":
        found.append(f"{node.lineno}: {ast.unparse(option)}")
  return found


@pytest.mark.parametrize(
  "source",
  [
    "import pickle",
    "def f():\n  from joblib import load",
    "eval('1 + 1')",
    "subprocess.run('ls', shell=True)",
    "np.load(path, allow_pickle=trust)",
    "yaml.load(text)",
    "torch.load(path)",
    "torch.load(path, weights_only=trust)",
  ],
)
def test_unsafe_sources_are_recognised(source):
  assert unsafe(source)


@pytest.mark.parametrize(
  "source", ["np.load(path, allow_pickle=False)", "torch.load(path, weights_only=True)"]
)
def test_safe_sources_are_not(source):
  assert unsafe(source) == []


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py"), *CONFIGS], ids=name)
def test_nothing_runs_code_that_came_with_data(path):
  assert unsafe(path.read_text()) == []


def test_every_setting_of_the_paper_has_its_config():
  settings = {"a_i", "a_ii", "b_i", "b_ii", "c_i", "c_ii", "c_ii_act"}
  others = {"base", "pretrain_mix", "vae", "demo", "stable_audio"}
  assert settings | others <= {path.stem for path in CONFIGS}


def config_of(path, size):
  return runpy.run_path(str(path))["get_config"](size)


@pytest.mark.parametrize("size", ["", "small", "tiny"])
@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem != "stable_audio"], ids=name)
def test_every_config_loads(path, size):
  assert isinstance(config_of(path, size), ConfigDict)


def test_an_imported_model_has_a_size_of_its_own():
  (path,) = (p for p in CONFIGS if p.stem == "stable_audio")
  assert all(isinstance(config_of(path, size), ConfigDict) for size in ("", "tiny"))
  with pytest.raises(ValueError, match="size of its own"):
    config_of(path, "small")


def test_the_demo_model_learns_in_runs_of_one_network():
  """Each starts from what the ones before it leave, so its tensors have to fit."""
  (path,) = (p for p in CONFIGS if p.stem == "demo")
  sizes = ("decoder", "envelope", "short", "ensemble", "")
  decoder, envelope, short, ensemble, long = runs = [config_of(path, size) for size in sizes]
  assert decoder.seconds == envelope.seconds < short.seconds == ensemble.seconds < long.seconds
  assert [run.train_vae.only for run in runs] == ["decoder", "envelope", "", "", ""]
  for part in ("vae", "dropout", "sample_rate"):
    assert all(run[part] == short[part] for run in runs)
  for name in set(short.dit) - {"ensemble"}:  # which adds tensors, and changes none
    assert short.dit[name] == ensemble.dit[name]
  for run in (decoder, long):
    assert run.dit == ensemble.dit
    assert {**run.text, "own_tokenizer": True} == {**ensemble.text}

"""`stemphonic checkpoint verify`: says of a run's checkpoints which are whole."""

import contextlib
import functools

import pytest

from stemphonic_jax.training.distributed import mesh
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.checkpoints import Checkpoints
from tests.training import tiny_run


@pytest.fixture
def verify(stemphonic, tmp_path):
  """A run with two checkpoints, and `stemphonic checkpoint verify …` in its parent folder."""
  fresh = state.initial(lambda: tiny_run.create(8), mesh.make_mesh())
  with contextlib.closing(Checkpoints(tmp_path / "run/dit/checkpoints", fingerprint={})) as saved:
    for step in (1, 2):
      saved.save(fresh.replace(step=fresh.step + step), step)

  return functools.partial(stemphonic, "checkpoint", "verify")


def test_whole_checkpoints_are_named(verify):
  one, two = (f"run/dit/checkpoints/{step}: whole\n" for step in (1, 2))
  assert verify("run") == (0, one + two, "")
  assert verify("run/dit/checkpoints") == (0, one + two, "")


def test_a_flipped_bit_is_an_error_that_names_the_file(verify, tmp_path):
  path = next((tmp_path / "run/dit/checkpoints/2/state").rglob("manifest.ocdbt"))
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)
  code, out, error = verify("run")
  name = path.relative_to(tmp_path / "run/dit/checkpoints/2")
  assert out.splitlines()[1] == f"run/dit/checkpoints/2: {name}: other contents"
  assert code == 65
  assert error.startswith("stemphonic: error: damaged: run/dit/checkpoints/2; ")
  assert error.count("\n") == 1


def test_a_stage_without_checkpoints_yet_hides_no_other(verify, tmp_path):
  (tmp_path / "run/adapter/checkpoints").mkdir(parents=True)
  assert verify("run")[0] == 0


def test_a_folder_without_checkpoints_is_an_error(verify):
  assert verify("nowhere")[0] == 66

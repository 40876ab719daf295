"""Checkpoints are whole or not there: what was saved comes back to the bit, damage is noticed."""

import contextlib
import os
import random
import resource
import shutil
import subprocess
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from stemphonic_jax.errors import DataError, MismatchError, OutputError
from stemphonic_jax.training.distributed import mesh
from stemphonic_jax.training.run import checkpoints as module
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.checkpoints import Checkpoints, reached, verify
from tests.training.tiny_run import FINGERPRINT, create

# TensorStore lets Orbax's threads know of a failed write when they have gone.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
WIDE = 512  # so wide that its kernels are cut up between devices


def one_device():
  return mesh.make_mesh(fsdp=8)


def at(step: int, devices=None, width: int = 8) -> state.TrainState:
  """A state whose every number tells of its step."""
  fresh = state.initial(lambda: create(width), devices or one_device())
  moved = jax.tree.map(lambda x: x + jnp.asarray(step, x.dtype), fresh)
  return moved.replace(step=fresh.step + step)


def abstract(devices=None, width: int = 8) -> state.TrainState:
  return state.abstract(lambda: create(width), devices or one_device())


@contextlib.contextmanager
def opened(folder, fingerprint=FINGERPRINT, **options):
  with contextlib.closing(Checkpoints(folder, fingerprint=fingerprint, **options)) as checkpoints:
    yield checkpoints


def save(folder, *steps, **options):
  with opened(folder, **options) as checkpoints:
    for step in steps:
      checkpoints.save(at(step), 10 * step)
    checkpoints.wait()


def restored(folder):
  with opened(folder) as checkpoints:
    return checkpoints.restore(abstract())


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def steps_in(folder):
  return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def test_what_was_saved_comes_back_with_its_position(tmp_path):
  with opened(tmp_path / "deep" / "folder") as checkpoints:
    assert checkpoints.latest_step() is None
    assert checkpoints.restore(abstract()) is None
  save(tmp_path, 3, 5)
  found, position = restored(tmp_path)
  equal(found, at(5))
  assert position == 50
  assert [found.step.dtype, found.step] == [jnp.int32, 5]
  assert [reached(tmp_path, step) for step in (4, 5, 6)] == [True, True, False]
  assert not reached(tmp_path / "absent", 1)


MESHES = [(8, 1, 1), (4, 2, 1), (2, 2, 2), (1, 8, 1)]


@pytest.mark.parametrize("shape", MESHES)
def test_any_mesh_restores_what_any_other_saved(shape, tmp_path):
  saved = at(1, mesh.make_mesh(*shape), WIDE)
  with opened(tmp_path) as checkpoints:
    checkpoints.save(saved, 1)
  with opened(tmp_path) as checkpoints:
    for other in MESHES:
      wanted = abstract(mesh.make_mesh(*other), WIDE)
      found, _ = checkpoints.restore(wanted)
      equal(found, saved)
      places = (jax.tree.map(lambda leaf: leaf.sharding, tree) for tree in (found, wanted))
      assert next(places) == next(places)


def chunks(step: Path) -> list[tuple[int, ...]]:
  """What is written of each matrix at once."""
  tree = ocp.PyTreeCheckpointHandler().metadata(step / "state").tree
  return [leaf.storage.chunk_shape for leaf in jax.tree.leaves(tree) if len(leaf.shape) == 2]


def test_small_arrays_are_written_whole_and_large_ones_by_all_devices(tmp_path):
  """Cut up among eight devices, small ones kept a training waiting for seconds (Orbax 0.12)."""
  auto = (jax.sharding.AxisType.Auto,) * 3
  two = jax.make_mesh((2, 1, 1), mesh.AXES, devices=jax.devices()[:2], axis_types=auto)
  for width, rows in ((128, 128), (768, 384)):
    with opened(tmp_path / str(width)) as checkpoints:
      checkpoints.save(at(1, two, width), 1)
    assert set(chunks(tmp_path / str(width) / "1")) == {(rows, width)}


def test_however_arrays_were_cut_up_they_come_back(tmp_path, monkeypatch):
  monkeypatch.setattr(module, "SLICE", 1)  # as Orbax does by itself, and did here once
  with opened(tmp_path) as checkpoints:
    checkpoints.save(at(1, mesh.make_mesh(), 128), 1)
  assert set(chunks(tmp_path / "1")) == {(16, 128)}
  monkeypatch.undo()
  with opened(tmp_path) as checkpoints:
    equal(checkpoints.restore(abstract(width=128))[0], at(1, width=128))


def test_the_newest_and_the_best_are_kept(tmp_path):
  losses = {1: 0.5, 2: 0.1, 3: 0.2, 4: 0.9, 5: float("nan"), 6: 0.8, 7: None, 8: 0.7}
  for chunk in (range(1, 5), range(5, 9)):  # the losses outlive the process
    with opened(tmp_path, keep=2, keep_best=2) as checkpoints:
      for step in chunk:
        checkpoints.save(at(step), step, losses[step])
  assert steps_in(tmp_path) == [2, 3, 7, 8]
  assert list((tmp_path / "trash").iterdir()) == []


def test_a_step_is_saved_once(tmp_path):
  save(tmp_path, 5)
  before = (tmp_path / "5" / "manifest.json").stat().st_mtime_ns
  save(tmp_path, 5)
  assert (tmp_path / "5" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
  ("other", "message"),
  [
    ({"width": 16}, r"holds another model \(8 differences\): ema/in/kernel: checkpoint \(8, 8\)"),
    ({"dtype": jnp.bfloat16}, r"ema/in/kernel: checkpoint \(8, 8\) float32, now \(8, 8\) bfloat16"),
    ({"seed": 5}, r"is of another run \(1 differences\): seed: checkpoint 4, now 5"),
  ],
)
def test_a_checkpoint_of_something_else_is_refused_by_name(other, message, tmp_path):
  save(tmp_path, 5)
  wanted = abstract(width=other.get("width", 8))
  if "dtype" in other:
    cut = lambda leaf: leaf.update(dtype=other["dtype"]) if leaf.dtype == jnp.float32 else leaf  # noqa: E731
    wanted = jax.tree.map(cut, wanted)
  fingerprint = FINGERPRINT | ({"seed": 5} if "seed" in other else {})
  with opened(tmp_path, fingerprint) as checkpoints, pytest.raises(MismatchError, match=message):
    checkpoints.restore(wanted)
  assert verify(tmp_path) == {5: []}


def flip(path: Path, bit: int) -> None:
  content = bytearray(path.read_bytes())
  content[bit // 8] ^= 1 << bit % 8
  path.write_bytes(content)


def files(folder: Path) -> list[Path]:
  return sorted(path for path in folder.rglob("*") if path.is_file())


def test_verify_finds_every_flipped_bit_and_every_cut_or_missing_file(tmp_path):
  save(tmp_path, 4, 5)
  chance = random.Random(0)
  whole = {4: [], 5: []}
  assert verify(tmp_path) == whole
  for number in range(100):
    choice = files(tmp_path / "5")
    path = choice[number % len(choice)]  # every file, the manifest as well
    bit = chance.randrange(8 * path.stat().st_size)
    flip(path, bit)
    found = verify(tmp_path)
    assert found[4] == []
    assert found[5], f"bit {bit} of {path}"
    flip(path, bit)
  for path in files(tmp_path / "5"):
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert path.name in " ".join(verify(tmp_path)[5])
    path.unlink()
    assert path.name in " ".join(verify(tmp_path)[5])
    path.write_bytes(content)
  assert verify(tmp_path) == whole
  assert verify(tmp_path / "4") == {}


def largest(folder: Path) -> Path:
  return max(files(folder), key=lambda path: path.stat().st_size)


DAMAGES = {
  "a flipped bit": lambda step: flip(largest(step), 4000),
  "a cut file": lambda step: os.truncate(largest(step), 100),
  "a missing file": lambda step: largest(step).unlink(),
  "a hollow folder": lambda step: (shutil.rmtree(step), step.mkdir()),
  "no manifest": lambda step: (step / "manifest.json").unlink(),
  "an uncommitted folder": lambda step: (step / "commit_success.txt").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, tmp_path, warned):
  save(tmp_path, 3, 5)
  damage(tmp_path / "5")
  with opened(tmp_path) as checkpoints:
    found, position = checkpoints.restore(abstract())
    equal(found, at(3))
    assert position == 30
    assert checkpoints.latest_step() == 3
    checkpoints.save(at(5), 50)  # the run comes by again
    checkpoints.wait()
  assert len(warned) == 1
  assert "checkpoint 5 is damaged" in warned[0]
  assert (tmp_path / "damaged" / "5").is_dir()
  assert verify(tmp_path) == {3: [], 5: []}
  equal(restored(tmp_path)[0], at(5))


@pytest.mark.parametrize("step", [3, 5])
def test_a_run_goes_on_whichever_file_of_a_checkpoint_is_hollow(step, tmp_path):
  save(tmp_path / "whole", 3, 5)
  for number, path in enumerate(files(tmp_path / "whole" / str(step))):
    copy = shutil.copytree(tmp_path / "whole", tmp_path / str(number))
    (copy / path.relative_to(tmp_path / "whole")).write_bytes(b"")
    assert restored(copy)[1] == (30 if step == 5 else 50), path


def test_a_checkpoint_whose_metrics_are_damaged_is_set_aside(tmp_path, warned):
  save(tmp_path, 3, 5)
  (tmp_path / "3" / "metrics" / "metrics").write_bytes(b"")
  equal(restored(tmp_path)[0], at(5))
  assert len(warned) == 1
  assert "checkpoint 3 is damaged (metrics/metrics: 0 bytes instead of" in warned[0]
  assert (tmp_path / "damaged" / "3").is_dir()
  assert verify(tmp_path) == {5: []}


def test_with_nothing_but_damage_a_run_does_not_begin_anew_by_itself(tmp_path):
  save(tmp_path, 3, 5)
  for step in (3, 5):
    flip(largest(tmp_path / str(step)), 99)
  for _ in range(2):
    with pytest.raises(DataError, match="no whole checkpoint is left; damaged ones are in"):
      restored(tmp_path)
  shutil.rmtree(tmp_path / "damaged")
  assert restored(tmp_path) is None


def test_leftovers_of_a_killed_run_are_in_nobodys_way(tmp_path):
  save(tmp_path, 3, 5)
  for leftover in ("trash/3", "trash/5", "7.orbax-checkpoint-tmp"):
    shutil.copytree(tmp_path / "3", tmp_path / leftover)
  save(tmp_path, 6, 7, 8)
  assert verify(tmp_path) == {7: [], 8: []}
  assert sorted(path.name for path in tmp_path.iterdir()) == ["7", "8", "trash"]


def test_a_folder_without_room_is_refused_at_once(tmp_path, monkeypatch):
  usage = shutil.disk_usage(tmp_path)._replace(free=1000)
  monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
  with opened(tmp_path) as checkpoints, pytest.raises(OutputError, match=r"0\.00 GB are free"):
    checkpoints.save(at(1), 1)
  assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(OutputError, match="cannot be made"):
    Checkpoints(tmp_path / "file" / "checkpoints", fingerprint={})


@contextlib.contextmanager
def longest_file(size: int):
  """As a disk that is full: no file of this process can grow beyond `size`."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def until_noticed(checkpoints: Checkpoints, lines: list[str]) -> None:
  """Calls `check` as a loop does, until it has said something."""
  for _ in range(600):
    checkpoints.check()
    if lines:
      return
    time.sleep(0.05)
  raise AssertionError("the failed save was not noticed")


def test_a_failed_save_is_one_line_and_the_next_one_succeeds(tmp_path, warned):
  with opened(tmp_path) as checkpoints:
    for step in (1, 2):
      checkpoints.save(at(step, width=WIDE), step)
    checkpoints.wait()
    with longest_file(100_000):
      checkpoints.save(at(3, width=WIDE), 3)
      until_noticed(checkpoints, warned)
    assert len(warned) == 1
    assert "checkpoint 3 could not be written (File too large); older ones are as they" in warned[0]
    assert "\n" not in warned[0]
    assert steps_in(tmp_path) == [1, 2]
    (tmp_path / "3.orbax-checkpoint-tmp").mkdir(exist_ok=True)  # by a writer that was late
    checkpoints.save(at(4, width=WIDE), 4)
    checkpoints.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4", "trash"]
  assert verify(tmp_path) == {2: [], 4: []}


def test_three_failed_saves_in_a_row_end_the_run(tmp_path, warned):
  with opened(tmp_path) as checkpoints:
    checkpoints.save(at(1, width=WIDE), 1)
    checkpoints.wait()
    with longest_file(100_000):
      checkpoints.save(at(2, width=WIDE), 2)
      checkpoints.save(at(3, width=WIDE), 3)
      checkpoints.save(at(4, width=WIDE), 4)
      with pytest.raises(OutputError, match=r"checkpoint 4 could not .* was failure 3"):
        checkpoints.wait()
  assert len(warned) == 2
  assert verify(tmp_path) == {1: []}


def test_a_last_save_that_failed_is_not_taken_for_success(tmp_path):
  with opened(tmp_path) as checkpoints, longest_file(100_000):
    checkpoints.save(at(2, width=WIDE), 2)
    with pytest.raises(OutputError, match="the last checkpoint could not be written"):
      checkpoints.wait()
  assert steps_in(tmp_path) == []


@pytest.fixture
def disk(tmp_path):
  """Mounts a small disk, where that is allowed, and gives a function that mounts it read-only."""
  folder = tmp_path / "disk"
  folder.mkdir()

  def mount(*options):
    return subprocess.run(["mount", *options, folder], capture_output=True, check=False)

  if not shutil.which("mount") or mount("-t", "tmpfs", "-o", "size=12m", "tmpfs").returncode:
    pytest.skip("mounting is not allowed here")
  yield folder, lambda: mount("-o", "remount,ro")
  subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_and_a_read_only_one_leave_older_steps_intact(disk, warned):
  folder, make_read_only = disk
  with opened(folder) as checkpoints:
    checkpoints.save(at(1, width=256), 1)
    checkpoints.wait()
    (folder / "filler").write_bytes(bytes(shutil.disk_usage(folder).free - 500_000))
    checkpoints.save(at(2, width=256), 2)
    until_noticed(checkpoints, warned)
    assert "checkpoint 2 could not be written (No space left on device)" in warned.pop()
    (folder / "filler").unlink()
    checkpoints.save(at(3, width=256), 3)
    checkpoints.wait()
    make_read_only()
    checkpoints.save(at(4, width=256), 4)
    until_noticed(checkpoints, warned)
    assert "checkpoint 4 could not be written (Read-only file system)" in warned.pop()
    assert warned == []
  assert verify(folder) == {1: [], 3: []}
  with opened(folder) as checkpoints, pytest.raises(OutputError, match="cannot be written here"):
    checkpoints.save(at(5, width=256), 5)

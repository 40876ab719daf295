"""Records written shard by shard: whatever happens in between, the same bytes come out."""

import functools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stemphonic_jax.data.batching.records import Segment, open_records
from stemphonic_jax.data.preparing.shards import write_shards
from stemphonic_jax.errors import DataError, OutputError

T, C = 4, 3


def segment(number):
  rng = np.random.default_rng(number)
  return Segment(
    id=f"song-{number}",
    names=("drums", "keys"),
    types=("drums", "keys"),
    caption="warm soul",
    bpm=100.0,
    latents=rng.normal(size=(2, T, C)).astype(np.float16),
    activity=np.ones((2, T), np.int8),
  )


def shards(count=5, size=3, made=None, pause=0.0):
  """`count` shards of `size` segments; the numbers of those that are made go to `made`."""

  def make(number):
    for i in range(size):
      time.sleep(pause)
      yield segment(number * size + i)
    if made is not None:
      made.append(number)

  return [functools.partial(make, number) for number in range(count)]


def write(folder, parts, **options):
  return write_shards(folder, parts, hop=8, rate=8000, **options)


def content(folder):
  return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  folder = tmp_path_factory.mktemp("records") / "whole"
  write(folder, shards())
  return content(folder)


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_what_was_done_is_not_done_again_and_the_bytes_are_the_same(tmp_path, unbroken, stop):
  made, parts = [], shards()

  def full():
    raise OSError(28, "No space left on device")
    yield

  with pytest.raises(OutputError, match="No space"):
    write(tmp_path / "r", [*shards(made=made)[:stop], full, *parts[stop + 1 :]])
  assert made == list(range(stop))
  assert not (tmp_path / "r").exists()
  made.clear()
  write(tmp_path / "r", shards(made=made))
  assert made == list(range(stop, 5))
  assert content(tmp_path / "r") == unbroken
  assert [path.name for path in tmp_path.iterdir()] == ["r"]


# One process that imports everything once, and forks those that are killed.
PROGRAM = """
import os, random, signal, sys, time
from pathlib import Path
from tests.data.preparing.test_shards import shards, write
folder, random = Path(sys.argv[1]), random.Random(0)
for kill in range(21):
  child = os.fork()
  if not child:
    write(folder, shards(150, pause=0.004))
    os._exit(0)
  if kill < 20:
    time.sleep(random.uniform(0.001, 0.03))
    os.kill(child, signal.SIGKILL)
  status = os.waitpid(child, 0)[1]
  print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else status)
"""


def test_killed_twenty_times_the_folder_is_the_same(tmp_path):
  command = [sys.executable, "-c", PROGRAM, str(tmp_path / "r")]
  ended = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
  assert ended == ["9"] * 20 + ["0"]
  assert [path.name for path in tmp_path.iterdir()] == ["r"]
  write(tmp_path / "unbroken", shards(150))
  assert content(tmp_path / "r") == content(tmp_path / "unbroken")


def test_several_hosts_make_what_one_makes(tmp_path, unbroken):
  for host in (2, 0):
    assert write(tmp_path / "r", shards(), host=host, hosts=3) is None
    assert not (tmp_path / "r").exists()
  records = write(tmp_path / "r", shards(), host=1, hosts=3)
  assert len(records) == 15
  assert content(tmp_path / "r") == unbroken


def test_other_settings_start_over(tmp_path):
  made = []
  write(tmp_path / "r", shards(made=made), host=0, hosts=2)
  write(tmp_path / "r", shards(made=made), notes={"vae": "another"})
  assert made == [0, 2, 4, 0, 1, 2, 3, 4]
  assert open_records(tmp_path / "r").index.notes == {"vae": "another"}


def test_an_error_in_the_data_costs_its_shard_alone(tmp_path, unbroken):
  def bad():
    yield segment(0)
    yield Segment(**{**segment(1).__dict__, "latents": np.full((2, T, C), np.nan, np.float16)})

  with pytest.raises(DataError, match="not finite"):
    write(tmp_path / "r", [*shards()[:4], bad])
  made = []
  write(tmp_path / "r", shards(made=made))
  assert made == [4]
  assert content(tmp_path / "r") == unbroken


def test_killed_before_the_last_renaming_only_that_is_left_to_do(tmp_path, unbroken):
  write(tmp_path / "r", shards())
  (tmp_path / "r").rename(tmp_path / ".r.partial")
  made = []
  write(tmp_path / "r", shards(made=made))
  assert (made, content(tmp_path / "r")) == ([], unbroken)


def test_shards_without_an_audible_segment_have_no_file(tmp_path):
  silent = [
    Segment(**{**segment(i).__dict__, "activity": np.zeros((2, T), np.int8)}) for i in (0, 1)
  ]
  records = write(tmp_path / "r", [lambda: silent, *shards(2)])
  names = sorted(path.name for path in (tmp_path / "r").iterdir())
  assert names == ["00001-of-00003.array_record", "00002-of-00003.array_record", "index.json"]
  assert len(records) == 6


def test_a_folder_that_is_there_is_not_written_to(tmp_path):
  write(tmp_path / "r", shards(1))
  with pytest.raises(OutputError, match="already exists"):
    write(tmp_path / "r", shards(1))

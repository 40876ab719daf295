"""`stemphonic prepare` killed at ten moments of all its stages: run again, the same bytes."""

import contextlib
import hashlib
import itertools
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests import tiny
from tests.data.sources import trees
from tests.training.processes import forked

KILLS = 10
OPTIONS = ("--no-tempo", "--submixes", "2", "--held-out", "2", "--shard", "1")
# What is there while a stage is at work; the last of each, when it is over.
STAGES = {
  "check": (".check", "report.jsonl", "report.txt"),
  "records": (".held_out.partial", "held_out", "train"),
  "texts": ("train", "texts"),
}
# In which stage a kill comes, and by which share of its length at most; then it runs to its end.
PLAN = (("start", 1), *itertools.product(STAGES, (1 / 8, 1 / 4, 1 / 2)))


def command(arguments, log):
  """The whole command in a process group of its own, slowed down where a kill could do harm."""
  os.setpgid(0, 0)
  os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
  os.dup2(1, 2)
  os.environ["XLA_FLAGS"] = ""  # one device is quicker than eight simulated ones
  from stemphonic_jax import cli, door
  from stemphonic_jax.data.preparing import check, texts

  check.CHUNK, texts.SMALLEST = 1, 4  # so that there is something between two kills
  for name in ("replace", "rename", "unlink", "mkdir"):
    setattr(os, name, slowly(getattr(os, name)))
  sys.exit(door.run(lambda: cli.run(["prepare", *arguments])))


def slowly(work):
  def run(*arguments, **options):
    time.sleep(0.005)
    work(*arguments, **options)
    time.sleep(0.005)

  return run


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
  """The folders of a data set and of a model that reads its prompts by a T5."""
  folder = tmp_path_factory.mktemp("inputs")
  root = trees.write_folder(folder / "root", mixes=4, seconds=2.2)
  return root, tiny.save_model(folder / "model", **tiny.IMPORTED)


@pytest.fixture
def start(inputs, tmp_path):
  """Starts the command, with more arguments, on `tmp_path / "out"`."""

  def start(*more):
    arguments = ["folder", inputs[0], tmp_path / "out", "--model", inputs[1], *OPTIONS, *more]
    return forked(command, [str(a) for a in arguments], tmp_path / "log")

  return start


@pytest.fixture(scope="module")
def unbroken(inputs, tmp_path_factory):
  """What a run makes that is not killed, and how long its stages last."""
  folder = tmp_path_factory.mktemp("unbroken")
  start_here = start.__wrapped__(inputs, folder)
  run_to_the_end(start_here, folder)  # which compiles
  return run_to_the_end(start_here, folder)


def run_to_the_end(start, folder):
  out, process, times = folder / "out", start("--processes", 1), [time.monotonic()]
  times += [wait_for(name, process, out) for name in (*STAGES, "end")]
  process.join()
  assert process.exitcode == 0, (folder / "log").read_text()
  found = content(out)
  shutil.rmtree(out)
  lasted = [later - sooner for sooner, later in itertools.pairwise(times)]
  return found, dict(zip(("start", *STAGES), lasted, strict=True))


def kill(process):
  """Ends all processes of a command; returns whether it was running."""
  try:
    os.killpg(process.pid, signal.SIGKILL)
  except ProcessLookupError:
    process.kill()  # it has no group yet, or has ended
  process.join()
  return process.exitcode == -signal.SIGKILL


def stage_of(out):
  """The stage that is at work in a folder."""
  for name, (*signs, end) in STAGES.items():
    if not (out / end).exists():
      return name if any((out / sign).exists() for sign in signs) else "start"
  return "end"


def wait_for(stage, process, out):
  """Waits until a stage is reached or over; returns the time."""
  later = [*STAGES, "end"]
  later = later[later.index(stage) :]
  while process.is_alive() and stage_of(out) not in later:
    time.sleep(0.001)
  return time.monotonic()


def content(folder):
  files = (path for path in sorted(folder.rglob("*")) if path.is_file())
  return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_killed_at_ten_moments_it_ends_with_the_same_bytes(start, unbroken, tmp_path):
  out, rng, hits = tmp_path / "out", random.Random(0), []
  expected, lasted = unbroken
  assert {"texts/index.json", "train/index.json", "report.png"} <= expected.keys()
  while len(hits) < KILLS or not {*STAGES} <= {*hits}:
    for number, (stage, share) in enumerate(PLAN):
      process = start("--processes", 2 if number == 2 else 1)
      if stage != "start":
        wait_for(stage, process, out)
      time.sleep(rng.uniform(0, share * lasted[stage]))
      if not kill(process):
        break
      hits.append(stage_of(out))
    assert run_to_the_end(start, tmp_path)[0] == expected


def test_hosts_that_run_together_make_what_one_makes(start, unbroken, tmp_path):
  start("--check-only", "--processes", 1).join()
  for _ in range(2):  # the texts are those of whole records
    hosts = [start("--processes", 1, "--host", f"{host}/2") for host in range(2)]
    for process in hosts:
      process.join()
      assert process.exitcode == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "out" / "train").is_dir()
  assert content(tmp_path / "out") == unbroken[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_no_process_outlives_a_command_that_is_killed(start, tmp_path):
  process = start("--processes", 2)
  while process.is_alive() and not [*(tmp_path / "out" / ".check").glob("0*.jsonl")]:
    time.sleep(0.001)
  assert running(process.pid) > 2
  process.kill()
  process.join()
  end = time.monotonic() + 30
  while running(process.pid):
    assert time.monotonic() < end
    time.sleep(0.01)


def running(group):
  """The number of processes of a group that have not ended."""
  found = 0
  for path in Path("/proc").glob("[0-9]*/stat"):
    with contextlib.suppress(OSError):
      state, _, their_group = path.read_text().rpartition(") ")[2].split()[:3]
      found += int(their_group) == group and state != "Z"
  return found

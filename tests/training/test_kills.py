"""Real processes that are killed, told to stop, or hang, at moments that nobody chose.

STEMPHONIC_KILLS is the number of trials of kill -9, 20 if unset: 200 before a release. A third as
many times a run is told to stop, and a tenth as many times one of two hosts, which takes longer.
"""

import ctypes
import functools
import os
import random
import signal
import time
from pathlib import Path

import pytest

from stemphonic_jax.errors import PreemptedError
from stemphonic_jax.training.distributed import cluster
from stemphonic_jax.training.run.checkpoints import verify
from tests.training import processes, tiny_run

KILLS = int(os.environ.get("STEMPHONIC_KILLS", "20"))
FOREVER = 10**6


def size(path: Path) -> int:
  return path.stat().st_size if path.exists() else 0


def trained_on(folder: Path, process, before: int, name: str = "losses") -> None:
  """Returns when a process has made a step, before which its losses were of a size."""
  while size(folder / name) == before:
    assert process.is_alive(), (folder / "stderr").read_text()
    time.sleep(0.005)


def acknowledged(folder: Path) -> int:
  lines = (folder / "saved").read_text().split() if size(folder / "saved") else ["0"]
  return int(lines[-1])


def check_against_an_unbroken_run(folder: Path, straight: Path) -> None:
  """Every loss that was ever computed, to the bit."""
  losses = tiny_run.losses(folder)
  process = tiny_run.start(_unbroken, straight, max(losses))
  process.join()
  assert process.exitcode == 0, (straight / "stderr").read_text()
  expected = tiny_run.losses(straight)
  assert losses == {step: expected[step] for step in losses}


def _unbroken(folder: Path, steps: int) -> None:
  tiny_run.train(folder, steps, save_every=steps)


def test_a_killed_run_loses_nothing_that_was_acknowledged(tmp_path):
  folder, chance = tmp_path / "killed", random.Random(9)
  inside = 0
  for trial in range(KILLS):
    process = tiny_run.start(tiny_run.train, folder, FOREVER)
    if trial % 4:
      trained_on(folder, process, size(folder / "losses"))
      time.sleep(chance.random() * 0.3)
    else:
      time.sleep(chance.random() * 0.8)  # also while it starts and restores
    process.kill()
    process.join()
    inside += any((folder / "checkpoints").glob("*-tmp"))
    found = verify(folder / "checkpoints") if acknowledged(folder) else {}
    assert not any(found.values()), found
    assert max(found, default=0) >= acknowledged(folder)
  assert not (folder / "checkpoints" / "damaged").exists()
  assert inside  # some were hit while they wrote
  check_against_an_unbroken_run(folder, tmp_path / "straight")


def _slow(folder: Path) -> None:
  data = functools.partial(tiny_run.batches, seconds=0.01)
  tiny_run.train(folder, FOREVER, save_every=FOREVER, data=data)


def test_sigterm_saves_within_three_steps_and_ends_with_75(tmp_path):
  folder, chance = tmp_path / "told", random.Random(9)
  for _ in range(max(1, KILLS // 3)):
    process = tiny_run.start(_slow, folder)
    trained_on(folder, process, size(folder / "losses"))
    time.sleep(chance.random() * 0.1)
    told = time.monotonic()
    process.terminate()
    process.join(10)
    assert process.exitcode == 75
    lines = [line.split() for line in (folder / "losses").read_text().splitlines()]
    last = max(int(number) for number, when, _ in lines if float(when) <= told)
    newest = max(verify(folder / "checkpoints"))
    assert newest <= last + 3
    assert newest >= last
  assert "Traceback" not in (folder / "stderr").read_text()
  check_against_an_unbroken_run(folder, tmp_path / "straight")


def ended(both, seconds: float) -> None:
  """Waits for processes, each so long; what is still there then is killed, and has its code."""
  for process in both:
    process.join(seconds)
  for process in both:
    process.kill()
    process.join()


def _one_of_two(folder: Path, host: int, port: int, told: bool = False) -> None:
  os.environ.update(processes.environment(2, host, port))
  cluster.start()
  if told:
    os.kill(os.getpid(), signal.SIGTERM)
  # Longer than the second after which jax looks for the signal again.
  data = functools.partial(tiny_run.batches, seconds=1.2)
  try:
    tiny_run.train(folder, FOREVER, save_every=FOREVER, data=data, name=f"losses_{host}")
  except PreemptedError as error:
    cluster.leave(error.exit_code)


def test_sigterm_to_one_of_two_hosts_saves_on_both(tmp_path):
  folder, chance = tmp_path / "told", random.Random(9)
  for _ in range(max(1, KILLS // 10)):
    port, before = processes.free_port(), size(folder / "losses_0")
    both = [tiny_run.start(_one_of_two, folder, host, port) for host in range(2)]
    trained_on(folder, both[0], before, "losses_0")
    time.sleep(chance.random())
    told = time.monotonic()
    both[chance.randrange(2)].terminate()
    ended(both, 10)
    assert [process.exitcode for process in both] == [75, 75], (folder / "stderr").read_text()
    lines = [line.split() for line in (folder / "losses_0").read_text().splitlines()]
    last = max(int(number) for number, when, _ in lines if float(when) <= told)
    newest = max(verify(folder / "checkpoints"))
    assert last <= newest <= last + 3
  assert tiny_run.losses(folder, "losses_0") == tiny_run.losses(folder, "losses_1")


def test_sigterm_before_the_first_step_of_a_resumed_run_is_heard_on_all_hosts(tmp_path):
  folder = tmp_path / "resumed"
  alone = tiny_run.start(_unbroken, folder, 7)
  alone.join()
  port = processes.free_port()
  both = [tiny_run.start(_one_of_two, folder, host, port, host == 1) for host in range(2)]
  ended(both, 30)
  assert [process.exitcode for process in both] == [75, 75], (folder / "stderr").read_text()
  assert max(verify(folder / "checkpoints")) <= 7 + 3


def _stuck(folder: Path) -> None:
  data = functools.partial(tiny_run.batches, stuck=3)
  tiny_run.train(folder, FOREVER, data=data, seconds=1.0, slow=60.0)


def _blocked(folder: Path) -> None:
  def evaluate(current):
    ctypes.PyDLL(None).sleep(3600)  # without letting go of the interpreter's lock
    return {}

  tiny_run.train(folder, FOREVER, save_every=3, evaluate=evaluate, seconds=3.0, slow=1.0)


@pytest.mark.parametrize(
  ("target", "code", "line"),
  [(_stuck, 71, "in batches"), (_blocked, -signal.SIGALRM, "in evaluate")],
)
def test_a_run_that_hangs_says_where_and_ends(target, code, line, tmp_path):
  process = tiny_run.start(target, tmp_path)
  process.join(60)
  assert process.exitcode == code
  told = (tmp_path / "stderr").read_text()
  assert line in told
  if code == 71:
    last = told.splitlines()[-1]
    assert last.startswith("stemphonic: error: nothing has happened for 1 s, since step 3;")
    assert max(verify(tmp_path / "checkpoints")) <= 3

"""Training on several hosts: the numbers of one process, and a run that no death of a host ends.

The hosts are processes of this machine, joined by gloo, with four devices between them.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.training import hosts as programs
from tests.training import processes

DEVICES = 4
STEPS, SAVE_EVERY = 12, 4
SUPERVISE = processes.ROOT / "launch" / "supervise.sh"
PATIENCE = 120  # seconds, for programs that compile on a machine that does other things too


@pytest.fixture(scope="module")
def records(tmp_path_factory):
  return programs.make_records(tmp_path_factory.mktemp("data") / "records")


@pytest.fixture(scope="module")
def train(records):
  """Trains in a folder on so many hosts, from where it is to the end, and returns the losses."""

  def run(folder, hosts):
    with started(records, folder, hosts) as running:
      assert processes.codes(running, PATIENCE) == [0] * hosts, processes.log_of(folder)
    return losses(folder, hosts)

  return run


@pytest.fixture(scope="module")
def unbroken(train, tmp_path_factory):
  """(folder, losses) of a run that nothing happened to, by the number of its hosts."""
  folders = {hosts: tmp_path_factory.mktemp("unbroken") for hosts in (1, 2, 4)}
  return {hosts: (folder, train(folder, hosts)) for hosts, folder in folders.items()}


@pytest.fixture(scope="module")
def preempted(records, tmp_path_factory):
  """(folder, exit codes) of a run on two hosts, after one of them was told to stop."""
  folder = tmp_path_factory.mktemp("preempted")
  with started(records, folder, 2, pause=0.4) as running:  # jax looks for signals once a second
    until_step(SAVE_EVERY + 1, folder)
    running[1].terminate()
    return folder, processes.codes(running, 30)


def arguments(records, pause):
  return str(records), f"{STEPS}", f"{SAVE_EVERY}", f"{pause}"


def started(records, folder, hosts, pause=0.0):
  devices = DEVICES // hosts
  return processes.started("train", hosts, folder, *arguments(records, pause), devices=devices)


def until_step(step, folder):
  """Returns when the first host has written down the loss of a step."""
  end = time.monotonic() + PATIENCE
  while not any(int(line.split()[0]) >= step for line in lines(folder / "losses_0")):
    assert time.monotonic() < end, processes.log_of(folder)
    time.sleep(0.02)


def lines(path):
  """Those lines of a file that are whole; none where there is no file."""
  return path.read_text().split("\n")[:-1] if path.exists() else []


def losses(folder, hosts):
  """The loss of each step, to the bit: the same on all hosts, and each time it was repeated."""
  found = {}
  for host in range(hosts):
    for line in lines(folder / f"losses_{host}"):
      number, loss = line.split()
      assert found.setdefault(int(number), loss) == loss
  return found


def batches(folder, hosts, last=STEPS):
  """(row, group, record) of each row of the last batches, put together from all hosts."""
  parts = [lines(folder / f"rows_{host}")[-last:] for host in range(hosts)]
  return [[row for part in step for row in json.loads(part)] for step in zip(*parts, strict=True)]


def walk(folder, hosts):
  """The records in the order in which they were trained on, a group of rows counting once."""
  groups = (dict.fromkeys((g, name) for _, g, name in rows) for rows in batches(folder, hosts))
  return [name for batch in groups for _, name in batch]


def checkpoints(folder):
  return sorted(int(p.name) for p in (folder / "dit/checkpoints").iterdir() if p.name.isdecimal())


def close(some, others):
  """Whether losses are equal but for rounding."""
  values, expected = ({n: float.fromhex(x) for n, x in of.items()} for of in (some, others))
  return values == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_every_record_is_seen_once_in_an_epoch(unbroken, hosts):
  seen = walk(unbroken[hosts][0], hosts)
  assert len(seen) > 2 * programs.RECORDS
  epochs = seen[: programs.RECORDS], seen[programs.RECORDS : 2 * programs.RECORDS]
  for epoch in epochs:
    assert sorted(epoch) == sorted(f"piece {n}" for n in range(programs.RECORDS))
  assert epochs[0] != epochs[1]


@pytest.mark.parametrize("hosts", [2, 4])
def test_several_hosts_compute_what_one_process_does(unbroken, hosts):
  """Equal batches; losses but for the order in which gloo sums over the devices."""
  assert batches(unbroken[hosts][0], hosts) == batches(unbroken[1][0], 1)
  assert list(unbroken[hosts][1]) == list(range(1, STEPS + 1))
  assert close(unbroken[hosts][1], unbroken[1][1])


def test_a_killed_host_takes_the_run_back_to_its_checkpoint_and_no_further(
  records, unbroken, tmp_path
):
  """Under its supervisor each host starts again; the losses are those of the unbroken run, bit by
  bit, and of every step that was done twice.
  """
  port, running = processes.free_port(), []
  with contextlib.ExitStack() as stack:
    for host in range(2):
      log = stack.enter_context((tmp_path / f"host_{host}.log").open("wb"))
      command = processes.command("train", tmp_path, *arguments(records, 0.25))
      running.append(
        subprocess.Popen(
          ["bash", SUPERVISE, f"--workdir={tmp_path}", "--wait=0.2", "--grace=1", "--", *command],
          env=processes.environment(2, host, port, DEVICES // 2),
          cwd=processes.ROOT, stdout=log, stderr=log,
        )
      )  # fmt: skip
      stack.callback(running[-1].wait)
      stack.callback(running[-1].terminate)  # which ends what it supervises
    until_step(SAVE_EVERY + 2, tmp_path)
    other, victim = (int((tmp_path / f"process_{host}").read_text()) for host in range(2))
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    while alive(other):
      assert time.monotonic() - killed < 30, processes.log_of(tmp_path)
      time.sleep(0.02)
    assert processes.codes(running, PATIENCE) == [0, 0], processes.log_of(tmp_path)
  for host in range(2):
    log = (tmp_path / f"host_{host}.log").read_text()
    assert ("exit 137 at step" in log) == (host == 1)
    assert log.count(": restart 1 of 5 without progress") == 1
  assert losses(tmp_path, 2) == unbroken[2][1]


def alive(process):
  with contextlib.suppress(ProcessLookupError):
    os.kill(process, 0)
    return True
  return False


def test_one_host_told_to_stop_makes_all_save_the_same_step(preempted):
  folder, codes = preempted
  assert codes == [75, 75], processes.log_of(folder)
  last = {max(losses(folder, 1)), int(lines(folder / "losses_1")[-1].split()[0])}
  assert last == {checkpoints(folder)[-1]}
  assert SAVE_EVERY < checkpoints(folder)[-1] < STEPS


@pytest.mark.parametrize("hosts", [1, 4])
def test_what_two_hosts_saved_any_number_goes_on_with(train, unbroken, preempted, tmp_path, hosts):
  folder = shutil.copytree(preempted[0], tmp_path / "run")
  left = STEPS - checkpoints(folder)[-1]
  before = losses(folder, 2)
  for host in range(2):  # what was before is known
    (folder / f"losses_{host}").unlink()
  after = train(folder, hosts)
  assert len(after) == left
  assert batches(folder, hosts, left) == batches(unbroken[1][0], 1)[-left:]
  assert close(before | after, unbroken[1][1])

"""Hosts find each other, listen to nobody else, and end together."""

import os
import re
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from absl import logging

from stemphonic_jax.errors import UsageError
from stemphonic_jax.training.distributed import cluster
from tests.training import processes

OURS = (cluster.COORDINATOR, cluster.HOSTS, cluster.HOST)
LOOPBACK = re.compile("(0000000000000000FFFF0000)?0100007F|0{24}01000000")


@pytest.fixture
def initialized(monkeypatch):
  """The arguments of every jax.distributed.initialize, which does nothing else."""
  calls = []
  monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: calls.append((a, k)))
  monkeypatch.setattr(sys, "excepthook", sys.excepthook)
  for name in OURS:
    monkeypatch.delenv(name, raising=False)
  verbosity = logging.get_verbosity()
  yield calls
  logging.set_verbosity(verbosity)


def set_variables(monkeypatch, coordinator, hosts, host):
  for name, value in zip(OURS, (coordinator, hosts, host), strict=True):
    if value is not None:
      monkeypatch.setenv(name, value)


@pytest.mark.parametrize("given", [(None, None, None), ("127.0.0.1:8476", "1", "0")])
def test_one_host_starts_nothing(monkeypatch, initialized, given):
  set_variables(monkeypatch, *given)
  cluster.start()
  assert initialized == []
  assert (cluster.host(), cluster.hosts(), cluster.is_first()) == (0, 1, True)


def test_the_variables_say_who_takes_part(monkeypatch, initialized):
  set_variables(monkeypatch, "127.0.0.1:8476", "4", "0")
  cluster.start()
  [(positional, named)] = initialized
  assert positional == ("127.0.0.1:8476", 4, 0, None)
  assert named["coordinator_bind_address"] == "127.0.0.1:8476"
  assert named["heartbeat_timeout_seconds"] <= 30


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (("10.0.0.2:1", "4", None), "STEMPHONIC_HOST;"),
    ((None, "4", "0"), "not STEMPHONIC_COORDINATOR;"),
    ((None, None, "0"), "not STEMPHONIC_COORDINATOR, STEMPHONIC_HOSTS;"),
    (("10.0.0.2:1", "4", "4"), "STEMPHONIC_HOST: got '4', expected a whole number, 0 to 3"),
    (("10.0.0.2:1", "4", "-1"), "STEMPHONIC_HOST: got '-1'"),
    (("10.0.0.2:1", "0", "0"), "STEMPHONIC_HOSTS: got '0', expected a whole number, 1 or more"),
    (("10.0.0.2:1", "two", "0"), "STEMPHONIC_HOSTS: got 'two'"),
    (("10.0.0.2", "4", "0"), "STEMPHONIC_COORDINATOR: got '10.0.0.2', expected ADDRESS:PORT"),
    (("10.0.0.2:", "4", "0"), "port of STEMPHONIC_COORDINATOR: got ''"),
    (("10.0.0.2:70000", "4", "0"), "port of STEMPHONIC_COORDINATOR: got '70000'"),
    (("203.0.113.9:8476", "4", "0"), "203.0.113.9:8476: is no address of host 0"),
  ],
)
def test_variables_that_make_no_run_are_refused(monkeypatch, initialized, given, message):
  set_variables(monkeypatch, *given)
  with pytest.raises(UsageError, match=re.escape(message)) as caught:
    cluster.start()
  assert "\n" not in str(caught.value)
  assert initialized == []


@pytest.mark.parametrize(
  ("tasks", "task", "local", "devices"), [(2, 1, 0, []), (8, 3, 3, [3]), (8, 0, 0, [0])]
)
def test_a_slurm_step_says_who_takes_part(monkeypatch, initialized, tasks, task, local, devices):
  """Two nodes: a process of its own for each node has all devices of it, one of four has one."""
  step = {"JOB_ID": 5000, "STEP_NODELIST": "localhost,node2", "STEP_NUM_NODES": 2}
  step |= {"NTASKS": tasks, "PROCID": task, "LOCALID": local}
  for name, value in step.items():
    monkeypatch.setenv(f"SLURM_{name}", f"{value}")
  cluster.start()
  [((address, hosts, host, local_devices), named)] = initialized
  assert (hosts, host, local_devices) == (tasks, task, devices)
  name, port = address.split(":")
  assert name == "localhost"
  assert named["coordinator_bind_address"] == (None if task else f"127.0.0.1:{port}")


def test_a_slurm_step_of_one_process_starts_nothing(monkeypatch, initialized):
  for name in ("JOB_ID", "NTASKS", "STEP_NUM_NODES"):
    monkeypatch.setenv(f"SLURM_{name}", "1")
  for name in ("PROCID", "LOCALID"):
    monkeypatch.setenv(f"SLURM_{name}", "0")
  monkeypatch.setenv("SLURM_STEP_NODELIST", "node1")
  cluster.start()
  assert initialized == []


def test_a_tpu_slice_says_who_takes_part(monkeypatch, initialized):
  from jax._src.clusters import cloud_tpu_cluster

  monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
  monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "127.0.0.1,10.0.0.3,10.0.0.4,10.0.0.5")
  monkeypatch.setenv("TPU_WORKER_ID", "0")
  monkeypatch.setenv("MEGASCALE_COORDINATOR_ADDRESS", "127.0.0.1")
  monkeypatch.setenv("MEGASCALE_NUM_SLICES", "1")
  monkeypatch.setenv("MEGASCALE_SLICE_ID", "0")
  cluster.start()
  [((address, hosts, host, local_devices), named)] = initialized
  assert (hosts, host, local_devices) == (4, 0, None)
  assert named["coordinator_bind_address"] == address


def test_a_name_of_its_own_that_only_this_host_reaches_is_not_listened_at(monkeypatch, initialized):
  """As on Debian, where a machine's name is 127.0.1.1 to itself and something else to others."""
  own = "127.0.0.1"  # stands for the address on the way out
  resolve = socket.getaddrinfo
  monkeypatch.setattr(
    socket,
    "getaddrinfo",
    lambda name, *a, **k: resolve(name.replace("node1", "127.0.1.1"), *a, **k),
  )
  monkeypatch.setattr(cluster, "_own_address", lambda: own)
  set_variables(monkeypatch, "node1:8476", "2", "0")
  cluster.start()
  assert initialized[0][1]["coordinator_bind_address"] == f"{own}:8476"


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_meet_share_a_batch_and_leave_with_one_code(tmp_path, hosts):
  with processes.started("meet", hosts, tmp_path, devices=2) as running:
    assert processes.codes(running, 60) == [2] * hosts, processes.log_of(tmp_path)
  reports = processes.reports(tmp_path, hosts)
  assert [report["host"] for report in reports] == list(range(hosts))
  assert {report["hosts"] for report in reports} == {hosts}
  assert [report["first"] for report in reports] == [True] + [False] * (hosts - 1)
  # Only the first is heard below a warning.
  heard = [report["verbosity"] >= logging.INFO for report in reports]
  assert heard == [True] + [False] * (hosts - 1)
  # A host holds its own rows, in order, and all compute with all of them.
  rows = np.arange(8.0 * hosts)
  assert [report["held"] for report in reports] == rows.reshape(hosts, 8).tolist()
  assert {report["squares"] for report in reports} == {float((rows**2).sum())}
  first, *others = [report["gathered"] for report in reports]
  assert (first, others) == (rows.tolist(), [None] * (hosts - 1))
  # What the first host does, all others find done.
  assert [report["found"] for report in reports] == [False] + [True] * (hosts - 1)
  # Nothing listens before the start, and nothing but loopback after it.
  for report in reports:
    assert report["before"] == []
    assert all(LOOPBACK.fullmatch(at.split(":")[0]) for at in report["listening"]), report
  # What is wrong for all is one line on each.
  for host in range(hosts):
    log = (tmp_path / f"host_{host}.log").read_text()
    assert log.count("stemphonic: error: a config that fits nowhere\n") == 1


def test_a_host_that_fails_ends_the_run_within_seconds(tmp_path):
  with processes.started("fail", 2, tmp_path) as running:
    while not (tmp_path / "failed").exists():
      assert running[1].is_alive(), processes.log_of(tmp_path)
      time.sleep(0.01)
    failed = time.monotonic()
    [other, one] = processes.codes(running, 30)
  assert one == 65  # its own
  assert other in {70, 134}  # codes that ask for a restart
  assert time.monotonic() - failed < 30
  assert "a record that cannot be read" in (tmp_path / "host_1.log").read_text()


def test_one_host_leaves_as_usual():
  """Without other hosts `leave` is an ordinary exit: what is registered for it runs."""
  program = (
    "import atexit; from stemphonic_jax.training.distributed import cluster;"
    "cluster.start(); atexit.register(lambda: print('bye')); cluster.leave(3)"
  )
  env = {name: value for name, value in os.environ.items() if name not in OURS}
  ended = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, cwd=processes.ROOT, env=env
  )
  assert (ended.returncode, ended.stdout) == (3, "bye\n")

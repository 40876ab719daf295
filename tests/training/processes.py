"""Hosts of a run as processes of this machine: started together, told apart by their variables.

They are forked from a process that has imported everything and started nothing, as those of
tiny_run.py are: importing takes longer than what many of them do.
"""

import contextlib
import gc
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from stemphonic_jax.training.distributed import cluster

ROOT = Path(__file__).resolve().parents[2]
# All that is forked needs; none of it starts threads or devices.
PROGRAMS = [
  "tests.training.hosts",
  "tests.training.tiny_run",
  "stemphonic_jax.cli",
  "stemphonic_jax.training.inputs.prepare",
  "matplotlib.figure",
  "tests.tiny",
]


def free_port() -> int:
  """A port of the loopback interface that nobody listens on."""
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def environment(hosts: int, host: int, port: int, devices: int = 1) -> dict[str, str]:
  """What host number `host` finds in its environment; it has so many simulated devices."""
  return os.environ | {
    cluster.COORDINATOR: f"127.0.0.1:{port}",
    cluster.HOSTS: f"{hosts}",
    cluster.HOST: f"{host}",
    "XLA_FLAGS": re.sub(r"(device_count=)\d+", rf"\g<1>{devices}", os.environ["XLA_FLAGS"]),
  }


def command(program: str, folder: Path, *arguments: str) -> list[str]:
  """What a host runs."""
  return [sys.executable, "-m", "tests.training.hosts", program, str(folder), *arguments]


def forked(target, *arguments) -> multiprocessing.Process:
  """Runs a function of a module in a process of its own."""
  context = multiprocessing.get_context("forkserver")
  context.set_forkserver_preload(PROGRAMS)
  process = context.Process(target=target, args=arguments)
  process.start()
  return process


@contextlib.contextmanager
def started(
  program: str, hosts: int, folder: Path, *arguments: str, devices: int = 1
) -> Iterator[list[multiprocessing.Process]]:
  """Runs a program of hosts.py on so many hosts.

  What each says is in FOLDER/host_N.log; none is left running.
  """
  folder.mkdir(parents=True, exist_ok=True)
  port = free_port()
  processes = []
  try:
    for host in range(hosts):
      env = environment(hosts, host, port, devices)
      log = folder / f"host_{host}.log"
      processes.append(forked(_be_host, env, log, program, folder, arguments))
    yield processes
  finally:
    for process in processes:
      process.kill()
      process.join()


def _be_host(env: dict[str, str], log: Path, program: str, folder: Path, arguments: tuple) -> None:
  from tests.training import hosts  # which imports this module

  gc.freeze()  # as conftest.py does: the collector takes an eighth of what tracing takes
  gc.set_threshold(20_000, 20, 50)
  os.environ.clear()
  os.environ.update(env)
  os.chdir(ROOT)
  heard = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  for stream in (1, 2):
    os.dup2(heard, stream)
  hosts.main(program, folder, *arguments)


def codes(processes: list[subprocess.Popen | multiprocessing.Process], seconds: float) -> list[int]:
  """The exit codes of all, as a shell gives them; AssertionError where one still runs then."""
  end = time.monotonic() + seconds
  given = []
  for process in processes:
    left = max(end - time.monotonic(), 0.01)
    if isinstance(process, subprocess.Popen):
      given.append(process.wait(left))
    else:
      process.join(left)
      given.append(process.exitcode)
      assert given[-1] is not None, f"a host still runs after {seconds} s"
  return [128 - code if code < 0 else code for code in given]


def reports(folder: Path, hosts: int) -> list[dict]:
  """What each host has reported."""
  return [json.loads((folder / f"host_{host}.json").read_text()) for host in range(hosts)]


def log_of(folder: Path) -> str:
  """All that the hosts have said, for the message of an assertion."""
  return "\n".join(path.read_text() for path in sorted(folder.glob("host_*.log")))


def listening() -> list[str]:
  """The addresses at which this process accepts connections, in hexadecimal as Linux has them."""
  ours = set()
  for descriptor in Path("/proc/self/fd").iterdir():
    with contextlib.suppress(OSError):
      ours.add(os.readlink(descriptor))
  found = []
  for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    for line in Path(table).read_text().splitlines()[1:]:
      words = line.split()
      if words[3] == "0A" and f"socket:[{words[9]}]" in ours:
        found.append(words[1])
  return found

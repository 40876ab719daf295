"""Hosts of a run as processes of this machine: started together, told apart by their variables."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from stemphonic_jax.training.distributed import cluster

ROOT = Path(__file__).resolve().parents[2]
QUICK = "--xla_backend_optimization_level=0"  # to compile; what is compiled runs a moment only


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
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}",
  }


def command(program: str, folder: Path, *arguments: str) -> list[str]:
  """What a host runs."""
  return [sys.executable, "-m", "tests.training.hosts", program, str(folder), *arguments]


@contextlib.contextmanager
def started(
  program: str, hosts: int, folder: Path, *arguments: str, devices: int = 1
) -> Iterator[list[subprocess.Popen]]:
  """Runs a program of hosts.py on so many hosts.

  What each says is in FOLDER/host_N.log; none is left running.
  """
  folder.mkdir(parents=True, exist_ok=True)
  port = free_port()
  processes = []
  try:
    for host in range(hosts):
      with (folder / f"host_{host}.log").open("ab") as log:
        env = environment(hosts, host, port, devices)
        processes.append(
          subprocess.Popen(
            command(program, folder, *arguments), cwd=ROOT, env=env, stdout=log, stderr=log
          )
        )
    yield processes
  finally:
    for process in processes:
      process.kill()
      process.wait()


def codes(processes: list[subprocess.Popen], seconds: float) -> list[int]:
  """The exit codes of all, as a shell gives them; TimeoutExpired where one still runs then."""
  end = time.monotonic() + seconds
  given = [process.wait(max(end - time.monotonic(), 0.01)) for process in processes]
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

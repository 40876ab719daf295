"""The hosts of a run: how they find each other, which one speaks for all, how they end together.

A slice of Cloud TPUs and a SLURM step say themselves who takes part. Anywhere else three variables
do, the same on every host but the last: STEMPHONIC_COORDINATOR=ADDRESS:PORT, an address of host 0
that the others reach; STEMPHONIC_HOSTS=N; STEMPHONIC_HOST=0 … N-1. A host is a process: several may
share a machine.

Where there is one host nothing is started, and no socket is opened.
"""

import contextlib
import errno
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import jax
from absl import logging
from jax.experimental import multihost_utils

from stemphonic_jax.errors import StemphonicError, UsageError

T = TypeVar("T")

COORDINATOR, HOSTS, HOST = "STEMPHONIC_COORDINATOR", "STEMPHONIC_HOSTS", "STEMPHONIC_HOST"

# Seconds. A host that falls silent ends all others after HEARTBEAT; jax waits for 100. Hosts that
# are done wait for up to SHUTDOWN for the first one, which may still be writing the model. FAREWELL
# is how long a host that fails waits for the others to fail with the same code.
HEARTBEAT, SHUTDOWN, FAREWELL = 25, 1800, 3


def start() -> None:
  """Joins the hosts of this run, if there are several; to be called before anything uses jax.

  From then on hosts other than the first log warnings only, and an exception that nobody catches
  ends the process at once. UsageError where the variables are incomplete or contradict each other,
  before anything connects.
  """
  address, hosts, host, local_devices = _named() if _variables() else _detected()
  if hosts == 1:
    return
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  jax.distributed.initialize(
    address,
    hosts,
    host,
    local_devices,
    # By default the service, which asks nobody who they are, listens on every interface.
    coordinator_bind_address=_internal(address) if host == 0 else None,
    cluster_detection_method="deactivate",
    heartbeat_timeout_seconds=HEARTBEAT,
    shutdown_timeout_seconds=SHUTDOWN,
  )
  sys.excepthook = _uncaught
  if host:
    logging.set_verbosity(logging.WARNING)
  logging.info("%d hosts, coordinated by %s", hosts, address)


def host() -> int:
  """Number of this host."""
  return jax.process_index()


def hosts() -> int:
  """How many hosts take part."""
  return jax.process_count()


def is_first() -> bool:
  """Whether this is the host that writes logs, models and previews for all."""
  return jax.process_index() == 0


def wait(name: str) -> None:
  """Returns when all hosts have come here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def one_by_one(work: Callable[[], T]) -> T:
  """Does on the first host what the others, after it, find done; each its own result.

  What a user can act on, as a config that does not fit, the others find after it too: then every
  host ends with the same code. `work` must not wait for other hosts.
  """
  result = error = None
  if is_first():
    try:
      result = work()
    except StemphonicError as found:
      error = found
  wait("the first host's work")
  if error:
    raise error
  return result if is_first() else work()


def gather(tree: Any) -> Any:
  """Arrays that lie on the devices of all hosts, whole on the first one; all of them must ask."""
  if hosts() == 1:
    return tree

  def whole(leaf: jax.Array) -> Any:
    array = multihost_utils.process_allgather(leaf, tiled=True)
    return array if is_first() else None

  return jax.tree.map(whole, tree)


def leave(code: int) -> NoReturn:
  """Ends this process with an exit code, without waiting for a host that may never come.

  Success is common to all hosts, and so it waits for them. Anything else ends at once: an ordinary
  exit would stand at a barrier for as long as a healthy peer works on.
  """
  if code == 0 or not jax.distributed.is_initialized():
    sys.exit(code)
  # What all hosts have in common (preempted and saved, diverged, a config that does not fit) each
  # must report itself. Whoever left first would end the others with a code that asks for a restart.
  with contextlib.suppress(Exception):
    _client().wait_at_barrier(f"leave with {code}", FAREWELL * 1000)
    if is_first():  # takes the coordinator along
      time.sleep(1)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def _variables() -> dict[str, str]:
  """Those of our variables that are set."""
  return {name: os.environ[name] for name in (COORDINATOR, HOSTS, HOST) if os.environ.get(name)}


def _named() -> tuple[str, int, int, None]:
  """(coordinator, number of hosts, number of this host, all devices) from our variables."""
  given = _variables()
  if missing := [name for name in (COORDINATOR, HOSTS, HOST) if name not in given]:
    raise UsageError(
      f"{', '.join(given)} is set, but not {', '.join(missing)}; set all three or none:"
      f" {COORDINATOR}=ADDRESS:PORT of host 0, {HOSTS}=how many, {HOST}=which one"
    )
  hosts = _number(HOSTS, given[HOSTS], 1, None)
  host = _number(HOST, given[HOST], 0, hosts - 1)
  name, _, port = given[COORDINATOR].rpartition(":")
  if not name:
    raise UsageError(
      f"{COORDINATOR}: got {given[COORDINATOR]!r}, expected ADDRESS:PORT of host 0,"
      f" as in 10.0.0.2:8476"
    )
  _number(f"port of {COORDINATOR}", port, 1, 65535)
  return given[COORDINATOR], hosts, host, None


def _number(what: str, text: str, least: int, most: int | None) -> int:
  if not text.isdecimal() or not least <= int(text) <= (int(text) if most is None else most):
    bounds = f"{least} or more" if most is None else f"{least} to {most}"
    raise UsageError(f"{what}: got {text!r}, expected a whole number, {bounds}")
  return int(text)


def _detected() -> tuple[str, int, int, list[int] | None]:
  """The same four from SLURM or the TPU's own metadata; one host where neither is there."""
  # jax finds these only in the call that also connects. They are needed before: a single host must
  # not connect, and the service must be told where to listen.
  from jax._src.clusters import GceTpuCluster, GkeTpuCluster, SlurmCluster

  for cluster in (SlurmCluster, GkeTpuCluster, GceTpuCluster):
    if not cluster.is_env_present():
      continue
    hosts, local_devices = cluster.get_process_count(), None
    if hosts == 1:
      break
    if cluster is SlurmCluster:
      # One process per node has all devices of the node; one of several has that of its number,
      # which is what jax assumes of every SLURM step.
      shared = hosts > int(os.environ.get("SLURM_STEP_NUM_NODES", hosts))
      local_devices = [cluster.get_local_process_id()] if shared else []
    port = os.environ.get("JAX_COORDINATOR_PORT")
    address = cluster.get_coordinator_address(timeout_secs=300, override_coordinator_port=port)
    return address, hosts, cluster.get_process_id(), local_devices
  return "", 1, 0, None


def _internal(address: str) -> str:
  """Where host 0 listens: on the one address that the others are told, and on no other interface.

  UsageError where that address is not of this host.
  """
  name, _, port = address.rpartition(":")
  try:
    ip = _resolve(name.strip("[]"))
    if _is_loopback(ip) and not (_is_loopback(name.strip("[]")) or name == "localhost"):
      # Many systems give their own name an address that no other host can reach.
      ip = _own_address()
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as probe:
      probe.bind((ip, 0))
  except OSError as error:
    what = "is no address of host 0" if error.errno == errno.EADDRNOTAVAIL else str(error)
    raise UsageError(
      f"cannot listen at {address}: {what}; set {COORDINATOR}=ADDRESS:PORT to an address of host 0"
      f" that the other hosts reach, with {HOSTS} and {HOST}"
    ) from None
  return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _resolve(name: str) -> str:
  return socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0]


def _is_loopback(ip: str) -> bool:
  return ip.startswith("127.") or ip == "::1"


def _own_address() -> str:
  """The address this host has on the way out; nothing is sent to find it."""
  with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(("192.0.2.1", 9))  # an address reserved for examples (RFC 5737)
    return probe.getsockname()[0]


def _client():
  from jax._src import distributed  # has no public name

  return distributed.global_state.client


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
  """Reports an exception as Python does, and leaves."""
  traceback.print_exception(kind, error, trace)
  interrupted = kind is KeyboardInterrupt
  leave(130 if interrupted else getattr(error, "exit_code", StemphonicError.exit_code))

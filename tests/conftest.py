"""What all tests share: the CPU, shapes checked at every call, and a cache of compiled programs."""

import contextlib
import ctypes
import gc
import logging as python_logging
import os
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import jaxtyping
import pytest
from absl import flags, logging
from beartype import BeartypeConf, beartype

from stemphonic_jax import door

# Set here, because jax reads them once, when it is imported; subprocesses of tests inherit them.
os.environ["JAX_PLATFORMS"] = "cpu"
# Eight simulated devices, to see that nothing depends on how many there are. On a busy machine they
# may keep each other waiting for longer than the 40 s after which XLA gives up. Tests compile for
# longer than they compute: LLVM's optimisations, which change speed and rounding, are left out.
os.environ["XLA_FLAGS"] = (
  "--xla_force_host_platform_device_count=8 --xla_cpu_collective_call_terminate_timeout_seconds=300"
  " --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
)
if metadata.version("jaxlib").startswith("0.10."):
  # The older of its two code generators compiles in half the time; later releases have one.
  os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
cache = Path(__file__).resolve().parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

door.keep_memory()  # as trainings do
# grain starts its workers only where absl's flags are parsed.
flags.FLAGS.mark_as_parsed()


assert_types = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float


def checked(function: Callable) -> Callable:
  """The function with its signature asserted at every call.

  Not the constructors of dataclasses: jax fills a pytree with whatever a transformation needs, such
  as shardings, abstract shapes or one more axis.
  """
  return function if function.__name__ == "__init__" else assert_types(function)


# Holds for modules that are imported from here on.
CHECKED = ("models", "flow", "guidance", "sampler", "tokens")
jaxtyping.install_import_hook([f"stemphonic_jax.{name}" for name in CHECKED], f"{__name__}.checked")


# Bytes of memory: what a process holds at most before a test, and what a file may leave behind.
MOST, LEFT = 2.4e9, 2.5e8
# Files that take long, in threes: two that compute, and one that waits (for processes, clocks or a
# browser) and leaves its core to them. So three processes keep two cores busy.
LONGEST = (
  *(
    "tests/test_configs.py",
    "tests/training/inputs/test_prepare.py",
    "tests/training/test_kills.py",
  ),
  *("tests/test_docs.py", "tests/systems/test_musicgen_stem.py", "tests/training/test_hosts.py"),
  *("tests/systems/test_stemgen.py", "tests/training/trainers/test_vae.py"),
  "tests/training/inputs/test_prepare_kills.py",
  *("tests/models/test_dit.py", "tests/parity/test_stable_audio.py", "tests/studio/test_server.py"),
  *("tests/test_demo_model.py", "tests/bench/test_bench.py", "tests/studio/test_page.py"),
  *("tests/training/trainers/test_dit.py", "tests/training/plan/test_compile.py"),
  "tests/studio/test_kills.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """The longest files come first, lest one process ends with them while the other has nothing."""
  order = {path: place for place, path in enumerate(LONGEST)}

  def place(item: pytest.Item) -> int:
    return order.get(item.path.relative_to(item.config.rootpath).as_posix(), len(order))

  items.sort(key=place)


def pytest_collection_finish() -> None:
  """Python's collector passes over what is there before the first test, and looks seldom.

  It took an eighth of the time of tests that trace.
  """
  gc.collect()
  gc.freeze()
  gc.set_threshold(20_000, 20, 50)


floor = 0  # bytes that this process held when it last let go of what is compiled


@pytest.fixture(scope="module", autouse=True)
def programs_let_go() -> Iterator[None]:
  """After a file that took much, its compiled programs go: other files hardly use them.

  Not after each test, because the next ones of a file would trace and load theirs anew.
  """
  global floor
  floor = floor or _resident()
  yield
  if _holds(floor + LEFT):
    _let_go()


@pytest.fixture(autouse=True)
def memory_given_back() -> Iterator[None]:
  """In a file that takes more than MOST they go before its end, lest a process grows to 5 GB."""
  yield
  if _holds(max(MOST, floor + LEFT)):
    _let_go()


def _holds(limit: float) -> bool:
  """Whether this process holds more bytes than `limit`, without what it only keeps for later."""
  if _resident() > limit:
    _trim()
  return _resident() > limit


def _let_go() -> None:
  """Lets go of compiled programs; who needs one traces it anew."""
  global floor
  import jax  # after the environment above

  jax.clear_caches()
  _trim()
  floor = _resident()


def _trim() -> None:
  """Hands free memory back, which glibc keeps; elsewhere that is not needed, or not possible."""
  gc.collect()
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim:
    trim(0)


def _resident() -> int:
  """Bytes of memory that this process holds now; 0 where Linux does not tell."""
  if sys.platform != "linux":
    return 0
  pages = Path("/proc/self/statm").read_text().split()[1]
  return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def warned() -> Iterator[list[str]]:
  """What the package warns of from here on, and anybody's errors."""
  with heard(logging.WARNING) as lines:
    yield lines


@pytest.fixture
def told() -> Iterator[list[str]]:
  """What the package says from here on, and anybody's errors."""
  with heard(logging.INFO) as lines:
    yield lines


@contextlib.contextmanager
def heard(least: int) -> Iterator[list[str]]:
  """Lines of the log of a level or higher, whatever the log is set to.

  The log itself belongs to whoever set it up last: a test of the command line, for example.
  """
  lines: list[str] = []
  package = str(Path(__file__).resolve().parents[1] / "stemphonic_jax")
  handler = python_logging.Handler(logging.converter.absl_to_standard(least))
  handler.addFilter(lambda r: r.levelno >= python_logging.ERROR or r.pathname.startswith(package))
  handler.emit = lambda record: lines.append(handler.format(record))
  log, verbosity = logging.get_absl_logger(), logging.get_verbosity()
  logging.set_verbosity(max(verbosity, least))
  log.addHandler(handler)
  yield lines
  log.removeHandler(handler)
  logging.set_verbosity(verbosity)


@pytest.fixture(scope="module")
def one_device():
  """A laptop; training on eight devices is compared with one in training/trainers/test_dit.py."""
  import jax  # after the environment above

  from stemphonic_jax.training.distributed import mesh

  with pytest.MonkeyPatch.context() as patch:
    devices = {"devices": jax.devices()[:1], "axis_types": (jax.sharding.AxisType.Auto,) * 3}
    one = jax.make_mesh((1, 1, 1), mesh.AXES, **devices)
    patch.setattr(mesh, "make_mesh", lambda **sizes: one)
    patch.setattr(mesh, "local_mesh", lambda: one)
    yield


@pytest.fixture(scope="module")
def equal_steps_compile_once():
  """Trainings whose steps are the same function of a state and a batch share a compiled one."""
  from ml_collections import ConfigDict

  from stemphonic_jax.training.losses import setting, unmasking
  from stemphonic_jax.training.run import state
  from stemphonic_jax.training.trainers import codec, coded, dit, rebuilding, vae

  def described(argument):
    if isinstance(argument, ConfigDict) and not argument.decay:
      lasting = argument.to_dict()  # of a rate that does not fall, the number of steps is no part
      return repr({name: lasting[name] for name in lasting if name not in ("steps", "save_every")})
    if getattr(argument, "__name__", "") == "<lambda>":
      return argument.__code__, [described(cell.cell_contents) for cell in argument.__closure__]
    return repr(argument)

  def once(make):
    made = {}

    def equal(*arguments, **options):
      named = {name: described(value) for name, value in options.items()}
      key = repr(([described(argument) for argument in arguments], named))
      if key not in made:
        made[key] = make(*arguments, **options)
      return made[key]

    return equal

  homes = [(setting, "velocity_loss"), (state, "train_step"), (dit, "build_optimizer")]
  homes += [(vae, name) for name in ("reconstruction_loss", "adversarial_loss")]
  homes += [(codec, name) for name in ("codec_loss", "adversarial_codec_loss", "following")]
  homes += [(unmasking, "unmasking_loss"), (coded, "build_optimizer")]
  homes += [(rebuilding, name) for name in ("build_optimizer", "both_optimizers")]
  with pytest.MonkeyPatch.context() as patch:
    for home, name in homes:
      patch.setattr(home, name, once(getattr(home, name)))
    yield

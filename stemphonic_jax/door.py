"""What both doors do around their work: logs, the compilation cache, errors in one line."""

import _thread
import ctypes
import errno
import functools
import glob
import importlib.util
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stemphonic_jax.errors import StemphonicError

DEBUG = "STEMPHONIC_DEBUG"  # set to 1, errors come with their traceback
CACHE = "JAX_COMPILATION_CACHE_DIR"
LATER = 0.05  # seconds
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # which stays as it is, of what file it may be
TPU_DEVICES = ("/dev/accel*", "/dev/vfio/[0-9]*")  # what a host of TPUs has
# Of glibc's mallopt, whose values are C's int: from how many free bytes on memory is given back,
# from which size on a piece of it is the system's own, and how many heaps threads share.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX, MOST = -1, -3, -8, 2**31 - 1


def run(work: Callable[[], None]) -> int:
  """Runs `work` and returns the exit code; an error becomes one line on stderr.

  Codes follow sysexits.h: 0 done, 2 usage, 65 bad data, 66 missing, 70 a fault of ours, 73 and 74
  cannot write or read, 75 preempted but saved, 76 diverged (a training, or what a model makes),
  78 another model's, 130 interrupted.
  A run that hangs ends itself, with 71 (training/run/watchdog.py).
  """
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # a letter that a terminal lacks is spelled out
      stream.reconfigure(errors="backslashreplace")
  before = sys.unraisablehook
  timers: list[threading.Timer] = []
  sys.unraisablehook = functools.partial(_come_again, before, timers)
  try:
    work()
    print(end="", flush=True)  # a reader that has gone shows here, and not at exit
  except StemphonicError as error:
    return _report(error, str(error), error.exit_code)
  except KeyboardInterrupt as error:
    return _report(error, "interrupted", 130)
  except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at exit
    return 141
  except OSError as error:  # of a file, which stays as it is, or of a network, which may not
    ours = error.filename or error.errno in FULL
    return _report(error, _said(error), 74 if ours else StemphonicError.exit_code)
  except Exception as error:
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return _report(error, f"internal error, {what} ({DEBUG}=1 shows where)", 70)
  finally:
    sys.unraisablehook = before
    for timer in timers:
      timer.cancel()
  return 0


def _come_again(
  otherwise: Callable[[Any], None], timers: list[threading.Timer], unraisable: Any
) -> None:
  """An interruption where Python can raise none comes again, as jax's callback of the collector."""
  if unraisable.exc_type is not KeyboardInterrupt:
    otherwise(unraisable)
    return
  again = threading.Timer(LATER, _thread.interrupt_main)
  again.daemon = True
  timers.append(again)
  again.start()


def _said(error: OSError) -> str:
  """What happened, and to which file or between which two."""
  places = [str(place) for place in (error.filename, error.filename2) if place]
  what = error.strerror or str(error)
  return f"{' → '.join(places)}: {what}" if places else what


def _report(error: BaseException, message: str, code: int) -> int:
  if os.environ.get(DEBUG) == "1":
    traceback.print_exception(error)
  print("stemphonic: error:", " ".join(message.split()), file=sys.stderr)
  return code


def set_up() -> None:
  """Sets the log's form and a compilation cache that outlives the process, without loading jax."""
  import logging as python_logging

  from absl import logging

  pass_over_tpus()
  if CACHE not in os.environ:
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    _set("jax_compilation_cache_dir", str(Path(cache, "stemphonic_jax", "xla")))
  _set("jax_persistent_cache_min_compile_time_secs", 0.0)

  # Libraries that log through absl too are heard from WARNING on, this package from INFO on.
  package = str(Path(__file__).parent)
  handler = python_logging.StreamHandler()
  handler.setFormatter(python_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
  handler.addFilter(lambda r: r.levelno >= python_logging.WARNING or r.pathname.startswith(package))
  logging.get_absl_logger().handlers = [handler]
  logging.get_absl_logger().propagate = False
  logging.set_verbosity(logging.INFO)


def pass_over_tpus() -> None:
  """Keeps jax from looking for a TPU where libtpu is installed, as to compile, but no TPU is.

  libtpu would write to the log what it misses, and lock out other processes. To be called before
  jax is asked for its devices.
  """
  if importlib.util.find_spec("libtpu") is None:
    return
  jax = sys.modules.get("jax")
  if (jax.config.jax_platforms if jax else os.environ.get("JAX_PLATFORMS")) is not None:
    return  # as asked for
  others = importlib.util.find_spec("jax_plugins")  # of GPUs
  if others is None and not any(found for pattern in TPU_DEVICES for found in glob.glob(pattern)):
    _set("jax_platforms", "cpu")


def keep_memory() -> None:
  """Has the process keep memory that it frees, where the C library is glibc; for trainings.

  A program compiled for a CPU frees what it computed with when it ends. Given back, that is cleared
  page by page when the next step asks for it: a quarter of the demo model's processor time. Where
  memory is kept, its peak is higher (2.2 GB instead of 1.1), and songs are made no faster.
  """
  if mallopt := getattr(ctypes.CDLL(None) if os.name == "posix" else None, "mallopt", None):
    mallopt(TRIM_THRESHOLD, MOST)
    mallopt(MMAP_THRESHOLD, MOST)
    mallopt(ARENA_MAX, 1)  # the heaps of other threads are too small for that


def _set(name: str, value: Any) -> None:
  """A setting of jax, or the variable that it is read from where jax is not loaded yet.

  Loading it takes longer than to see that a request is wrong.
  """
  if jax := sys.modules.get("jax"):
    jax.config.update(name, value)
  else:
    os.environ[name.upper()] = str(value)

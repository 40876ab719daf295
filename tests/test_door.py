"""Both doors: an error is one line and a fitting exit code, unless its traceback is asked for."""

import os
import platform
import re
import signal
import subprocess
import sys
import time

import pytest

from stemphonic_jax import door
from stemphonic_jax.errors import (
  DataError,
  MismatchError,
  MissingError,
  OutputError,
  StemphonicError,
  UsageError,
)


def test_a_letter_that_a_terminal_lacks_is_spelled_out():
  program = "from stemphonic_jax import door; raise SystemExit(door.run(lambda: print('\u00e9')))"
  ascii_ = {**os.environ, "PYTHONIOENCODING": "ascii"}
  done = subprocess.run(
    [sys.executable, "-c", program], env=ascii_, capture_output=True, check=False
  )
  assert (done.returncode, done.stdout) == (0, b"\\xe9\n")


def failing(error):
  def work():
    raise error

  return work


@pytest.mark.parametrize(
  ("error", "code", "line"),
  [
    (UsageError("bpm: got 500"), 2, "bpm: got 500"),
    (DataError("x.wav: holds\nno samples"), 65, "x.wav: holds no samples"),
    (MissingError("no such file"), 66, "no such file"),
    (StemphonicError("a fault"), 70, "a fault"),
    (OutputError("out: already exists"), 73, "out: already exists"),
    (MismatchError("another model"), 78, "another model"),
    (OSError(28, "No space left", "x.wav"), 74, "x.wav: No space left"),
    (OSError(28, "No space left on device"), 74, "No space left on device"),
    (ConnectionResetError(104, "reset by peer"), 70, "reset by peer"),
    (OSError("no cause known"), 70, "no cause known"),
    (OSError(18, "Cross-device link", "a", None, "/b"), 74, "a → /b: Cross-device link"),
    (KeyboardInterrupt(), 130, "interrupted"),
    (
      ZeroDivisionError("division\nby zero"),
      70,
      "internal error, ZeroDivisionError: division (STEMPHONIC_DEBUG=1 shows where)",
    ),
  ],
  ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_is_one_line_and_a_code(capsys, error, code, line):
  assert door.run(failing(error)) == code
  out, err = capsys.readouterr()
  assert out == ""
  assert err == f"stemphonic: error: {line}\n"


def test_an_interruption_where_none_can_be_raised_comes_again(capsys):
  """As in jax's callback of the garbage collector, where Python passes over it."""

  class Collected:
    def __del__(self):
      signal.raise_signal(signal.SIGINT)

  def work():
    Collected()
    for _ in range(1000):
      time.sleep(0.01)

  hook, handler = sys.unraisablehook, signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    assert door.run(work) == 130
  finally:
    signal.signal(signal.SIGINT, handler)
  assert capsys.readouterr() == ("", "stemphonic: error: interrupted\n")
  assert sys.unraisablehook is hook


def test_no_error_is_0_and_says_nothing(capsys):
  assert door.run(lambda: None) == 0
  assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
  ("error", "code"), [(UsageError("x"), 2), (KeyError("x"), 70), (KeyboardInterrupt(), 130)]
)
def test_debug_shows_the_traceback_and_leaves_the_code(monkeypatch, capsys, error, code):
  monkeypatch.setenv("STEMPHONIC_DEBUG", "1")
  assert door.run(failing(error)) == code
  lines = capsys.readouterr().err.splitlines()
  assert lines[0] == "Traceback (most recent call last):"
  assert lines[-1].startswith("stemphonic: error: ")


PROGRAM = """
import sys
from stemphonic_jax import door
sys.exit(door.run(lambda: print("a line")))
"""


def test_a_reader_that_has_gone_is_no_error_worth_a_word():
  process = subprocess.Popen(
    [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
  )
  process.stdout.close()
  assert process.stderr.read() == ""
  assert process.wait() == 141  # 128 + SIGPIPE, as of a program that the signal ends


SET_UP = """
import os, sys
from absl import logging
from stemphonic_jax import door
door.set_up()
import jax
jax.jit(lambda x: x + 1)(1.0)
logging.info("not ours")
logging.warning("a warning")
"""


def test_compiled_programs_outlive_the_process_and_foreign_chatter_is_not_heard(tmp_path):
  environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION_CACHE")}
  done = subprocess.run(
    [sys.executable, "-c", SET_UP],
    env=environment | {"XDG_CACHE_HOME": str(tmp_path)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert any((tmp_path / "stemphonic_jax" / "xla").iterdir())
  assert re.fullmatch(r"\d\d:\d\d:\d\d a warning\n", done.stderr)


@pytest.mark.parametrize(
  ("asked", "installed", "device", "expected"),
  [
    (None, ("libtpu",), False, "cpu"),
    (None, ("libtpu",), True, None),  # a TPU's host, whatever jax made of it
    (None, ("libtpu", "jax_plugins"), False, None),  # a GPU's
    (None, (), False, None),
    ("tpu,cpu", ("libtpu",), False, "tpu,cpu"),
  ],
)
def test_an_installed_compiler_for_tpus_is_no_tpu(
  asked, installed, device, expected, tmp_path, monkeypatch
):
  import jax

  if device:
    (tmp_path / "accel0").touch()
  monkeypatch.setattr(door, "TPU_DEVICES", (f"{tmp_path}/accel*",))
  monkeypatch.setattr(
    door.importlib.util, "find_spec", lambda name: name if name in installed else None
  )
  before = jax.config.jax_platforms
  jax.config.update("jax_platforms", asked)
  try:
    door.pass_over_tpus()
    assert jax.config.jax_platforms == expected
  finally:
    jax.config.update("jax_platforms", before)


def test_an_installed_compiler_for_tpus_says_nothing(tmp_path):
  """Nor does it lock out another process, which is using it or about to."""
  pytest.importorskip("libtpu", reason="there is no libtpu for this machine")
  code = "from stemphonic_jax import door; door.set_up(); import jax; print(jax.default_backend())"
  environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
  done = subprocess.run(
    [sys.executable, "-c", code],
    env=environment | {"TMPDIR": str(tmp_path)},
    capture_output=True,
    text=True,
  )
  assert (done.returncode, done.stdout, done.stderr) == (0, "cpu\n", "")


# Page faults of a thread that takes 64 MB for the third time, as compiled programs do at each step.
TAKEN_AGAIN = """
import ctypes, resource, threading
from stemphonic_jax import door
door.keep_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def take():
  for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place = libc.malloc(2**26)
    libc.memset(place, 1, 2**26)
    libc.free(place)
  print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=take)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_memory_that_is_freed_is_not_cleared_again():
  done = subprocess.run([sys.executable, "-c", TAKEN_AGAIN], capture_output=True, text=True)
  assert done.stderr == ""
  assert int(done.stdout) < 100  # of 16 384 pages

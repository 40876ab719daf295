"""The command line as a whole: a command is needed, and help names what there is."""

import json
import subprocess
import sys

import pytest

from stemphonic_jax import door
from tests import tiny


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((), "the following arguments are required: COMMAND; see `stemphonic --help`"),
    (("compose",), "argument COMMAND: invalid choice: 'compose'"),
    (("generate",), "the following arguments are required: prompt, --stems"),
    (("--verson",), "unknown option --verson; did you mean --version? see `stemphonic --help`"),
  ],
)
def test_a_command_is_needed(stemphonic, arguments, message):
  code, out, err = stemphonic(*arguments)
  assert (code, out) == (2, "")
  assert err.startswith(f"stemphonic: error: {message}")
  assert err.count("\n") == 1


def test_help_names_every_option(stemphonic, capsys):
  with pytest.raises(SystemExit) as end:
    stemphonic("generate", "--help")
  assert end.value.code == 0
  text = capsys.readouterr().out
  for option in ("--stems", "--bpm", "--context", "--activity", "--passes", "--overwrite"):
    assert option in text


def test_no_command_lets_jax_look_for_a_tpu(stemphonic, monkeypatch):
  """The log of libtpu, where it is installed to compile, is then no part of what is printed."""
  told = []
  monkeypatch.setattr(door, "pass_over_tpus", lambda: told.append(True))
  stemphonic("bundle", "verify", "nowhere")
  assert told == [True]


AT_ONCE = """
import json, sys
from stemphonic_jax import cli
from stemphonic_jax.errors import StemphonicError
for words in json.loads(sys.argv[1]):
  try:
    cli.run(words)
  except StemphonicError as error:
    print(" ".join(words[:2]), "|", error)
assert "jax" not in sys.modules and "flax" not in sys.modules
"""


def test_what_is_wrong_is_told_before_jax_is_loaded(tmp_path, monkeypatch):
  """Loading it, and a model's weights, takes as long as a song: nobody waits for a typing error."""
  monkeypatch.chdir(tmp_path)
  song, model = tmp_path / "song", str(tiny.model())
  tiny.pipeline().generate("Rock", ["drums"]).save(song)
  named, make = ("--model", model), ("generate", "Rock", "--stems")
  wrong = {
    (*make, "gutars", *named): "did you mean 'guitars'",
    (*make, "drums", *named, "--bpm", "1000"): "bpm: got 1000",
    (*make, "drums", *named, "--context", "no.wav"): "no.wav: no such audio file",
    (*make, "drums", *named, "--out", "song"): "song: already exists",
    (*make, "drums", "--model", "no"): "no: no such model folder",
    ("follow", "no.wav", "Rock", "--stems", "drums", *named): "no.wav: no such audio file",
    ("again", "song", "--stems", "keys", *named): "no stem 'keys' in this song",
    ("again", "song", "--range", "0-9", *named): "range 0-9",
    ("vary", "song", "--strength", "2", *named): "strength: got 2",
    ("add", "song", "--stems", "pinao", *named): "did you mean 'keys'",
    ("extend", "song", "--seconds", "0.1", *named): "seconds: got 0.1",
    ("loop", "song", "--range", "0-9", *named): "range 0-9",
    ("extend", "song", "--seconds", "9", "--model", "demo"): "another model made this song",
    ("remove", "song", "--stems", "keys"): "no stem 'keys' in this song",
    ("takes", "song", "--step", "3"): "step: got 3",
    ("replay", "song", "--out", "new", "--model", "demo"): "another model made this song",
    ("export", "song", "--as", "stem", "--bits", "24"): "--bits is of WAVs",
    ("evaluate", "--models", "no", "--table", "1"): "no: no such folder of models",
    ("evaluate", "--models", "song", "--table", "7"): "table 7: expected one of 1",
    ("evaluate", "--model", model, "--vggish", "no"): "no: no such file of VGGish",
    ("prepare", "folder", "no", "out", "--check-only"): "no: no such folder",
    ("bundle", "verify", "no"): "no: no such model folder",
    ("bench", "data", "--model", "demo"): "--model is an option of",
    ("prepare", "folder", "song", "out", "--model", "no"): "no: no such model folder",
  }
  command = [sys.executable, "-c", AT_ONCE, json.dumps([*wrong])]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  lines = done.stdout.splitlines()
  assert len(lines) == len(wrong)
  for line, (words, message) in zip(lines, wrong.items(), strict=True):
    assert line.startswith(" ".join(words[:2]))
    assert message in line

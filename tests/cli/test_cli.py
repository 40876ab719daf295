"""The command line as a whole: a command is needed, and help names what there is."""

import pytest

from stemphonic_jax import door


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

"""The command line as tests of all commands run it."""

import pytest

from stemphonic_jax import cli, door


@pytest.fixture
def stemphonic(monkeypatch, tmp_path, capsys):
  """Runs a command in this process and an empty folder: (exit code, stdout, stderr)."""
  monkeypatch.setattr(door, "set_up", lambda: None)  # it would set up logs of the whole process
  monkeypatch.chdir(tmp_path)

  def run(*arguments):
    code = door.run(lambda: cli.run([str(argument) for argument in arguments]))
    return code, *capsys.readouterr()

  return run

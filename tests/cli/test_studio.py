"""`stemphonic studio`: it listens to nobody else unasked, and says what is in the way."""

import pytest

from stemphonic_jax.cli import studio as command
from stemphonic_jax.errors import UsageError

pytest.importorskip("uvicorn", reason="needs the extra studio")


def test_the_command_asks_for_a_token_where_others_can_come(stemphonic):
  code, _, said = stemphonic("studio", "--host", "0.0.0.0")
  assert code == 2
  assert "whoever reaches this machine could open your songs" in said
  code, _, said = stemphonic("studio", "--host", "0.0.0.0", "--token", "short")
  assert (code, "8 letters and digits" in said) == (2, True)


def test_a_port_that_is_taken_is_said():
  taken = command._listen("127.0.0.1", 0)
  taken.listen()
  with pytest.raises(UsageError, match=r"cannot listen there .*choose another --port"):
    command._listen("127.0.0.1", taken.getsockname()[1])
  taken.close()

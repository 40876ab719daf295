"""How far a song is, as a command shows it."""

from stemphonic_jax.cli.showing import shown
from stemphonic_jax.data import bar


def test_where_there_is_no_terminal_the_log_says_how_far_a_song_is(monkeypatch, caplog):
  monkeypatch.setattr(bar, "EVERY", 0.0)
  with caplog.at_level("INFO", "absl"), shown("extend") as tell:
    for done in (0, 3, 8):
      tell(done, 8)
  assert [message.split(",")[0] for message in caplog.messages] == [
    "extend: 0 of 100 %", "extend: 37 of 100 %", "extend: 100 of 100 %"
  ]  # fmt: skip

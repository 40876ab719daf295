"""How far a work is: lines of log where there is no terminal."""

from stemphonic_jax.data import bar


def test_without_a_terminal_lines_say_now_and_then_what_is_done(told, monkeypatch):
  monkeypatch.setattr(bar, "EVERY", 0.0)
  assert list(bar.bar("ab", "check", 3, "mixes", first=1)) == ["a", "b"]
  with bar.bar(None, "prompts", None, "texts") as counted:
    counted.update(7)
  lines = ["check: 2 of 3 mixes, 0 s", "check: 3 of 3 mixes, 0 s", "prompts: 7 texts, 0 s"]
  assert told == lines
  monkeypatch.setattr(bar, "EVERY", 60.0)
  assert list(bar.bar("ab", "check", 2, "mixes")) == ["a", "b"]
  assert told == lines  # what is quick needs none

"""Metres: beats, bars and quarters, and what words say of them."""

import pytest

from stemphonic_jax.audio.metre import METRES, bar_seconds, beats, quarters, said
from stemphonic_jax.data.sources.demo.triple import STEPS


def test_beats_are_counted_as_the_demo_corpus_has_them():
  for metre, (bar, beat) in STEPS.items():
    assert beats(metre) == bar / beat
  assert [beats(metre) for metre in METRES] == [2, 3, 4, 5, 7, 2, 3, 4]
  assert bar_seconds(90, "3/4") == bar_seconds(60, "6/8") == 2
  assert bar_seconds(None, "3/4") is None
  assert (quarters(60, "6/8"), quarters(60, "3/4")) == (90, 60)


@pytest.mark.parametrize(
  ("text", "metre"),
  [
    ("A slow waltz in D minor", "3/4"),
    ("Ein Walzer mit Geige", "3/4"),
    ("an Irish jig", "6/8"),
    ("Rock in 6/8, no waltz", "6/8"),
    ("(5/4) jazz", "5/4"),
    ("folk, 3/4, 90 bpm", "3/4"),
    ("Upbeat pop, 4/4", "4/4"),
    ("Relaxing country rock", None),
    ("take 3 of 4, 13/16, 1/2 as loud, 2024/4/4, waltzing", None),
  ],
)
def test_words_say_a_metre_by_figures_or_a_dance(text, metre):
  assert said(text) == metre

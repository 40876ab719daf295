from dataclasses import replace

import numpy as np
import pytest

from stemphonic_jax.evaluation.measures.tempo import estimate, tempo
from tests.evaluation.songs_by_hand import SECONDS, clicks, song


def beats(bpm, start=0.3):
  return song("a", bpm, drums=clicks(np.arange(start, SECONDS - 0.1, 60 / bpm)))


@pytest.mark.parametrize("bpm", [72, 96.5, 120, 143])
def test_a_click_is_as_fast_as_it_is(bpm):
  assert estimate(beats(bpm)) == pytest.approx(bpm, rel=0.015)


def test_half_and_double_are_right_up_to_an_octave_and_nothing_else_is():
  song = beats(100)
  for asked, right, octave in ((103, 1, 1), (106, 0, 0), (50, 0, 1), (200, 0, 1), (150, 0, 0)):
    exact, up_to = tempo([replace(song, bpm=float(asked))])
    assert (exact.value, up_to.value) == (right, octave)


def test_in_six_eight_pairs_of_eighths_are_right_too():
  heard = replace(beats(100), bpm=100 / 1.5)
  assert tempo([heard])[1].value == 0
  assert tempo([replace(heard, caption="A lilting jig in 6/8")])[1].value == 1
  assert tempo([replace(heard, caption="A lilting jig in 6/8")])[0].value == 0


def test_silence_has_no_tempo_and_who_asked_for_none_is_not_counted():
  silent = song("a", 100.0, drums=np.zeros((8 * 22050, 2), np.float32))
  assert estimate(silent) is None
  assert tempo([silent])[0].value == 0.0
  assert tempo([replace(silent, bpm=None)])[1].n == 0

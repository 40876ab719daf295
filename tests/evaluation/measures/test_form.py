import numpy as np
import pytest

from stemphonic_jax.evaluation.features import FRAMES_PER_SECOND, SongFeatures
from stemphonic_jax.evaluation.measures.form import changes, form
from tests.evaluation.songs_by_hand import drawn

FRAMES = round(32 * FRAMES_PER_SECOND)


def lane(*ranges):
  time = np.arange(FRAMES) / FRAMES_PER_SECOND
  return np.any([(time >= start) & (time < end) for start, end in ranges], axis=0)


def songs(wrong, bpm=True, count=40):
  """Two stems that each enter at some phrase of the song, the second `wrong` beats off at most."""
  rng = np.random.default_rng(0)
  made = []
  for number in range(count):
    tempo = rng.uniform(100, 160)
    beat, start = 60 / tempo, rng.uniform(2, 8)
    bars = 16 * beat * rng.integers(0, 3, size=2) + start
    bars[1] += rng.uniform(0, wrong) * beat
    stems = {t: drawn(t, lane((at, 32))) for t, at in zip(("drums", "keys"), bars, strict=True)}
    made.append(SongFeatures(str(number), tempo if bpm else None, stems))
  return made


def test_changes_are_entries_and_exits_and_neither_phrases_nor_the_ends_of_the_crop():
  stem = drawn("keys", lane((0.2, 4), (5, 8), (14, 31.8)))
  np.testing.assert_allclose(changes(stem), [8, 14], atol=0.05)
  assert changes(drawn("keys", lane((0, 32)))) is None
  assert changes(drawn("keys", lane((33, 34)))) is None


def test_stems_that_enter_by_common_phrases_have_form_and_others_do_not():
  assert form(songs(wrong=0)).value > 0.95
  assert form(songs(wrong=16)).value == pytest.approx(0.5, abs=0.13)


def test_without_a_tempo_there_is_nothing_to_count_bars_by():
  assert form(songs(wrong=0, bpm=False)).n == 0

import numpy as np

from stemphonic_jax.evaluation.measures.synchrony import synchrony
from tests.evaluation.songs_by_hand import SECONDS, clicks, song


def played(rng, bpm, start, density):
  """Some of the eighths of a bar, again and again, from `start` in the bar on."""
  eighth = 30.0 / bpm
  bar = np.flatnonzero(rng.random(8) < density)
  times = (bar[None] + 8 * np.arange(-1, 8)[:, None]).ravel() * eighth + start
  return clicks(times[(times > 0) & (times < SECONDS - 0.1)], seed=int(rng.integers(1000)))


def songs(together, count=32):
  rng = np.random.default_rng(0)
  made = []
  for number in range(count):
    bpm = rng.uniform(80, 160)
    starts = rng.uniform(0, 240 / bpm, 2)
    bass = played(rng, bpm, starts[0 if together else 1], 0.5)
    made.append(song(str(number), bpm, drums=played(rng, bpm, starts[0], 0.7), basses=bass))
  return made


def test_stems_that_start_together_are_in_time_and_a_common_tempo_alone_is_not():
  together, apart = synchrony(songs(together=True)), synchrony(songs(together=False))
  assert together.value > 0.95
  assert 0.4 < apart.value < 0.8  # 0.65 for many songs
  assert apart.low < 0.6


def test_stems_that_never_sound_together_are_not_measured():
  early, late = clicks(np.arange(0, 3, 0.25)), clicks(np.arange(5, 7.5, 0.25))
  assert synchrony([song("a", 120, drums=early, basses=late)] * 3).n == 0
  assert synchrony([]).n == 0

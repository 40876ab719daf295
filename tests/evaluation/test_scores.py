import numpy as np
import pytest

from stemphonic_jax.evaluation import scores
from stemphonic_jax.evaluation.scores import bootstrap, mean


def test_the_interval_of_a_mean_is_that_of_the_textbook():
  values = np.random.default_rng(0).normal(3.0, 2.0, 400)
  score = mean([[value] for value in values])
  assert score.value == pytest.approx(values.mean())
  half = 1.96 * values.std() / np.sqrt(400)
  assert score.high - score.value == pytest.approx(half, rel=0.15)
  assert score.value - score.low == pytest.approx(half, rel=0.15)
  assert score.n == 400


def test_what_is_measured_of_one_song_stays_together():
  songs = [[float(number % 2)] * 50 for number in range(20)]
  together, apart = mean(songs), mean([[one] for song in songs for one in song])
  assert together.value == apart.value == 0.5
  assert together.high - together.low > 5 * (apart.high - apart.low)


def test_songs_weigh_as_much_as_was_measured_of_them_and_empty_ones_do_not_count():
  score = mean([[1.0], [], [0.0, 0.0, 0.0]])
  assert (score.value, score.n) == (0.25, 2)
  assert np.isnan([score.low, score.high]).all(), "two songs give no interval"
  assert mean([[], []]).n == 0
  assert np.isnan(mean([]).value)
  assert scores.NOTHING.n == 0


def test_a_statistic_that_resampling_raises_is_centred():
  values = list(np.random.default_rng(0).normal(size=30))
  groups = [(value, number) for number, value in enumerate(values)]

  def doubles(some) -> float:  # none in the groups themselves, a third in each resample
    return 1.0 - len({number for _, number in some}) / len(some)

  plain, centred = bootstrap(doubles, groups), bootstrap(doubles, groups, centred=True)
  assert plain.value == centred.value == 0.0 < plain.low
  assert centred.low < 0.0 < centred.high


def test_the_same_groups_give_the_same_interval():
  groups = list(np.random.default_rng(0).normal(size=30))
  assert bootstrap(np.mean, groups) == bootstrap(np.mean, groups)
  assert bootstrap(np.mean, groups) != bootstrap(np.mean, groups, seed=1)


def test_an_interval_takes_five_songs():
  for count in (1, 4, 5):
    score = mean([[float(value)] for value in range(count)])
    assert score.value == (count - 1) / 2
    assert np.isfinite([score.low, score.high]).all() == (count == 5)

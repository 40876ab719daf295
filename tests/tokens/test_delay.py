"""The delay pattern is the published one, and its inverse gives the codes back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.tokens import delay

S = 99
# Stream k of frame t is 10·(k + 1) + t.
TABLES = {
  delay.MUSICGEN: """
    S 10 11 12 13 14 15 S S S
    S S 20 21 22 23 24 25 S S
    S S S 30 31 32 33 34 35 S
    S S S S 40 41 42 43 44 45""",
  delay.MUSICGEN_STEM: """
    S 10 11 12 13 14 15 S S S
    S 20 21 22 23 24 25 S S S
    S 30 31 32 33 34 35 S S S
    S S 40 41 42 43 44 45 S S
    S S S 50 51 52 53 54 55 S
    S S S S 60 61 62 63 64 65""",
  delay.MUSICGEN_STEM_7: """
    S 10 11 12 13 14 15 S S S
    S S 20 21 22 23 24 25 S S
    S 30 31 32 33 34 35 S S S
    S 40 41 42 43 44 45 S S S
    S S 50 51 52 53 54 55 S S
    S S S 60 61 62 63 64 65 S
    S S S S 70 71 72 73 74 75""",
}


def codes(streams, frames=6):
  return jnp.asarray(np.arange(frames) + 10 * (np.arange(streams)[:, None] + 1))


def table(text):
  rows = [line.split() for line in text.split("\n") if line.strip()]
  return np.array([[S if word == "S" else int(word) for word in row] for row in rows])


@pytest.mark.parametrize("delays", TABLES, ids=str)
def test_columns_are_those_of_the_published_pattern(delays):
  expected = table(TABLES[delays])
  found = delay.delay(codes(len(delays)), delays, S)
  np.testing.assert_array_equal(found, expected)
  np.testing.assert_array_equal(delay.is_code(6, delays), expected != S)
  assert expected.shape[1] == delay.columns(6, delays) == 10


@pytest.mark.parametrize("delays", [delay.MUSICGEN_STEM, (3, 0, 5)], ids=str)
@pytest.mark.parametrize("frames", [1, 7])
def test_the_inverse_gives_the_codes_back(delays, frames):
  given = np.random.default_rng(0).integers(0, 50, (2, len(delays), frames))
  there = delay.delay(jnp.asarray(given), delays, S)
  np.testing.assert_array_equal(delay.undelay(there, delays), given)
  assert (np.asarray(there) == S).sum() == 2 * np.sum(~delay.is_code(frames, delays))


def test_every_code_that_counts_is_predicted_from_the_column_before():
  given = codes(6)[None]
  read, predicted, counts = delay.training_pair(given, delay.MUSICGEN_STEM, S)
  whole = table(TABLES[delay.MUSICGEN_STEM])
  read, predicted, counts = np.asarray(read)[0], np.asarray(predicted)[0], np.asarray(counts)
  np.testing.assert_array_equal(read, whole[:, :6])
  np.testing.assert_array_equal(predicted, whole[:, 1:7])
  np.testing.assert_array_equal(counts, predicted != S)
  np.testing.assert_array_equal(counts.sum(1), [6, 6, 6, 5, 4, 3])


def test_only_frames_that_are_scored_count():
  pair = jax.jit(functools.partial(delay.training_pair, delays=delay.MUSICGEN, special=S))
  _, predicted, counts = map(np.asarray, pair(codes(4)[None], scored=np.arange(6) >= 4))
  assert predicted[0][counts].tolist() == [14, 15, 24]


def test_a_number_of_delays_that_is_not_that_of_the_streams_is_refused():
  for delays in ((0, 1), (0, 1, -1)):
    with pytest.raises(ValueError, match="for 3 streams"):
      delay.delay(codes(3), delays, S)

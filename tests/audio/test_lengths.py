"""Lengths: a rounding error decides nothing, and a limit that is named is taken."""

import math

import pytest

from stemphonic_jax.audio.lengths import at_least, at_most, cut_to, frames_of, whole_times, within

RATE = 44_100
ODD = 8192 / RATE  # 0.18575963718820862


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_a_length_fits_as_often_as_its_samples_do(rate):
  for samples in (8192, 8193, 1_411_200, 1_764_001):
    for times in (1, 3, 7, 99):
      part = samples / rate
      assert whole_times(times * samples / rate, part, rate) == times
      assert whole_times((times * samples - 1) / rate, part, rate) == times - 1


def test_a_limit_is_compared_in_samples():
  assert within(0.18576, 0.1, ODD, RATE)
  assert not within(0.1858, 0.1, ODD, RATE)
  assert within(0.09999, 0.1, ODD, RATE)
  assert not any(within(s, 0.1, ODD, RATE) for s in (math.nan, math.inf, -math.inf, 0.0999))


def test_less_than_a_frame_is_cut():
  assert cut_to(0.1858, ODD, RATE, 2048) == ODD
  assert cut_to(0.18, ODD, RATE, 2048) == 0.18
  assert cut_to((8192 + 2047) / RATE, ODD, RATE, 2048) == ODD
  assert cut_to((8192 + 2048) / RATE, ODD, RATE, 2048) > ODD
  assert cut_to(math.inf, ODD, RATE, 2048) == math.inf


def test_limits_are_rounded_to_the_side_where_they_hold():
  assert (at_most(ODD), at_most(2.0), at_most(0.29, 2)) == ("0.1857", "2", "0.29")
  assert (at_least(2.0), at_least(2.0 + 1 / RATE), at_least(0.29)) == ("2.00", "2.01", "0.29")
  assert at_most(1234.56789) == "1234.5678"


def test_the_paper_has_394_frames_in_32_seconds():
  assert frames_of(32.0, 44_100, 3584) == 394
  assert frames_of(3584 / 44_100, 44_100, 3584) == 1
  assert frames_of(3585 / 44_100, 44_100, 3584) == 2

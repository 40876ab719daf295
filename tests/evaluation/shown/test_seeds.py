"""Several trainings: intervals that hold what they promise, also with three of them."""

import dataclasses
import math

import numpy as np
import pytest

from stemphonic_jax.evaluation.scores import NOTHING, Score
from stemphonic_jax.evaluation.shown.seeds import difference, pooled


def test_one_seed_is_its_own_score():
  score = Score(0.9, 0.8, 0.95, 60)
  assert pooled([score]) is score
  assert pooled([NOTHING, score]) is score
  assert pooled([NOTHING]).n == pooled([]).n == 0


def test_halves_over_seeds_and_songs_add_in_quadrature():
  same = pooled([Score(0.8, 0.75, 0.82, 60)] * 3)
  assert (same.value, same.low, same.high) == pytest.approx((0.8, 0.75, 0.82))  # no more songs
  sure = pooled([Score(value, value, value, 60) for value in (0.7, 0.8, 0.9)])
  half = 4.3027 * 0.1 / math.sqrt(3)  # Student's t of two degrees of freedom
  assert (sure.low, sure.high) == pytest.approx((0.8 - half, 0.8 + half), abs=1e-4)
  both = pooled([Score(value, value - 0.2, value + 0.1, 60) for value in (0.7, 0.8, 0.9)])
  assert both.low == pytest.approx(0.8 - math.hypot(half, 0.2), abs=1e-4)
  assert both.high == pytest.approx(0.8 + math.hypot(half, 0.1), abs=1e-4)


def test_seeds_of_too_few_songs_have_no_interval():
  few = pooled([Score(value, math.nan, math.nan, 4) for value in (0.5, 0.7)], (0.0, 1.0))
  assert few.value == pytest.approx(0.6)
  assert math.isnan(few.low)
  assert math.isnan(few.high)


def test_an_interval_of_shares_stays_between_none_and_all():
  apart = [Score(value, value, value, 60) for value in (0.5, 0.9, 1.0)]
  cut, whole = pooled(apart, (0.0, 1.0)), pooled(apart)
  assert (cut.value, cut.low, cut.high) == (whole.value, whole.low, 1.0)
  assert whole.high > 1


def test_three_seeds_of_sixty_songs_are_sixty_songs():
  assert pooled([Score(0.8, 0.7, 0.9, n) for n in (60, 58, 60)]).n == 60


@pytest.mark.parametrize("count", [2, 3, 5])
def test_intervals_cover_the_truth_nineteen_times_in_twenty(count):
  rng = np.random.default_rng(0)
  trials = rng.standard_normal((2000, count))
  intervals = [pooled([Score(v, v, v, 9) for v in trial]) for trial in trials]
  covered = np.mean([score.low <= 0 <= score.high for score in intervals])
  assert covered == pytest.approx(0.95, abs=0.015)


def test_differences_are_paired_by_seed():
  songs = {"low": -1.0, "high": 2.0, "n": 60}  # which do not count: they are the same for both
  first = {str(seed): Score(value, **songs) for seed, value in enumerate((0.4, 0.6, 0.8, 0.9))}
  second = {str(seed): Score(value, **songs) for seed, value in enumerate((0.3, 0.5, 0.7))}
  apart = difference(first, second)
  assert (apart.value, apart.low, apart.high) == pytest.approx((0.1, 0.1, 0.1))
  assert apart.n == 60
  turned = difference(first, dict(zip("012", reversed(second.values()), strict=True)))
  assert turned.low < 0 < turned.high
  few = [{seed: dataclasses.replace(s, n=4) for seed, s in of.items()} for of in (first, second)]
  assert difference(*few).value == pytest.approx(0.1)
  assert math.isnan(difference(*few).low), "four songs give no interval"
  assert difference(first, dict(list(second.items())[:1])).n == 0
  assert difference(first, {"0": NOTHING, "1": NOTHING}).n == 0

"""Fréchet and kernel distances: numbers of other tools, to their printed digits."""

import numpy as np
import pytest

from stemphonic_jax.evaluation.distances import frechet, kernel, populations
from stemphonic_jax.evaluation.distances.populations import Views


def two_sets(size, first, second):
  rng = np.random.default_rng(0)
  a = rng.standard_normal((first, size))
  return a, 0.5 + 1.5 * rng.standard_normal((second, size))


@pytest.mark.parametrize(
  ("sizes", "mode", "value", "digits"),
  [
    ((2, 50, 60), "default", 0.8670705800373595, 1e-13),
    ((2, 50, 60), "gudgud96", 0.867070580037363, 1e-13),
    ((2, 50, 60), "fadtk", 0.867070580037360, 1e-13),
    ((128, 1000, 700), "default", 79.62600799407, 5e-12),
    ((128, 330, 330), "default", 101.25654753703, 5e-12),
    ((128, 330, 330), "fadtk", 101.25654753702952, 1e-11),
    # Of fewer windows than dimensions, where the product has no root but what rounding gives it.
    ((128, 100, 90), "default", 196.178008, 2e-6),
    ((128, 100, 90), "gudgud96", 196.1780066, 2e-6),
    ((128, 100, 90), "fadtk", 196.1780068, 2e-6),
    ((128, 100, 90), "google", 196.1780068, 2e-6),
  ],
)
def test_distances_are_those_of_other_tools(sizes, mode, value, digits):
  assert frechet.distance(*two_sets(*sizes), mode) == pytest.approx(value, rel=0, abs=digits)


def test_distances_with_a_closed_form():
  four, zeros = np.eye(4), np.zeros(4)
  moved = frechet.frechet(zeros, four, np.arange(4.0), np.diag([1.0, 2.0, 3.0, 4.0]))
  assert moved == pytest.approx(15.707471260116, abs=1e-12)
  assert frechet.distance_to(np.arange(4.0), np.diag([1.0, 2.0, 3.0, 4.0]))(zeros, four) == moved
  two = np.array([[2.0, 1.0], [1.0, 2.0]])
  for root in frechet.ROOTS.values():
    found = frechet.frechet(np.zeros(2), two, np.zeros(2), np.diag([1.0, 4.0]), root)
    assert found == pytest.approx(0.7712204476543, abs=1e-12)


def test_moments_of_sets_add_up():
  a, b = two_sets(3, 40, 50)
  mean, covariance = frechet.gaussian(frechet.moments(a) + frechet.moments(b))
  whole = np.concatenate([a, b])
  np.testing.assert_allclose(mean, whole.mean(axis=0))
  np.testing.assert_allclose(covariance, np.cov(whole, rowvar=False))


def test_the_kernel_distance_is_that_of_kadtk_however_it_is_cut(monkeypatch):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((200, 16))
  y = 0.2 + 1.1 * rng.standard_normal((180, 16))
  assert kernel.bandwidth(y) == pytest.approx(6.045718, abs=5e-7)
  assert kernel.distance(x, y) == pytest.approx(1.838936, abs=5e-7)
  monkeypatch.setattr(kernel, "BLOCK", 37)
  assert kernel.distance(x, y) == pytest.approx(1.838936, abs=5e-7)


def songs(count, seed, windows=20, size=4, moved=0.0):
  """Songs whose windows are alike: half of the variance is between songs."""
  rng = np.random.default_rng(seed)
  middles = rng.standard_normal((count, 1, size)) * np.sqrt(0.5) + moved
  return list(middles + rng.standard_normal((count, windows, size)) * np.sqrt(0.5))


def of(made, real, mode="default"):
  return populations.distances(Views({"drums": made}, {"drums": real}), mode)[0]


def test_a_set_is_at_no_distance_from_itself_nor_for_sure_from_half_of_itself():
  whole = songs(60, 0)
  itself = of(whole, whole)
  assert itself["fad"].value == pytest.approx(0.0, abs=1e-9)
  order = np.random.default_rng(1).permutation(60)
  half, other = ([whole[i] for i in part] for part in (order[:30], order[30:]))
  apart, far = of(half, other), of(songs(30, 3, moved=1.0), other)
  for name in ("fad", "kad"):
    assert far[name].low > apart[name].high
    assert apart[name].n == 30
  assert apart["kad"].low < 0 < apart["kad"].high
  # Few songs are at a distance from each other, which is gone for infinitely many.
  assert abs(apart["fad_inf"].value) < apart["fad"].value / 2
  assert np.isnan(apart["fad_inf"].low)


def test_pairs_within_a_song_count_only_where_other_tools_are_copied():
  half, other = songs(30, 0), songs(30, 1)
  ours, theirs = of(half, other)["kad"].value, of(half, other, "fadtk")["kad"].value
  assert theirs > ours + 0.5
  alone = [np.concatenate(part)[:, None] for part in (half, other)]
  assert theirs == pytest.approx(of(list(alone[0]), list(alone[1]))["kad"].value)


def test_of_very_many_windows_some_are_compared_by_the_kernel(monkeypatch):
  whole, other = songs(40, 0), songs(40, 1, moved=0.5)
  every = of(whole, other)["kad"]
  monkeypatch.setattr(populations, "MOST", 400)
  half = of(whole, other)["kad"]
  assert half.value != every.value
  assert half.value == pytest.approx(every.value, rel=0.1)


def test_views_of_too_few_windows_are_left_out_and_named(warned):
  views = Views(
    {"drums": songs(9, 0), "keys": [np.zeros((4, 4)), np.zeros((0, 4))]},
    {"drums": songs(9, 1), "keys": songs(9, 2)},
  )
  assert list(views.enough("FAD").made) == ["drums"]
  assert "FAD is of drums; left out, for there are too few windows: keys" in warned[0]
  found, detail = populations.distances(Views({}, {}))
  assert (found["fad"].n, detail) == (0, {})

import numpy as np
import pytest
import scipy.linalg

from stemphonic_jax.evaluation.distances.cepstra import embed, mix_distance, stem_distance
from stemphonic_jax.evaluation.distances.frechet import frechet
from stemphonic_jax.evaluation.features import BANDS, SongFeatures, StemFeatures


def gaussians(size=5):
  rng = np.random.default_rng(0)
  a, b = (np.cov(rng.standard_normal((size, 40))) for _ in range(2))
  return rng.standard_normal(size), a, rng.standard_normal(size), b


def songs(count, seed, tilt=0.0, level=0.0):
  """Stems of noisy bands; `tilt` is in dB from the lowest to the highest."""
  rng = np.random.default_rng(seed)

  def stem(kind):
    bands = rng.normal(-30, 6, (86 * 16, BANDS)) + np.linspace(0, tilt, BANDS) + level
    return StemFeatures(kind, bands.astype(np.float16), np.ones((173, 12)), np.ones(9, np.int8))

  return [SongFeatures(str(n), None, {k: stem(k) for k in ("drums", "keys")}) for n in range(count)]


def test_frechet_is_the_formula_with_a_matrix_root():
  mean, a, other, b = gaussians()
  root = np.real(scipy.linalg.sqrtm(a @ b))
  expected = ((mean - other) ** 2).sum() + np.trace(a + b - 2 * root)
  assert frechet(mean, a, other, b) == pytest.approx(expected)


def test_frechet_by_hand():
  one, zero = np.eye(2), np.zeros(2)
  assert frechet(zero, one, zero, one) == pytest.approx(0.0)
  assert frechet(np.array([3.0, 4.0]), one, zero, one) == pytest.approx(25.0)
  assert frechet(zero, 4 * one, zero, one) == pytest.approx(2 * (2 - 1) ** 2)
  assert frechet(zero, np.diag([4.0, 0.0]), zero, np.diag([1.0, 0.0])) == pytest.approx(1.0)


def test_alike_is_near_and_what_differs_is_far_whatever_its_level():
  reference = songs(12, 0)
  for distance in (stem_distance, mix_distance):
    same, quiet = distance(songs(12, 1), reference), distance(songs(12, 1, level=-20), reference)
    assert quiet.value == pytest.approx(same.value, rel=0.1)
    assert distance(songs(12, 1, tilt=20.0), reference).value > 5 * same.value
    assert distance(reference, reference).value == pytest.approx(0.0, abs=1e-6)
    assert same.low < same.value < same.high
    assert same.n == 12


def test_silence_embeds_to_nothing_and_too_little_is_not_measured():
  assert len(embed(np.full((860, BANDS), -90.0))) == 10  # of a sound that is all the same
  assert (
    len(embed(np.concatenate([np.full((430, BANDS), -20.0), np.full((430, BANDS), -80.0)]))) == 5
  )
  assert stem_distance(songs(2, 1), songs(12, 0)).n == 0
  assert stem_distance(songs(12, 1), []).n == 0

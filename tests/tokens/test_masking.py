"""What StemGen is trained on: exact counts of one level, and every finer level hidden."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.tokens import masking
from stemphonic_jax.tokens.loss import cross_entropy

KEY, K, T, MASK = jax.random.key(4), 4, 40, 99
ROWS = np.arange(600, dtype=np.int32)
DRAW = jax.jit(functools.partial(masking.draw_masks, levels=K, frames=T))
LEVEL, HIDDEN = map(np.asarray, DRAW(KEY, ROWS))


def test_levels_are_as_likely_and_shares_are_those_of_the_cosine():
  counts = np.bincount(LEVEL, minlength=K)
  assert (np.abs(counts / len(ROWS) - 1 / K) < 0.05).all()
  number = np.asarray(HIDDEN.sum(1))
  assert number.min() >= 1
  # Stratified: the mean of cos(π/2·u) is 2/π, floored to whole frames.
  assert abs(number.mean() / T - (2 / np.pi - 0.5 / T)) < 0.005
  u = np.sort(np.arccos(np.clip((number + 0.5) / T, 0, 1)) * 2 / np.pi)
  assert np.abs(u - np.linspace(0, 1, len(u))).max() < 0.12
  assert (np.abs(np.asarray(HIDDEN).mean(0) - number.mean() / T) < 0.1).all(), "anywhere"
  np.testing.assert_allclose(masking.share(jnp.array([0.0, 2 / 3, 1.0])), [1, 0.5, 0], atol=1e-6)


def test_a_row_s_masks_follow_from_its_id():
  some = np.array([17, 3], np.int32)
  level, hidden = DRAW(KEY, some)
  np.testing.assert_array_equal(level, LEVEL[some])
  np.testing.assert_array_equal(hidden, HIDDEN[some])
  late = np.asarray(DRAW(KEY, ROWS + 2**30)[1]).sum(1)
  assert len(np.unique(late)) > 0.9 * T, "ids of a long training are spread as well"


def test_masks_hide_every_finer_level_and_no_coarser_one():
  codes = np.zeros((len(ROWS), K, T), np.int32)
  hidden = np.asarray(jax.jit(masking.masked, static_argnums=3)(codes, LEVEL, HIDDEN, MASK)) == MASK
  for level, row, of_level in zip(LEVEL.tolist(), hidden, np.asarray(HIDDEN), strict=True):
    assert not row[:level].any()
    np.testing.assert_array_equal(row[level], of_level)
    assert row[level + 1 :].all()


def test_conditions_are_left_out_independently_and_both_now_and_then():
  hears, told = map(np.asarray, jax.jit(masking.draw_conditions)(KEY, np.arange(6000)))
  assert abs(hears.mean() - 0.72) < 0.02
  assert abs(told.mean() - 0.72) < 0.02
  assert abs(np.mean(~hears & ~told) - (0.1 + 0.9 * 0.04)) < 0.01


def test_the_loss_is_that_of_what_counts():
  logits = np.log([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.4, 0.4]]], dtype=np.float32)
  codes, counts = np.array([[0, MASK, 1]]), np.array([[True, False, True]])
  loss = jax.jit(cross_entropy, static_argnums=3)
  expected = -np.mean(np.log([0.5, 0.4]))
  np.testing.assert_allclose(loss(logits, codes, counts, 0.0), [expected], rtol=1e-6)
  spread = -np.mean([np.log([0.5, 0.25, 0.25]).mean(), np.log([0.2, 0.4, 0.4]).mean()])
  smooth = loss(logits, codes, counts, 0.1)
  np.testing.assert_allclose(smooth, [0.9 * expected + 0.1 * spread], rtol=1e-6)
  assert loss(logits, codes, counts & False, 0.0).tolist() == [0]

"""Conditions and their nulls: dropping is replacing by the null, whatever the value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.conditioning import (
  CONDITIONS,
  NOT_GIVEN,
  Conditions,
  NumberEmbedding,
  TextEncoder,
  drop_conditions,
  mask_conditions,
  null_conditions,
  sum_of_words,
)
from tests import tiny

KEY = jax.random.key(1)
B, T, C, S = 6, 5, 4, 7


def conditions(rows: int = B) -> Conditions:
  return Conditions(
    text=jnp.arange(rows * S).reshape(rows, S) % 11,
    text_mask=jnp.ones((rows, S), bool),
    bpm=jnp.linspace(60.0, 180.0, rows),
    context=1 + jax.random.uniform(KEY, (rows, T, C)),
    activity=jnp.ones((rows, T), jnp.int8),
  )


def dropped_rows(c: Conditions) -> np.ndarray:
  """Which conditions of which row are null, [rows, conditions]."""
  return np.stack(
    [
      ~np.asarray(c.text_mask).any(1),
      np.isnan(c.bpm),
      (np.asarray(c.context) == 0).all((1, 2)),
      (np.asarray(c.activity) == NOT_GIVEN).all(1),
    ],
    axis=1,
  )


def test_each_condition_is_dropped_a_third_of_the_time_and_independently():
  n = 20_000
  wide = conditions(n)
  rates = dict.fromkeys(CONDITIONS, 1 / 3)
  dropped = dropped_rows(drop_conditions(KEY, jnp.arange(n), wide, rates))
  spread = 5 * np.sqrt(2 / 9 / n)
  np.testing.assert_allclose(dropped.mean(0), 1 / 3, atol=spread)
  patterns = dropped @ (1 << np.arange(4))
  ones = dropped.sum(1)
  for pattern in range(16):
    k = pattern.bit_count()
    expected = (1 / 3) ** k * (2 / 3) ** (4 - k)
    assert abs((patterns == pattern).mean() - expected) < 5 * np.sqrt(expected / n)
  assert set(ones) == {0, 1, 2, 3, 4}


def test_a_row_is_dropped_by_its_id_not_its_place():
  rates = dict.fromkeys(CONDITIONS, 0.5)
  row = jnp.arange(B)
  whole = dropped_rows(drop_conditions(KEY, row, conditions(), rates))
  reverse = jax.tree.map(lambda x: x[::-1], conditions())
  np.testing.assert_array_equal(
    dropped_rows(drop_conditions(KEY, row[::-1], reverse, rates)), whole[::-1]
  )


def test_rates_0_and_1_are_never_and_always():
  rates = {"text": 0.0, "bpm": 1.0, "context": 0.0, "activity": 1.0}
  dropped = dropped_rows(drop_conditions(KEY, jnp.arange(B), conditions(), rates))
  np.testing.assert_array_equal(dropped, np.tile([False, True, False, True], (B, 1)))


@pytest.mark.parametrize("name", CONDITIONS)
def test_one_condition_can_be_masked_by_itself(name):
  everywhere = jnp.ones(B, bool)
  masks = {other: everywhere & (other == name) for other in CONDITIONS}
  expected = np.tile([other == name for other in CONDITIONS], (B, 1))
  np.testing.assert_array_equal(dropped_rows(mask_conditions(conditions(), masks)), expected)


def test_null_of_all_is_the_same_whatever_was_given():
  other = conditions().replace(bpm=jnp.full(B, 90.0), context=jnp.ones((B, T, C)))
  a, b = null_conditions(conditions()), null_conditions(other)
  assert dropped_rows(a).all()
  for field in ("text_mask", "bpm", "context", "activity"):
    np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


def test_number_embedding_clamps_and_is_zero_where_unknown():
  embed = NumberEmbedding(16, 20.0, 400.0)
  number = jnp.array([5.0, 20.0, 120.0, 400.0, 900.0, jnp.nan])
  params = jax.jit(embed.init)(KEY, number)
  out = np.asarray(jax.jit(embed.apply)(params, number))
  np.testing.assert_array_equal(out[0], out[1])
  np.testing.assert_array_equal(out[3], out[4])
  assert not np.allclose(out[1], out[2])
  assert (out[5] == 0).all()
  gradient = jax.jit(jax.grad(lambda p: jnp.sum(embed.apply(p, number) ** 2)))(params)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_word_counts_once_and_all_together_no_more_than_the_bound():
  """Of the longest vector; what is below it is the plain sum, and where all are zero they learn."""
  table = jnp.array([[3.0, 4.0], [-1.0, 0.0], [0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
  said = jnp.array([[0, 2, 2], [0, 1, 4], [0, 0, 0], [0, 3, 4], [2, 2, 2], [0, 1, 3]])
  given = jnp.ones_like(said, bool).at[5, 1:].set(False)
  plain = [[3, 4], [2, 6], [3, 4], [6, 10], [0, 0], [3, 4]]
  np.testing.assert_array_equal(sum_of_words(said, given, table), plain)
  bounded = sum_of_words(said, given, table, 1.5)
  over = 7.5 / np.hypot(6, 10) * np.array([6, 10])
  np.testing.assert_allclose(bounded, [*plain[:3], over, *plain[4:]], rtol=1e-6)
  slope = jax.grad(lambda table: sum_of_words(said, given, table, 1.5).sum())(0 * table)
  np.testing.assert_array_equal(slope[:, 0], [5, 1, 2, 1, 2])


def text_encoder():
  encoder = TextEncoder(vocabulary=11, features=16, depth=2, heads=2)
  c = conditions()
  shapes = jax.eval_shape(encoder.init, KEY, c.text, c.text_mask)
  # Residual branches would start at zero; here attention takes part.
  return jax.jit(encoder.apply), jax.tree.map(jnp.asarray, tiny.random_params(shapes))


def test_text_encoder_is_zero_where_padded_and_blind_to_what_stands_there():
  encode, params = text_encoder()
  tokens = conditions().text
  mask = jnp.arange(S) < jnp.array([7, 5, 3, 1, 2, 0])[:, None]
  out = np.asarray(encode(params, tokens, mask))
  assert (out[~np.asarray(mask)] == 0).all()
  assert np.isfinite(out).all()
  other = jnp.where(mask, tokens, (tokens + 3) % 11)
  np.testing.assert_array_equal(encode(params, other, mask), out)
  changed = encode(params, tokens.at[0, 2].add(1), mask)
  assert not np.allclose(changed[0, 0], out[0, 0])

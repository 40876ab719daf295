"""What the transformers are made of: products, rotary positions, attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.layers import CYCLES, attend, product, rotary_table, rotate

KEY = jax.random.key(2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_product_and_its_gradients_are_those_of_matmul(dtype, tolerance):
  x = jax.random.normal(KEY, (3, 4, 16))
  kernel = jax.random.normal(jax.random.fold_in(KEY, 1), (16, 8))

  def run(f):
    value, pull = jax.vjp(f, x, kernel)
    return value, *pull(jnp.cos(value))

  for got, expected in zip(run(lambda a, b: product(a, b, dtype)), run(jnp.matmul), strict=True):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got / scale, expected / scale, atol=tolerance)


def test_rotation_keeps_lengths_and_sees_relative_positions_only():
  table = rotary_table(9, 64)
  assert table[0].shape == (9, 16), "32 of 64 dimensions are turned"
  q, k = (jax.random.normal(jax.random.fold_in(KEY, i), (1, 1, 1, 64)) for i in (1, 2))
  turned_q, turned_k = (rotate(jnp.tile(a, (1, 9, 1, 1)), table)[0, :, 0] for a in (q, k))
  norm = jnp.linalg.norm(q)
  np.testing.assert_allclose(jnp.linalg.norm(turned_q, axis=-1), jnp.full(9, norm), rtol=1e-5)
  dots = np.asarray(turned_q @ turned_k.T)
  for offset in range(-3, 4):
    diagonal = np.diagonal(dots, offset)
    np.testing.assert_allclose(diagonal, diagonal[0], rtol=2e-4, atol=1e-4)
  np.testing.assert_array_equal(turned_q[:, 32:], jnp.tile(q[0, 0, :, 32:], (9, 1)))


def test_with_beats_frames_at_one_place_of_the_bar_are_turned_alike():
  """At 2, 4 and no beats in 8 frames; none, where the tempo is not known, turns nothing."""
  cos, sin = rotary_table(33, 64, jnp.array([1 / 4, 1 / 2, 0]))
  assert cos.shape == sin.shape == (3, 33, 16 + len(CYCLES))
  for part, plain in zip((cos, sin), rotary_table(33, 64), strict=True):
    np.testing.assert_array_equal(part[..., :16], jnp.tile(plain, (3, 1, 1)))
  angle = np.arctan2(sin, cos)[..., 16:]
  np.testing.assert_array_equal(angle[2], 0)
  for row, beat in ((0, 4), (1, 2)):
    for of_the_bar, frames in ((4, beat), (1, 4 * beat)):  # a beat later, and a bar
      returned = np.abs(np.exp(1j * angle[row, frames]) - 1) < 1e-4
      np.testing.assert_array_equal(returned, np.array(CYCLES) >= of_the_bar / 4)


def test_rows_turn_by_their_own_beats():
  q = jax.random.normal(KEY, (2, 9, 3, 64))
  beats = jnp.array([0.2, 0.7])
  turned = rotate(q, rotary_table(9, 64, beats))
  for row in range(2):
    alone = rotate(q[row : row + 1], rotary_table(9, 64, beats[row : row + 1]))
    np.testing.assert_allclose(turned[row], alone[0], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(*(jnp.linalg.norm(x, axis=-1) for x in (turned, q)), rtol=1e-5)
  assert not np.allclose(turned[0], rotate(q[:1], rotary_table(9, 64, beats[1:]))[0], atol=1e-2)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 3e-2)])
def test_attention_and_its_gradients_are_those_of_jax(dtype, tolerance, masked):
  """Also with fewer heads of keys than of queries."""
  keys = jax.random.split(KEY, 3)
  query = jax.random.normal(keys[0], (3, 7, 4, 8))
  key, value = (jax.random.normal(k, (3, 5, 2, 8)) for k in keys[1:])
  mask = jnp.arange(5) < jnp.array([5, 2, 1])[:, None] if masked else None

  def reference(q, k, v):
    given = None if mask is None else mask[:, None, None, :]
    return jax.nn.dot_product_attention(q, k, v, mask=given).reshape(3, 7, 32)

  def run(f):
    y, pull = jax.vjp(f, query, key, value)
    return y, *pull(jnp.cos(y))

  ours, theirs = run(lambda q, k, v: attend(q, k, v, dtype, mask)), run(reference)
  for got, expected in zip(ours, theirs, strict=True):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(got / scale, expected / scale, atol=tolerance)

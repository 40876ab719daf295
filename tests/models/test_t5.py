"""The T5 encoder: texts never meet, padding changes nothing, distances fall in T5's buckets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.t5 import T5, position_bucket

KEY = jax.random.key(3)
B, S = 3, 10
ENCODER = T5(vocabulary=19, width=16, depth=2, heads=2, head_width=6, hidden=24, gated=True)
TOKENS = jax.random.randint(KEY, (B, S), 1, 19)
LENGTHS = jnp.array([7, 4, 1])
MASK = jnp.arange(S) < LENGTHS[:, None]


@functools.cache
def variables():
  """Gains, which start at one, are moved, so that they count."""
  rng, fresh = np.random.default_rng(3), jax.device_get(jax.jit(ENCODER.init)(KEY, TOKENS, MASK))
  return jax.tree.map(lambda x: jnp.asarray(x + 0.2 * rng.standard_normal(x.shape, "f")), fresh)


_apply = jax.jit(ENCODER.apply)


def embeddings(tokens=TOKENS, mask=MASK):
  return np.asarray(_apply(variables(), tokens, mask))


def test_what_is_masked_comes_out_as_zeros_and_nothing_else_does():
  out = embeddings()
  assert (out.shape, out.dtype) == ((B, S, 16), np.float32)
  np.testing.assert_array_equal((out == 0).all(-1), ~np.asarray(MASK))


def test_a_text_of_padding_alone_is_zeros():
  np.testing.assert_array_equal(embeddings(mask=jnp.zeros_like(MASK)), 0)


def test_padding_changes_nothing():
  other = jnp.where(MASK, TOKENS, (TOKENS + 5) % 19)
  np.testing.assert_array_equal(embeddings(tokens=other), embeddings())
  longer = embeddings(jnp.pad(TOKENS, ((0, 0), (0, 6))), jnp.pad(MASK, ((0, 0), (0, 6))))
  np.testing.assert_allclose(longer[:, :S], embeddings(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("row", range(B))
def test_a_text_does_not_depend_on_the_other_texts(row):
  alone = embeddings(TOKENS[row : row + 1], MASK[row : row + 1])
  np.testing.assert_allclose(alone[0], embeddings()[row], rtol=1e-4, atol=1e-5)


def test_every_token_and_its_place_reach_every_token():
  before = embeddings(mask=jnp.ones_like(MASK))
  for place in (0, 4, 9):
    after = embeddings(TOKENS.at[:, place].add(-1), jnp.ones_like(MASK))
    assert (np.abs(after - before).max(-1) > 1e-5).all()
  turned = embeddings(TOKENS[:, ::-1], jnp.ones_like(MASK))[:, ::-1]
  assert (np.abs(turned - before).max(-1) > 1e-4).all()


def test_only_relative_places_count():
  """The same text with more padding before it gives the same embeddings."""
  moved = embeddings(jnp.roll(TOKENS, 3, 1), jnp.roll(MASK, 3, 1))
  np.testing.assert_allclose(moved, np.roll(embeddings(), 3, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ("offset", "bucket"),
  [
    # To the left one bucket per token up to 7, and 8 + ⌊8·log(d/8)/log(128/8)⌋ from there to 15.
    (0, 0), (-1, 1), (-7, 7), (-8, 8), (-11, 8), (-12, 9), (-15, 9), (-16, 10), (-22, 10),
    (-23, 11), (-31, 11), (-32, 12), (-63, 13), (-64, 14), (-90, 14), (-91, 15), (-128, 15),
    (-999, 15),
    # To the right the same, 16 buckets on.
    (1, 17), (7, 23), (8, 24), (16, 26), (91, 31), (999, 31),
  ],
)  # fmt: skip
def test_distances_fall_in_the_buckets_of_t5(offset, bucket):
  assert position_bucket(np.array([offset]), 32, 128).tolist() == [bucket]


def test_the_bias_is_learned_once_for_all_blocks():
  params = variables()["params"]
  assert set(params) == {"tokens", "position_bias", "block_0", "block_1", "norm"}
  assert params["position_bias"].shape == (32, 2)
  assert jax.tree.structure(params["block_0"]) == jax.tree.structure(params["block_1"])


def test_parameters_in_bfloat16_and_products_in_either_stay_close():
  rounded = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables())
  kept = ENCODER.clone(param_dtype=jnp.bfloat16)
  shapes = jax.eval_shape(kept.init, KEY, TOKENS, MASK)
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.bfloat16)}
  exact = embeddings()
  for dtype in (jnp.float32, jnp.bfloat16):
    out = kept.clone(dtype=dtype).apply(rounded, TOKENS, MASK)
    assert out.dtype == jnp.float32
    error = np.linalg.norm(out - exact) / np.linalg.norm(exact)
    assert 0 < error < 3e-2


def test_the_published_sizes_have_their_number_of_parameters():
  base = T5(
    vocabulary=32128, width=768, depth=12, heads=12, head_width=64, hidden=3072, gated=False
  )
  xxl = T5(
    vocabulary=32128, width=4096, depth=24, heads=64, head_width=64, hidden=10240, gated=True
  )
  for model, count in ((base, 109_628_544), (xxl, 4_762_310_656)):
    shapes = jax.eval_shape(model.init, KEY, TOKENS[:1], MASK[:1])
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count

"""Stems that hear each other: who hears whom, in what order, and how it begins."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from stemphonic_jax.models.conditioning import NOT_GIVEN, Conditions
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.models.stems import attend_to_group
from stemphonic_jax.weights.architecture import dit_shapes, grow
from tests.tiny import random_params

T, C, KEY = 6, 4, jax.random.key(3)
GROUP = jnp.array([0, 0, 0, 1, 1, 2, 3, 3])
B = len(GROUP)
X = jax.random.normal(KEY, (B, T, C))
ALONE = DiT(C, 32, 2, 2, text_width=8, modulation=True)
TOGETHER = ALONE.clone(ensemble=True)


@functools.cache
def params(dit):
  return random_params(dit_shapes(dit))


def conditions(**changes):
  given = dict(
    text=jax.random.normal(jax.random.fold_in(KEY, 1), (B, 3, 8)),
    text_mask=jnp.ones((B, 3), bool),
    bpm=jnp.linspace(80.0, 120.0, B),
    context=jnp.zeros((B, T, C)),
    activity=jnp.full((B, T), NOT_GIVEN, jnp.int8),
    group=GROUP,
  )
  return Conditions(**given | changes)


@functools.partial(jax.jit, static_argnums=0)
def apply(dit, params, x, conditions):
  return dit.apply({"params": params}, x, jnp.full(B, 0.5), conditions)


def velocity(x=X, dit=TOGETHER, **changes):
  return apply(dit, params(dit), x, conditions(**changes))


def test_attention_is_the_definition():
  q, k, v = (jax.random.normal(jax.random.fold_in(KEY, i), (B, T, 2, 5)) for i in range(3))
  found, (q, k, v) = attend_to_group(q, k, v, GROUP), (np.asarray(x) for x in (q, k, v))
  for i in range(B):
    mates = np.flatnonzero(GROUP[i] == GROUP)
    for t, h in np.ndindex(T, 2):
      weights = np.exp(k[mates, t, h] @ q[i, t, h] / 5**0.5)
      expected = weights @ v[mates, t, h] / weights.sum()
      np.testing.assert_allclose(found[i, t, h], expected, atol=1e-5)


def test_groups_do_not_hear_each_other_to_the_bit():
  before, after = velocity(), velocity(X.at[3:5].multiply(-2))
  others = np.array([0, 1, 2, 5, 6, 7])
  np.testing.assert_array_equal(after[others], before[others])
  assert jnp.abs(after[3:5] - before[3:5]).min() > 1e-4


def test_all_stems_of_a_group_hear_each_other():
  moved = jnp.abs(velocity(X.at[1].multiply(-2)) - velocity())
  assert moved[jnp.array([0, 2])].min() > 1e-6


def test_the_order_of_stems_changes_nothing():
  order = jnp.array([2, 0, 1, 4, 3, 5, 7, 6])
  rows = jax.tree.map(lambda leaf: leaf[order], conditions())
  turned = apply(TOGETHER, params(TOGETHER), X[order], rows)
  np.testing.assert_allclose(turned, velocity()[order], atol=1e-5)


@pytest.mark.parametrize("group", [None, jnp.arange(B)])
def test_with_groups_of_one_no_row_hears_another(group):
  before = velocity(group=group)
  after = velocity(X.at[1:].multiply(-2), group=group)
  np.testing.assert_array_equal(after[0], before[0])


def test_blocks_change_nothing_where_no_group_crosses_them():
  group = jnp.array([0, 0, 1, 1, 2, 3, 3, 3])
  blocks = apply(TOGETHER.clone(rows=4), params(TOGETHER), X, conditions(group=group))
  np.testing.assert_allclose(blocks, velocity(group=group), atol=1e-5)
  with pytest.raises(ValueError, match="8 rows do not divide into blocks of 3"):
    apply(TOGETHER.clone(rows=3), params(TOGETHER), X, conditions())


def test_without_an_ensemble_there_is_not_a_parameter_more():
  alone, together = (traverse_util.flatten_dict(dit_shapes(d), sep="/") for d in (ALONE, TOGETHER))
  assert together.keys() - alone.keys() == {
    "blocks/stem_norm/gain",
    "blocks/stem_attention/query_key/kernel",
    "blocks/stem_attention/value/kernel",
    "blocks/stem_attention/out/kernel",
  }
  wider = {name for name in alone if alone[name].shape != together[name].shape}
  assert wider == {"in_residual/kernel", "in_projection/kernel"}


def test_a_model_becomes_an_ensemble_that_computes_the_same():
  grown = grow(TOGETHER, KEY, params(ALONE))
  expected = velocity(dit=ALONE)
  np.testing.assert_allclose(apply(TOGETHER, grown, X, conditions()), expected, atol=2e-5)
  known = jnp.zeros((B, T), bool).at[0].set(True)
  given = apply(TOGETHER, grown, X, conditions(known=known, clean=X))
  np.testing.assert_allclose(given, expected, atol=2e-5)
  assert grow(ALONE, KEY, params(ALONE)) is params(ALONE)


def test_what_is_known_is_read_and_what_is_there_instead_is_not():
  known, clean = jnp.zeros((B, T), bool).at[0, 2:].set(True), jnp.ones((B, T, C))
  before = velocity(known=known, clean=clean)
  assert jnp.abs(before - velocity())[1].min() > 1e-6  # by the others of the group, too
  np.testing.assert_array_equal(velocity(X.at[0, 2:].set(7), known=known, clean=clean), before)
  assert jnp.abs(velocity(X.at[0, 1].set(7), known=known, clean=clean) - before)[0].max() > 1e-3
  unread = clean.at[0, :2].set(5).at[1:].set(5)
  np.testing.assert_array_equal(velocity(known=known, clean=unread), before)

"""Guidance by condition: what is looked at, by which factors, on velocities computed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.guidance import NULL, PLAIN, views
from stemphonic_jax.models.conditioning import CONDITIONS, NOT_GIVEN, Conditions
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.sampler import network_rows, one_pass

BPM, CONTEXT, OTHERS, WORDS = ("bpm",), ("context",), ("others",), ("stem_words",)


@pytest.mark.parametrize(
  ("weights", "expected"),
  [
    ({"text": 3}, {(): 3, NULL: -2}),
    ({"text": 3, "bpm": 3, "context": 3, "activity": 3, "others": 1}, {(): 3, NULL: -2}),
    ({"text": 3, "stem_words": 3}, {(): 3, NULL: -2}),
    ({"text": 3, "context": 1.5}, {(): 1.5, NULL: -2, CONTEXT: 1.5}),
    ({"text": 3, "bpm": 1, "context": 1}, {(): 1, NULL: -2, ("bpm", "context"): 2}),
    ({"text": 3, "bpm": 2, "context": 4}, {(): 3, NULL: -2, BPM: 1, CONTEXT: -1}),
    ({"text": 3, "stem_words": 5}, {(): 5, NULL: -2, WORDS: -2}),
    ({"text": 3, "others": 2}, {(): 4, NULL: -2, OTHERS: -1}),
    ({"text": 1, "context": 3}, {(): 3, CONTEXT: -2}),
    ({"text": 1, "bpm": 1, "stem_words": 1}, {(): 1}),
    ({"text": 3, "context": 0}, {NULL: -2, CONTEXT: 3}),
  ],
  ids=str,
)
def test_factors_add_up_to_one_and_what_has_none_is_not_looked_at(weights, expected):
  assert views(weights) == expected
  assert sum(expected.values()) == 1


def test_a_weight_of_its_own_costs_one_network_row_more():
  assert network_rows(32, (3, 28)) == 58
  assert network_rows(32, (3, 28), len(views({"text": 3, "bpm": 3, "context": 1.5}))) == 84


class Additive(DiT):
  """A velocity to which each condition adds a digit of its own, and each stem that is heard."""

  def setup(self):
    """It has no parameters."""

  def prepare(self, conditions):
    return conditions

  def velocity(self, x, t, c):
    words = jnp.where(c.text_mask, c.text, 0).sum(1)
    heard = (c.group[:, None] == c.group).sum(1) if self.ensemble else 0
    given = (c.activity != NOT_GIVEN).any(1)
    v = words + 10 * ~jnp.isnan(c.bpm) + 100 * c.context.max((1, 2)) + 1000 * given + 10_000 * heard
    return jnp.broadcast_to(v[:, None, None], x.shape).astype(jnp.float32)


def velocity_of(weights, in_turn, **changes):
  """The velocity of a step of two stems that are guided by `weights`, from x and noise."""
  dit = Additive(4, 32, 1, 1, 8, ensemble="group" in changes)
  conditions = Conditions(
    text=jnp.array([[1, 2], [1, 2]]),
    text_mask=jnp.ones((2, 2), bool),
    bpm=jnp.array([90.0, 90.0]),
    context=jnp.ones((2, 3, 4)),
    activity=jnp.ones((2, 3), jnp.int8),
  ).replace(**changes)
  found = views(weights)
  plain = tuple(found) == PLAIN and not in_turn
  guidance = jnp.array(weights["text"] if plain else [*found.values()], jnp.float32)
  run = lambda interval: one_pass(  # noqa: E731
    dit, {}, jax.random.key(0), guidance, jnp.zeros(2, jnp.int32), None, conditions,
    steps=1, interval=interval, views=tuple(found), in_turn=in_turn,
  )  # fmt: skip
  conditional = dit.velocity(jnp.zeros((2, 3, 4)), jnp.ones(2), conditions)
  difference = np.asarray(run((1, 1)) - run(None) + conditional)
  return difference[:, 0, 0]


@pytest.mark.parametrize("in_turn", [False, True], ids=["together", "in turn"])
def test_each_condition_counts_by_its_weight(in_turn):
  """As in Eq. 3 of StemGen, which is the same where what conditions add is independent."""
  weights = {"text": 3, "bpm": 2, "context": 1.5, "activity": 0}
  guided = velocity_of(weights, in_turn)
  np.testing.assert_allclose(guided, 3 * 3 + 2 * 10 + 1.5 * 100, atol=0.02)
  guided = velocity_of(dict.fromkeys(CONDITIONS, 2.5), in_turn)  # by its own formula, or factors
  np.testing.assert_allclose(guided, 2.5 * 1113, atol=0.02)


def test_words_for_one_stem_count_by_theirs_within_the_text():
  bare = jnp.array([[1, 0], [1, 0]]), jnp.ones((2, 2), bool)
  weights = dict.fromkeys(CONDITIONS, 3) | {"stem_words": 5}
  guided = velocity_of(weights, False, bare=bare)
  np.testing.assert_allclose(guided, 3 * 1111 + 5 * 2, atol=0.02)


def test_other_stems_count_once_or_by_their_weight():
  """A stem hears itself in either case, and no row of another view."""
  common = dict.fromkeys(CONDITIONS, 2)
  group = jnp.zeros(2, jnp.int32)
  for weights, others in ((common, 1), (common | {"others": 3}, 3)):
    guided = velocity_of(weights, False, group=group)
    np.testing.assert_allclose(guided, 2 * 1113 + 10_000 * (1 + others), rtol=1e-5)


def test_a_negative_prompt_stands_where_the_text_is_left_out():
  negative = jnp.array([[4, 9], [4, 9]]), jnp.array([[True, False]] * 2)
  guided = velocity_of({"text": 3, "bpm": 3, "context": 1.5}, False, negative=negative)
  np.testing.assert_allclose(guided, 3 * 3 - 2 * 4 + 3 * 1010 + 1.5 * 100, atol=0.02)

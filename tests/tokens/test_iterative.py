"""Decoding by unmasking: what is kept stays, the order is that of Eq. 1, guidance is per source."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.stemgen import StemGen
from stemphonic_jax.tokens import iterative
from tests.tiny import random_params

B, K, T, V = 2, 2, 12, 8
MODEL = StemGen(levels=K, vocabulary=V, width=16, depth=1, heads=2, instruments=3)
KEY = jax.random.key(6)
KEYS = jax.random.split(KEY, B)
CONTEXT = np.random.default_rng(6).integers(0, V, (B, K, T), np.int32)
INSTRUMENT, HEARS = np.array([0, 2], np.int32), np.ones(B, bool)
NONE = np.zeros((B, K, T), bool)
STEPS = (5, 3)


@functools.cache
def params():
  args = (CONTEXT, HEARS, CONTEXT, INSTRUMENT, INSTRUMENT % K)
  return random_params(jax.eval_shape(MODEL.init, KEY, *args)["params"])


run = jax.jit(
  functools.partial(iterative.decode, MODEL), static_argnames=("shown", "steps", "top_k")
)


def decode(
  keys=KEYS, context=CONTEXT, hears=HEARS, instrument=INSTRUMENT, is_given=NONE, factors=(3, 3, -5),
):  # fmt: skip
  shown = tuple(iterative.views()) if len(factors) == 3 else (iterative.PLAIN,)
  return np.asarray(run(
    params(), keys, context, hears, instrument, CONTEXT, is_given,
    np.array(factors, np.float32), np.array(iterative.WEIGHTS, np.float32),
    shown=shown, steps=STEPS,
  ))  # fmt: skip


def test_after_the_last_step_nothing_is_masked_and_what_is_given_stays():
  given = NONE.copy()
  given[0, :, 4:9] = given[1, 0] = True
  found = decode(is_given=given)
  assert ((found >= 0) & (found < V)).all()
  np.testing.assert_array_equal(found[given], CONTEXT[given])


def test_a_row_follows_from_its_key_and_what_it_hears():
  found = decode()
  turned = decode(KEYS[::-1], CONTEXT[::-1], HEARS, INSTRUMENT[::-1])
  np.testing.assert_array_equal(found, turned[::-1])
  other = np.stack([(CONTEXT[0] + 1) % V, CONTEXT[1]])
  assert (found[1] == decode(context=other)[1]).all()
  alone, other = (decode(context=c, hears=~HEARS) for c in (CONTEXT, (CONTEXT + 1) % V))
  np.testing.assert_array_equal(alone, other)
  assert (alone != found).any()


still_masked = jax.jit(iterative.still_masked)


@pytest.mark.parametrize(("number", "steps"), [(1000, 128), (1000, 32), (12, 5), (5, 9), (1, 4)])
def test_the_number_that_is_masked_falls_at_every_step(number, steps):
  before = [number]
  for i in range(steps):
    numbers = np.array([number]), np.array([before[-1]])
    before.append(int(still_masked(np.array(i), np.array(steps), *numbers)[0]))
  falls = np.diff(before)
  assert before[-1] == 0
  assert (falls <= 0).all()
  if steps <= number:
    assert (falls < 0).all()
  if number == 1000:
    expected = np.floor(np.cos(np.pi / 2 * np.arange(1, steps) / steps) * 1000)
    assert np.abs(before[1:-1] - expected).max() <= 3


SEEN = []


class Blank(StemGen):
  """Knows nothing, and says what it is shown."""

  def setup(self):
    """Without parameters."""

  def __call__(self, context, hears, target, instrument, level):
    jax.debug.callback(lambda codes: SEEN.append(np.asarray(codes[0])), target, ordered=True)
    return jnp.zeros((len(target), T, V))


@jax.jit
def decode_blank(weights):
  given = np.zeros_like(NONE)
  given[:, 1, 3] = True
  one = (jnp.asarray(x[:1]) for x in (KEYS, CONTEXT, HEARS, INSTRUMENT, CONTEXT, given))
  blank, plain = Blank(K, V, 16, 1, 2, 3), (iterative.PLAIN,)
  return iterative.decode(blank, {}, *one, jnp.ones(1), weights, shown=plain, steps=(6, 2))


def states(weights):
  """What is seen at 6 steps of the first level and 2 of the second, of which a code is given."""
  SEEN.clear()
  decode_blank(np.array(weights, np.float32))
  jax.effects_barrier()
  return list(SEEN)


def test_what_is_kept_stays_and_much_weight_on_the_order_goes_from_left_to_right():
  chance, order = states((0.0, 0.0, 1.0)), states((0.1, 1e6, 1.0))
  for found in (chance, order):
    for before, after in itertools.pairwise(found):
      kept = before != V
      np.testing.assert_array_equal(after[kept], before[kept])
    assert (found[5][1] == V).all(), "a finer level is hidden until the coarser one is done"
    np.testing.assert_array_equal(found[6][1] != V, np.arange(T) == 3)
    assert found[6][1, 3] == CONTEXT[0, 1, 3]
  for codes in order[:6]:
    masked = codes[0] == V
    np.testing.assert_array_equal(masked, np.sort(masked))
  assert any((np.diff((codes[0] == V).astype(int)) < 0).any() for codes in chance[:6])


def test_rho_is_the_sum_of_its_three_parts():
  found = iterative.rank(
    jnp.array([[0.5, 0.2]]), jnp.array([[0.3, 0.9]]), jnp.array([0.1, 0.2, 1.0])
  )
  np.testing.assert_allclose(found, [[0.05 + 0.2 + 0.3, 0.02 + 0.1 + 0.9]], rtol=1e-6)


def test_guidance_looks_at_each_source_by_itself():
  assert iterative.views() == {(True, False): 3, (False, True): 3, (False, False): -5}
  assert iterative.views(1, 0) == {(True, False): 1}
  assert iterative.views(1, 1) == {(True, True): 1}
  untold = np.full(B, MODEL.instruments, np.int32)
  context_alone = decode(factors=(1, 0, 0))
  np.testing.assert_array_equal(context_alone, decode(instrument=untold, factors=(1,)))
  neither = decode(factors=(0, 0, 1))
  unconditional = decode(instrument=untold, hears=~HEARS, factors=(1,))
  np.testing.assert_array_equal(neither, unconditional)
  assert (decode(factors=(1,)) != neither).any()


def test_steps_are_the_paper_s_for_twenty_seconds():
  assert iterative.steps_of(4, 1000) == (128, 64, 32, 32)
  assert iterative.steps_of(4, 400) == (51, 26, 13, 13)
  assert iterative.steps_of(4, 40) == (8, 8, 8, 8)

"""StemGen's network looks both ways, and at what it is told alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.models.stemgen import StemGen, rotary
from tests.tiny import random_params

B, K, T, V = 2, 3, 7, 8
MODEL = StemGen(levels=K, vocabulary=V, width=32, depth=2, heads=4)
KEY = jax.random.key(9)
CONTEXT, TARGET = np.random.default_rng(9).integers(0, V, (2, B, K, T), np.int32)
HEARS = np.array([True, False])
INSTRUMENT, LEVEL = np.array([4, 4], np.int32), np.array([1, 1], np.int32)
ARGUMENTS = CONTEXT, HEARS, TARGET, INSTRUMENT, LEVEL


@functools.cache
def params():
  return random_params(jax.eval_shape(MODEL.init, KEY, *ARGUMENTS)["params"])


@jax.jit
def run(*arguments):
  return MODEL.apply({"params": params()}, *arguments)


def logits(context=CONTEXT, hears=HEARS, target=TARGET, instrument=INSTRUMENT, level=LEVEL):
  return np.asarray(run(context, hears, target, instrument, level))


def changed(codes, place):
  """The codes with others at one place."""
  codes = codes.copy()
  codes[place] = (codes[place] + 1) % V
  return codes


def test_every_frame_hears_all_others_of_both_channels():
  whole = logits()
  for other in (
    logits(context=changed(CONTEXT, np.s_[..., 6])),
    logits(target=changed(TARGET, np.s_[:, 2, 6])),
    logits(instrument=INSTRUMENT + 1),
  ):
    assert (np.abs(other[0] - whole[0]) > 1e-6).any(-1).all()
  # Row 1 hears no context, whatever is there.
  np.testing.assert_array_equal(logits(context=(CONTEXT + 1) % V)[1], whole[1])
  assert (np.abs(logits(hears=~HEARS) - whole) > 1e-6).any((1, 2)).all()


def test_levels_have_heads_of_their_own():
  found = logits(level=np.array([0, 2], np.int32))
  for row, level in enumerate((0, 2)):
    np.testing.assert_allclose(found[row], logits(level=LEVEL * 0 + level)[row], atol=1e-5)
  assert found.shape == (B, T, V)


def test_heads_turn_as_a_whole():
  cos = np.asarray(jax.jit(rotary, static_argnums=(0, 1))(4, 64)[0])
  assert cos.shape == (4, 32)
  np.testing.assert_allclose(cos[3, [0, 31]], np.cos([3, 3 * 10_000 ** (-62 / 64)]), rtol=1e-5)


def test_the_paper_s_model_has_about_250_million_parameters():
  model = StemGen(levels=4, vocabulary=2048, width=1024, depth=20, heads=16)
  codes, row = jnp.zeros((1, 4, 2), jnp.int32), jnp.zeros(1, jnp.int32)
  shapes = jax.eval_shape(model.init, KEY, codes, row > 0, codes, row, row)["params"]
  count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  blocks = sum(leaf.size for leaf in jax.tree.leaves(shapes["blocks"]))
  assert round(blocks / 1e6) == 252
  assert round(count / 1e6) == 269

"""MusicGen's network: a column after the other is all at once, and a text of zeros is no text."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from stemphonic_jax.models import musicgen
from stemphonic_jax.models.machine import Machine
from stemphonic_jax.models.musicgen import MusicGen, for_decoding, grow, sinusoid
from tests.tiny import random_params

B, K, N, S, E, V = 2, 3, 9, 4, 12, 16
MODEL = MusicGen(streams=K, vocabulary=V, width=24, depth=2, heads=4, text_width=E)
MASKED = MODEL.clone(masks_text=True, remat="blocks")
KEY = jax.random.key(5)
RNG = np.random.default_rng(5)
CODES = jax.device_put(RNG.integers(0, V + 1, (B, K, N), np.int32))
TEXT = jax.device_put(RNG.standard_normal((B, S, E), np.float32))
MASK = jax.device_put(np.arange(S) < np.array([4, 2])[:, None])


@functools.cache
def params():
  shapes = jax.eval_shape(MODEL.init, KEY, CODES, TEXT, MASK)["params"]
  return random_params(shapes)


@functools.partial(jax.jit, static_argnums=0)
def logits(model, params, codes=CODES, text=TEXT, mask=MASK):
  return model.apply({"params": params}, codes, text, mask)


@functools.partial(jax.jit, static_argnums=(0, 2))
def cached(model, params, first):
  """The same, `first` columns at once and the others one by one."""
  variables = {"params": params}
  text = model.apply(variables, TEXT, MASK, method="listen")
  memory = model.apply(variables, text, method="memory")
  found, cache = model.apply(variables, CODES[..., :first], text, MASK, method="begin")

  def column(cache, n):
    codes = CODES[..., n]
    one, cache = model.apply(variables, codes, n, cache, memory, MASK, method="step")
    return cache, one

  _, rest = jax.lax.scan(column, grow(cache, N), jnp.arange(first, N))
  return jnp.concatenate([found, jnp.moveaxis(rest, 0, 1)], 1)


def test_columns_one_by_one_are_columns_at_once(monkeypatch):
  """Whether weights are stacked, or lie in blocks of rows."""
  monkeypatch.setattr(musicgen, "BLOCK", 8)
  whole = logits(MASKED, params())
  np.testing.assert_allclose(cached(MASKED, for_decoding(params()), 4), whole, atol=1e-5)
  np.testing.assert_allclose(cached(MODEL, params(), 4), logits(MODEL, params()), atol=1e-5)


def test_weights_laid_out_for_decoding_give_the_same():
  whole = logits(MODEL, params())
  prepared = for_decoding(params())
  assert for_decoding(prepared) is prepared
  assert "rows" in prepared["blocks"][0]["qkv"]
  elsewhere = for_decoding(params(), machine=Machine("gpu", (9, 0)))
  assert "kernel" in elsewhere["blocks"][0]["qkv"]
  for other in (prepared, elsewhere):
    np.testing.assert_allclose(logits(MODEL, other), whole, atol=1e-5)


def test_a_column_hears_none_that_follow():
  later = np.where(np.arange(N) < 6, CODES, 0)
  a, b = (np.asarray(logits(MODEL, params(), codes)) for codes in (CODES, later))
  np.testing.assert_array_equal(a[:, :6], b[:, :6])
  assert (a[:, 6:] != b[:, 6:]).any()


@pytest.mark.parametrize("model", [MODEL, MASKED])
def test_a_text_of_zeros_is_no_text(model):
  """Cross-attention then adds zero, whatever its weights are."""
  none = np.zeros_like(MASK)
  flat = traverse_util.flatten_dict(params())
  deaf = {path: leaf * ("cross_out" not in path) for path, leaf in flat.items()}
  np.testing.assert_array_equal(
    logits(model, params(), mask=none), logits(model, traverse_util.unflatten_dict(deaf))
  )


def test_padding_takes_part_unless_it_is_masked():
  text, mask = TEXT[:, :2], MASK[:, :2]  # row 1 without its padding
  without = logits(MASKED, params(), CODES, text, mask)[1]
  np.testing.assert_allclose(logits(MASKED, params())[1], without, atol=1e-5)
  assert not np.allclose(logits(MODEL, params())[1], without, atol=1e-3)


def test_places_are_cosines_then_sines():
  places = jax.jit(sinusoid, static_argnums=(1, 2))
  table = np.asarray(places(0, 5, 8))
  np.testing.assert_allclose(table[0], [1, 1, 1, 1, 0, 0, 0, 0])
  slowest = 3 / 10_000
  np.testing.assert_allclose(table[3, [0, 3, 4, 7]], [
    np.cos(3), np.cos(slowest), np.sin(3), np.sin(slowest)
  ], rtol=1e-5)  # fmt: skip
  np.testing.assert_array_equal(places(2, 3, 8), table[2:])


def test_deeper_blocks_start_smaller():
  model = MODEL.clone(width=64, depth=4)
  fresh = jax.jit(model.init)(KEY, CODES, TEXT, MASK)["params"]
  spread = np.std(fresh["blocks"]["feed_in"]["kernel"], axis=(1, 2))
  # A normal distribution cut off at three deviations is narrower by 1.4 %.
  np.testing.assert_allclose(spread * 8, 0.986 / np.sqrt(2 * np.arange(1, 5)), rtol=0.03)
  assert fresh["embedding"].shape == (K, V + 1, 64)

"""Codes one column after the other: what is given comes back, draws follow from keys alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.musicgen import MusicGen, for_decoding
from stemphonic_jax.tokens import decoding, delay, editing
from tests.tiny import random_params

B, K, T, S, E, V = 2, 6, 16, 3, 8, 16
SONG = 12  # frames, and 4 of a prefix
MODEL = MusicGen(streams=K, vocabulary=V, width=16, depth=1, heads=2, text_width=E)
KEY = jax.random.key(2)
KEYS = jax.random.split(KEY, B)
RNG = np.random.default_rng(2)
TEXT, MASK = RNG.standard_normal((B, S, E), np.float32), np.ones((B, S), bool)
CODES = RNG.integers(0, V, (B, K, T), np.int32)
NONE = np.zeros((B, K, T), bool)


@functools.cache
def params():
  found = random_params(jax.eval_shape(MODEL.init, KEY, CODES, TEXT, MASK)["params"])
  return for_decoding(found | {"embedding": 10 * found["embedding"]})  # as loud as places


run = jax.jit(
  functools.partial(decoding.decode, MODEL, delays=delay.MUSICGEN_STEM),
  static_argnames=("guided", "top_k", "beginning"),
)


def decode(keys=KEYS, given=CODES, is_given=NONE, text=TEXT, mask=MASK, guidance=3.0, **options):
  return np.asarray(run(params(), keys, text, mask, given, is_given, guidance, **options))


def test_streams_that_are_given_come_back_and_are_heard():
  forced = NONE.copy()
  forced[:, (0, 2)] = forced[0, :, :3] = True
  found = decode(is_given=forced)
  np.testing.assert_array_equal(found[forced], CODES[forced])
  assert ((found >= 0) & (found < V)).all()
  changed = np.concatenate([(CODES[:, :1] + 1) % V, CODES[:, 1:]], 1)
  other = decode(given=changed, is_given=forced)
  free = ~forced
  assert (found[free] != other[free]).any()
  # A stream hears frame t of the others from frame t + 1 on.
  np.testing.assert_array_equal(found[1, 1, 0], other[1, 1, 0])


def test_a_beginning_that_is_read_at_once_is_one_read_in_turn():
  given = NONE | (np.arange(T) < 4)
  at_once = decode(is_given=given, beginning=4)
  np.testing.assert_array_equal(at_once, decode(is_given=given))
  np.testing.assert_array_equal(at_once[..., :4], CODES[..., :4])
  whole = decode(is_given=~NONE, beginning=T, guided=False)
  np.testing.assert_array_equal(whole, CODES)


def test_an_edit_returns_what_stays():
  song, anew = CODES[..., :SONG], jnp.broadcast_to(jnp.arange(K) == 1, (B, K))
  given, is_given, prefix = editing.request(jnp.asarray(song), anew, MODEL.special)
  found = decode(given=given, is_given=is_given, beginning=prefix)[..., prefix:]
  np.testing.assert_array_equal(np.delete(found, 1, 1), np.delete(song, 1, 1))
  assert ((found[:, 1] >= 0) & (found[:, 1] < V)).all()


def test_a_cache_that_grows_changes_nothing(monkeypatch):
  whole = decode()
  monkeypatch.setattr(decoding, "ROOM", 10)
  fresh = jax.jit(functools.partial(decoding.decode, MODEL, delays=delay.MUSICGEN_STEM))
  found = fresh(params(), KEYS, TEXT, MASK, CODES, NONE, 3.0)
  np.testing.assert_array_equal(found, whole)


def test_a_row_does_not_depend_on_the_others():
  found = decode()
  other = decode(keys=KEYS[::-1], text=TEXT[::-1])
  np.testing.assert_array_equal(found, other[::-1])
  assert (found[0] != decode(keys=KEYS[::-1])[0]).any()


def test_a_weight_of_one_is_no_guidance_and_one_of_zero_no_text():
  plain = decode(guided=False)
  np.testing.assert_array_equal(decode(guidance=1.0), plain)
  assert (decode(guidance=3.0) != plain).any()
  none = np.zeros_like(MASK)
  np.testing.assert_array_equal(decode(guidance=0.0), decode(mask=none, guided=False))


def test_codes_are_drawn_from_the_likeliest():
  logits = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))
  rows = jnp.broadcast_to(logits, (4000, 2, 4))
  keys = jax.random.split(KEY, 4000)
  found = np.asarray(decoding.draw(keys, rows, 2, 1.0))
  assert set(np.unique(found)) == {0, 1}
  assert abs(np.mean(found == 0) - 4 / 7) < 0.02
  assert abs(np.corrcoef(found.T)[0, 1]) < 0.05, "streams are drawn independently"
  assert (decoding.draw(keys, rows, 1, 1.0) == 0).all()
  every = np.asarray(decoding.draw(keys, rows, 0, 0.5))
  np.testing.assert_allclose(
    np.bincount(every.ravel()) / every.size, np.array([16, 9, 4, 1]) / 30, atol=0.02
  )


@pytest.mark.parametrize("beginning", [-1, T + 1])
def test_a_beginning_that_is_longer_than_all_is_refused(beginning):
  with pytest.raises(ValueError, match=f"beginning: got {beginning}"):
    decode(beginning=beginning)

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.encodec import EnCodec, pad
from tests.tiny import random_params

TINY = EnCodec(filters=2, ratios=(3, 2), latent=3, levels=2, entries=8)


@pytest.mark.parametrize(
  ("length", "kernel", "stride", "mode", "expected"),
  [
    (5, 10, 5, "constant", "000 12345 00"),
    (5, 10, 5, "reflect", "432 12345 43"),
    (6, 10, 5, "constant", "000 123456 00 0000"),  # the last window is filled
    (4, 7, 1, "reflect", "432 1234 321"),
    (2, 7, 1, "reflect", "002 12 000"),  # 12 00 is reflected, 002 1200 021, and cut
  ],
)
def test_more_is_padded_on_the_left(length, kernel, stride, mode, expected):
  x = jnp.arange(1.0, length + 1)[None, :, None]
  found = pad(x, kernel, stride, mode)[0, :, 0]
  np.testing.assert_array_equal(found, [float(c) for c in expected.replace(" ", "")])


@pytest.fixture(scope="module")
def tiny():
  """A codec whose LSTMs remember, and its methods, jitted."""
  shapes = jax.eval_shape(TINY.init, jax.random.key(0), jnp.zeros((1, TINY.hop)))
  variables = jax.tree.map(jnp.asarray, random_params(shapes))
  return jax.jit(functools.partial(TINY.apply, variables), static_argnames="method")


def test_long_audio_in_windows_is_what_it_is_at_once(tiny):
  """The state of the LSTM goes from window to window, and the last frame is not a whole one."""
  assert (TINY.hop, TINY.halo) == (6, 2)
  audio = jax.random.normal(jax.random.key(1), (2, 40 * TINY.hop + 2))
  codes = tiny(audio, method="encode")
  assert codes.shape == (2, TINY.levels, 41)
  decoded = tiny(codes, method="decode")
  assert decoded.shape == (2, 41 * TINY.hop)
  for window in (8, 41):
    np.testing.assert_array_equal(TINY.encode_chunked(tiny, audio, window), codes)
    np.testing.assert_allclose(TINY.decode_chunked(tiny, codes, window), decoded, atol=1e-5)


def test_the_lstm_remembers_beyond_any_window(tiny):
  """What windows without a state would lose: the first frame is heard in the last one."""
  x = jax.random.normal(jax.random.key(2), (1, 12, 8))
  y, _ = tiny(x, method="remember")
  first, state = tiny(x[:, :5], method="remember")
  np.testing.assert_allclose(tiny(x[:, 5:], state, method="remember")[0], y[:, 5:], atol=1e-6)
  np.testing.assert_allclose(first, y[:, :5], atol=1e-6)
  assert np.abs(tiny(x[:, 5:], method="remember")[0] - y[:, 5:]).max() > 1e-3


def test_what_no_codec_can_be_is_refused():
  for codec, message in (
    (EnCodec(padding="wrap"), "padding 'wrap': expected one of reflect, constant"),
    (EnCodec(filters=1), "filters 1: expected 2 or more"),
  ):
    with pytest.raises(ValueError, match=message):
      jax.eval_shape(codec.init, jax.random.key(0), jnp.zeros((1, 640)))

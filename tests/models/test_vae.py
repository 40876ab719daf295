import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.vae import Posterior, _windows, decode_chunked, encode_chunked


def test_kl_is_that_of_stable_audio_tools():
  scale = jnp.log(jnp.expm1(jnp.array([1.0 - 1e-4, 2.0 - 1e-4])))  # deviations 1 and 2
  posterior = Posterior(jnp.array([[[0.0, 3.0]]]), scale[None, None])
  np.testing.assert_allclose(posterior.deviation, [[[1.0, 2.0]]], rtol=1e-6)
  # Channel 1: 0. Channel 2: 3² + 2² − ln 2² − 1.
  np.testing.assert_allclose(posterior.kl(), 12 - np.log(4), rtol=1e-6)


def test_sample_has_the_posterior_s_mean_and_deviation():
  posterior = Posterior(jnp.full((1, 20_000, 2), 3.0), jnp.full((1, 20_000, 2), -1.0))
  sample = posterior.sample(jax.random.key(0))
  np.testing.assert_allclose(sample.mean(), 3.0, atol=0.01)
  np.testing.assert_allclose(sample.std(), posterior.deviation[0, 0, 0], rtol=0.02)


@pytest.mark.parametrize("halo", [0, 1, 3])
@pytest.mark.parametrize("frames", [1, 7, 8, 9, 15, 16, 40, 41])
def test_windows_cover_every_frame_once_with_its_surroundings(frames, halo):
  window, covered = 8, []
  for start, keep in _windows(frames, window, halo):
    assert start >= 0
    assert start + min(window, frames) <= frames
    first, last = start + keep.start, start + keep.stop - 1
    assert first - start >= min(halo, first)
    assert start + window - 1 - last >= min(halo, frames - 1 - last)
    covered += range(first, last + 1)
  assert covered == list(range(frames))


def test_a_window_without_room_is_refused():
  with pytest.raises(ValueError, match="more than 6"):
    decode_chunked(lambda z: z, jnp.zeros((1, 20, 2)), hop=1, reach=3, window=6)


def test_every_window_has_the_same_length():
  lengths = set()

  def encode(audio):
    lengths.add(audio.shape[1])
    return Posterior(audio[:, ::4], audio[:, ::4])

  audio = jnp.arange(2 * 101, dtype=jnp.float32).reshape(1, 101, 2)
  posterior = encode_chunked(encode, audio, hop=4, halo=1, window=8)
  assert lengths == {32}
  np.testing.assert_array_equal(posterior.mean, audio[:, ::4])

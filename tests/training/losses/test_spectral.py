import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.training.losses.spectral import (
  a_weighting,
  spectral_distance,
  stereo_spectral_loss,
)

loss = jax.jit(stereo_spectral_loss, static_argnames=("rate", "windows"))
gradient = jax.jit(jax.value_and_grad(stereo_spectral_loss, 1), static_argnames="rate")


def noise(seed, shape=(2, 3000, 2)):
  return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("rate", [None, 44_100])
def test_zero_for_equal_audio_and_growing_with_the_error(rate):
  real = noise(0)
  losses = [loss(real, real + e * noise(1), rate=rate) for e in (0, 0.01, 0.1, 1)]
  assert losses[0] < 1e-5
  assert losses == sorted(losses)


def test_spectral_distance_by_hand():
  real, fake = jnp.array([[3.0 + 4j, 0]]), jnp.array([[10.0 + 0j, 0]])
  # Convergence |5 − 10| / 5; mean of |ln 5 − ln 10| and 0.
  np.testing.assert_allclose(spectral_distance(real, fake), 1 + np.log(2) / 2, rtol=1e-4)


def test_sides_are_told_apart():
  """Swapping left and right changes nothing in their sum; the loss must see it."""
  real = noise(0) * jnp.array([1.0, 0.1])
  assert loss(real, real[..., ::-1]) > 0.5
  assert loss(real, -real) < 1e-5  # magnitudes only


@pytest.mark.parametrize("rate", [None, 44_100])
@pytest.mark.parametrize("real", [0.0, 1.0])
@pytest.mark.parametrize("fake", [0.0, 1.0])
def test_silence_has_finite_loss_and_gradient(real, fake, rate):
  real, fake = real * noise(0), fake * noise(0)
  value, slope = gradient(real, fake, rate=rate)
  assert jnp.isfinite(value)
  assert jnp.isfinite(slope).all()


def test_a_silent_row_does_not_drown_the_others():
  """A −60 dB error in a silent row weighs as little as it sounds."""
  real = noise(0).at[0].set(0)
  fake = real + 1e-3 * noise(1).at[1].set(0)
  audible = real + 0.3 * noise(1).at[0].set(0)
  windows = (512,)
  convergence_only = loss(real, fake, windows=windows)
  assert convergence_only < 10 * loss(real, audible, windows=windows)


def test_a_weighting_at_the_standard_s_frequencies():
  decibels = 20 * np.log10(a_weighting(np.array([50.0, 100.0, 1000.0, 2500.0, 10_000.0])))
  np.testing.assert_allclose(decibels, [-30.2, -19.1, 0, 1.3, -2.5], atol=0.1)


def test_weighting_turns_attention_to_what_is_heard():
  """The same error counts more at 3 kHz than at 60 Hz."""
  time = jnp.arange(8192) / 44_100

  def tone(frequency):
    return jnp.sin(2 * jnp.pi * frequency * time)[None, :, None] * jnp.ones(2)

  real = tone(60) + tone(3000)
  low, high = real + tone(60), real + tone(3000)
  windows = (2048,)
  weighted = [loss(real, x, rate=44_100, windows=windows) for x in (low, high)]
  assert weighted[0] < 0.5 * weighted[1]

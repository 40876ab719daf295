"""From v on the cosine schedule to velocity: exact for a network that knows, and for Gaussians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax import flow
from stemphonic_jax.models.prediction import velocity_of_v
from stemphonic_jax.sampler import sample

KEY = jax.random.key(4)
MEAN, STD = 1.5, 0.6


def test_a_network_that_knows_data_and_noise_gives_their_difference():
  x, noise = (jax.random.normal(jax.random.fold_in(KEY, i), (5, 3, 2)) for i in (1, 2))
  t = jnp.array([0.0, 0.25, 0.5, 0.9, 1.0])

  def network(point, angle):
    alpha, sigma = (f(jnp.pi / 2 * angle)[:, None, None] for f in (jnp.cos, jnp.sin))
    np.testing.assert_allclose(point, alpha * x + sigma * noise, rtol=1e-5, atol=1e-6)
    return alpha * noise - sigma * x

  got = velocity_of_v(network, flow.interpolate(x, noise, t), t)
  np.testing.assert_allclose(got, x - noise, rtol=1e-5, atol=1e-5)


def expected_v(point, angle):
  """E[α·ε − σ·x | α·x + σ·ε] of independent x ~ N(MEAN, STD²) and ε ~ N(0, 1)."""
  alpha, sigma = (f(jnp.pi / 2 * angle)[:, None, None] for f in (jnp.cos, jnp.sin))
  variance = alpha**2 * STD**2 + sigma**2
  slope = alpha * sigma * (1 - STD**2) / variance
  return -sigma * MEAN + slope * (point - alpha * MEAN)


def test_the_velocity_of_a_gaussian_is_the_analytic_one():
  """E[x − ε | (1 − t)·x + t·ε] by the same rule, on the straight path."""
  t = jnp.linspace(0.0, 1.0, 11)
  x = jnp.broadcast_to(jnp.linspace(-3.0, 3.0, 7)[:, None], (11, 7, 1))
  at = np.asarray(t)[:, None, None]
  variance = (1 - at) ** 2 * STD**2 + at**2
  slope = ((1 - at) * STD**2 - at) / variance
  analytic = MEAN + slope * (x - (1 - at) * MEAN)
  np.testing.assert_allclose(velocity_of_v(expected_v, x, t), analytic, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [50, 400])
def test_euler_turns_noise_into_the_gaussian(steps):
  """The exact flow is x = MEAN + STD·ε; Euler comes to it with 1/steps."""
  noise = jax.random.normal(KEY, (4, 16, 2))
  velocity = lambda x, t: velocity_of_v(expected_v, x, t)  # noqa: E731
  got = sample(noise, velocity, velocity, steps=steps, interval=None)
  assert np.abs(got - (MEAN + STD * noise)).max() < 3 / steps

"""Three losses, each with a gradient by its own side only."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.discriminator import Discriminator, images, init_discriminator
from stemphonic_jax.training.losses.adversarial import adversarial_losses

SMALL = Discriminator(filters=4, sizes=(64, 32), stride=2)
NAMES = ("adversarial", "feature", "discriminator")


@pytest.fixture(scope="module")
def params():
  return jax.jit(functools.partial(init_discriminator, SMALL))(jax.random.key(0))


@pytest.fixture(scope="module")
def audio():
  """Real and fake."""
  return 0.3 * jax.random.normal(jax.random.key(1), (2, 2, 200, 2))


@jax.jit
def judge(params, audio):
  return SMALL.apply({"params": params}, images(audio, SMALL.sizes))


losses = jax.jit(functools.partial(adversarial_losses, SMALL))


@jax.jit
def gradients(params, real, fake):
  """Of each loss, by the discriminator's parameters and by the fake."""
  return {
    name: jax.grad(lambda p, f, name=name: losses(p, real, f)[name], (0, 1))(params, fake)
    for name in NAMES
  }


def test_the_values_are_those_of_their_definition(params, audio):
  real, fake = (judge(params, x) for x in audio)
  found = losses(params, *audio)
  scores = list(zip((s for s, _ in real), (s for s, _ in fake), strict=True))
  hinge = [np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + f)) for r, f in scores]
  np.testing.assert_allclose(found["discriminator"], np.mean(hinge), rtol=1e-5)
  np.testing.assert_allclose(found["adversarial"], -np.mean([f.mean() for _, f in scores]), 1e-5)
  distances = [
    np.mean([np.mean(np.abs(x - y)) for x, y in zip(a, b, strict=True)])
    for (_, a), (_, b) in zip(real, fake, strict=True)
  ]
  np.testing.assert_allclose(found["feature"], np.mean(distances), rtol=1e-5)
  assert losses(params, audio[0], audio[0])["feature"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_each_side_has_its_own_gradient(name, params, audio):
  by_params, by_fake = gradients(params, *audio)[name]
  theirs = any(jnp.any(leaf != 0) for leaf in jax.tree.leaves(by_params))
  ours = bool(jnp.any(by_fake != 0))
  assert (theirs, ours) == ((True, False) if name == "discriminator" else (False, True))


def test_the_gradients_are_those_of_two_separate_looks(params, audio):
  """What stable-audio-tools computes in two steps."""
  real, fake = audio

  def hinge(params):
    scores = zip(judge(params, real), judge(params, fake), strict=True)
    return sum(
      jnp.mean(jax.nn.relu(1 - r)) + jnp.mean(jax.nn.relu(1 + f)) for (r, _), (f, _) in scores
    ) / len(SMALL.sizes)

  def verdict(fake):
    return -sum(jnp.mean(score) for score, _ in judge(params, fake)) / len(SMALL.sizes)

  expected = jax.jit(lambda: (jax.grad(hinge)(params), jax.grad(verdict)(fake)))()
  found = gradients(params, real, fake)
  found = found["discriminator"][0], found["adversarial"][1]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)

"""Three losses, each with a gradient by its own side only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.discriminator import Discriminator, images, init_discriminator
from stemphonic_jax.training.losses.adversarial import adversarial_losses

SMALL = Discriminator(filters=4, sizes=(64, 32), stride=2)
PARAMS = init_discriminator(SMALL, jax.random.key(0))
REAL, FAKE = 0.3 * jax.random.normal(jax.random.key(1), (2, 2, 200, 2))


def losses(params=PARAMS, fake=FAKE):
  return adversarial_losses(SMALL, params, REAL, fake)


def test_the_values_are_those_of_their_definition():
  real, fake = (SMALL.apply({"params": PARAMS}, images(x, SMALL.sizes)) for x in (REAL, FAKE))
  found = losses()
  scores = list(zip((s for s, _ in real), (s for s, _ in fake), strict=True))
  hinge = [np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + f)) for r, f in scores]
  np.testing.assert_allclose(found["discriminator"], np.mean(hinge), rtol=1e-5)
  np.testing.assert_allclose(found["adversarial"], -np.mean([f.mean() for _, f in scores]), 1e-5)
  distances = [
    np.mean([np.mean(np.abs(x - y)) for x, y in zip(a, b, strict=True)])
    for (_, a), (_, b) in zip(real, fake, strict=True)
  ]
  np.testing.assert_allclose(found["feature"], np.mean(distances), rtol=1e-5)
  assert losses(fake=REAL)["feature"] == 0


@pytest.mark.parametrize("name", ["adversarial", "feature", "discriminator"])
def test_each_side_has_its_own_gradient(name):
  def loss(params, fake):
    return losses(params, fake)[name]

  by_params, by_fake = jax.grad(loss, (0, 1))(PARAMS, FAKE)
  theirs = any(jnp.any(leaf != 0) for leaf in jax.tree.leaves(by_params))
  ours = bool(jnp.any(by_fake != 0))
  assert (theirs, ours) == ((True, False) if name == "discriminator" else (False, True))


def test_the_gradients_are_those_of_two_separate_looks():
  """What stable-audio-tools computes in two steps."""

  def judge(params, audio):
    return SMALL.apply({"params": params}, images(audio, SMALL.sizes))

  def hinge(params):
    real, fake = judge(params, REAL), judge(params, FAKE)
    both = zip(real, fake, strict=True)
    return sum(
      jnp.mean(jax.nn.relu(1 - r)) + jnp.mean(jax.nn.relu(1 + f)) for (r, _), (f, _) in both
    ) / len(real)

  def verdict(fake):
    return -sum(jnp.mean(score) for score, _ in judge(PARAMS, fake)) / 2

  expected = jax.grad(hinge)(PARAMS), jax.grad(verdict)(FAKE)
  found = (
    jax.grad(lambda params: losses(params)["discriminator"])(PARAMS),
    jax.grad(lambda fake: losses(fake=fake)["adversarial"])(FAKE),
  )
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)

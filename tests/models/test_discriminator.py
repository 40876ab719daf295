"""The discriminator: what it sees, and its own gradient of a strided convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models import discriminator as module
from stemphonic_jax.models.discriminator import (
  Discriminator,
  convolve,
  images,
  init_discriminator,
)

SMALL = Discriminator(filters=4, sizes=(64, 32), stride=2)


EDGES = {1: ((1, 1), (4, 4)), 2: ((2, 2), (4, 4))}


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("dilation", "bins"), [(1, 16), (2, 9)])
def test_its_own_gradients_are_the_derivatives(stride, dilation, bins):
  x = jax.random.normal(jax.random.key(0), (2, 6, bins, 3))
  kernel = jax.random.normal(jax.random.key(1), (3, 9, 3, 2))

  def loss(x, kernel, function):
    return jnp.sum(jnp.sin(function(x, kernel)))

  gradients = [
    jax.grad(loss, (0, 1))(x, kernel, function)
    for function in (
      lambda x, k: convolve(x, k, stride, dilation),
      lambda x, k: module._convolve(x, k, EDGES[dilation], (1, stride), (dilation, 1)),
    )
  ]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *gradients)


def test_an_image_is_of_whole_windows_and_both_channels():
  time = np.arange(640) / 64
  left, right = np.cos(2 * np.pi * 8 * time + 1), 0.5 * np.sin(2 * np.pi * 4 * time + 1)
  (image,) = images(jnp.asarray(np.stack([left, right], -1)[None], jnp.float32), (64,))
  assert image.shape == (1, (640 - 64) // 16 + 1, 33, 4)
  loudest = np.argmax(np.abs(image[0]).max(0), 0)
  np.testing.assert_array_equal(loudest, [8, 4, 8, 4])  # real and imaginary parts of each
  # Windows have energy one: white noise of variance one has planes of variance one half.
  noise = jax.random.normal(jax.random.key(0), (1, 64_000, 2))
  np.testing.assert_allclose(np.var(images(noise, (64,))[0][:, :, 1:-1]), 0.5, rtol=0.02)


def test_scores_and_features_by_window():
  audio = jax.random.normal(jax.random.key(0), (2, 300, 2))
  params = init_discriminator(SMALL, jax.random.key(1))
  judged = SMALL.apply({"params": params}, images(audio, SMALL.sizes))
  shapes = [(score.shape, [f.shape for f in features]) for score, features in judged]
  last = (2, 15, 5), (2, 34, 3)  # (300 - size) // hop + 1 frames, bins halved three times
  for (score, features), expected, bins in zip(shapes, last, (33, 17), strict=True):
    assert score == (*expected, 1)
    assert features[0] == (*expected[:2], bins, 4)
    assert features[-1] == (*expected, 4)
    assert len(features) == 5


def test_gains_are_the_lengths_of_kernels_at_the_start():
  params = init_discriminator(SMALL, jax.random.key(1))
  conv = params["window_64"]["conv_1"]
  np.testing.assert_allclose(
    conv["gain"], jnp.sqrt(jnp.sum(jnp.square(conv["kernel"]), (0, 1, 2))), rtol=1e-6
  )


def test_a_signal_shorter_than_a_window_is_refused():
  with pytest.raises(ValueError, match="63 samples: fewer than a window of 64"):
    images(jnp.zeros((1, 63, 2)), SMALL.sizes)

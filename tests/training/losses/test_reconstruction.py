import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.oobleck import Oobleck
from stemphonic_jax.models.spectral import Spectral
from stemphonic_jax.training.losses.reconstruction import vae_loss
from stemphonic_jax.training.losses.spectral import stereo_spectral_loss

MODELS = {
  "oobleck": Oobleck(channels=4, multiples=(1, 2), strides=(2, 7), latent=4),
  "spectral": Spectral(size=64, stride=16, stacked=4, resolution=8, latent=4, width=8, depth=1),
}


def spectral(real, fake, weight=1.0):
  return {"spectral": (weight, stereo_spectral_loss(real, fake, windows=(64, 32)))}


@functools.cache
def audio():
  return 0.1 * jax.random.normal(jax.random.key(1), (2, 300, 2))


@functools.cache
def params(name):
  return jax.jit(MODELS[name].init)(jax.random.key(0), audio())["params"]


@functools.cache
def compiled(name, **terms):
  function = functools.partial(vae_loss, MODELS[name], key=jax.random.key(2), **terms)
  return jax.jit(jax.value_and_grad(function, has_aux=True))


def loss_of(name, *, silent=False, **terms):
  return compiled(name, **terms)(params(name), audio() * (0 if silent else 1))


def test_kl_alone():
  (loss, metrics), _ = loss_of("spectral", kl_weight=0.5)
  np.testing.assert_allclose(loss, 0.5 * metrics["kl"], rtol=1e-6)
  assert set(metrics) == {"loss", "kl", "latent_std"}


@pytest.mark.parametrize("name", MODELS)
def test_terms_add_up_with_their_weights(name):
  def terms(real, fake):
    return spectral(real, fake, 2.0) | {"l1": (3.0, jnp.mean(jnp.abs(real - fake)))}

  head = 4.0 if name == "spectral" else 0.0
  (loss, metrics), _ = loss_of(name, kl_weight=1e-4, head_weight=head, waveform=terms)
  expected = 1e-4 * metrics["kl"] + 2 * metrics["spectral"] + 3 * metrics["l1"]
  np.testing.assert_allclose(loss, expected + head * metrics.get("head", 0), rtol=1e-5)
  assert metrics["loss"] == loss


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("silent", [False, True])
def test_gradients_are_finite_and_reach_encoder_and_decoder(name, silent):
  head = 1.0 if name == "spectral" else 0.0
  _, gradient = loss_of(name, silent=silent, head_weight=head, waveform=spectral)
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
  for part in ("encoder", "decoder"):
    assert any(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient[part]))


@pytest.mark.parametrize("name", MODELS)
def test_an_adversarial_term_sees_whole_frames_and_trains_the_decoder(name):
  """The hook of a discriminator: any function of (real, fake) with what it needs bound in."""
  frames = -(-300 // MODELS[name].hop)
  seen = []

  def adversarial(critic, real, fake):
    seen.append((real.shape, fake.shape))
    return {"adversarial": (0.1, -jnp.mean(critic * fake))}

  critic = jax.random.normal(jax.random.key(3), (2, frames * MODELS[name].hop, 2))
  term = functools.partial(adversarial, critic)
  (_, metrics), gradient = loss_of(name, waveform=term)
  assert seen == [(critic.shape, critic.shape)]
  assert "adversarial" in metrics
  assert any(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient["decoder"]))

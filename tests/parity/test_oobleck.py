"""Oobleck against diffusers' AutoencoderOobleck on the same random weights."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models.oobleck import Oobleck

torch = pytest.importorskip("torch")
oobleck = pytest.importorskip("diffusers.models.autoencoders.autoencoder_oobleck")

# One number of theirs is both the first width and twice the latent width.
SMALL = {"channels": 12, "multiples": (1, 2, 4), "latent": 6}


def reference(strides):
  """Their model with random weights, Snake included, and weight norm folded into the kernels."""
  torch.manual_seed(0)
  model = oobleck.AutoencoderOobleck(
    encoder_hidden_size=SMALL["channels"],
    downsampling_ratios=list(strides),
    channel_multiples=list(SMALL["multiples"]),
    decoder_channels=SMALL["channels"],
    decoder_input_channels=SMALL["latent"],
    audio_channels=2,
  ).eval()
  for module in model.modules():
    if isinstance(module, oobleck.Snake1d):
      torch.nn.init.normal_(module.alpha, std=0.3)
      torch.nn.init.normal_(module.beta, std=0.3)
    if hasattr(module, "weight_g"):
      torch.nn.utils.remove_weight_norm(module)
  return model


def ours(state):
  """Their state as our tree: kernels [K, in, out], 1×1 kernels [in, out]."""
  params = {}
  for name, tensor in state.items():
    value = tensor.numpy()
    *path, leaf = re.sub(r"block\.(\d+)", r"block_\1", name).split(".")
    if leaf == "weight":
      leaf = "kernel"
      value = value.transpose(2, 0, 1) if path[-1] == "conv_t1" else value.transpose(2, 1, 0)
      value = value[0] if value.shape[0] == 1 else value
    elif leaf != "bias":
      value = value.reshape(-1)
    node = params
    for key in path:
      node = node.setdefault(key, {})
    node[leaf] = jnp.asarray(value)
  return {"params": params}


def relative_error(got, expected):
  return np.linalg.norm(got - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("strides", [(2, 4, 8), (2, 3, 7), (2, 4, 7)])
def test_same_numbers_as_diffusers(strides):
  theirs, model = reference(strides), Oobleck(strides=strides, **SMALL)
  variables = ours(theirs.state_dict())
  hop, frames = math.prod(strides), 24
  audio = np.random.default_rng(0).standard_normal((2, frames * hop, 2), np.float32)

  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(audio))
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(lambda x: x.shape, shapes)

  apply = jax.jit(model.apply, static_argnames="method")
  posterior = apply(variables, jnp.asarray(audio), method="encode")
  decoded = apply(variables, posterior.mean, method="decode")
  with torch.no_grad():
    expected = theirs.encode(torch.from_numpy(audio).mT).latent_dist
    their_audio = theirs.decode(expected.mean).sample.mT.numpy()
  assert relative_error(posterior.mean, expected.mean.mT.numpy()) < 1e-4
  assert relative_error(posterior.deviation, expected.std.mT.numpy()) < 1e-4
  assert relative_error(posterior.kl(), expected.kl().numpy()) < 1e-4

  # Their audio lacks the last sample of each odd stride; what is near it differs.
  inside = their_audio.shape[1] - (0 if all(s % 2 == 0 for s in strides) else model.halo * hop)
  assert relative_error(decoded[:, :inside], their_audio[:, :inside]) < 1e-4

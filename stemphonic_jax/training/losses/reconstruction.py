"""The loss of an autoencoder: KL divergence, plus whatever terms the configuration weighs in."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from stemphonic_jax.models.vae import Posterior, pad_to_frames

# Terms of a loss of (original, reconstruction): a weight and a value by name.
Terms = Mapping[str, tuple[float, Float[Array, ""]]]
WaveformLoss = Callable[[Float[Array, "B N 2"], Float[Array, "B N 2"]], Terms]


def vae_loss(
  model: nn.Module,
  params: Any,
  audio: Float[Array, "B N 2"],
  key: Key[Array, ""],
  *,
  kl_weight: float = 1e-4,
  head_weight: float = 0.0,
  waveform: WaveformLoss | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Loss to minimise, and its terms before weighting.

  `head_weight` weighs `model.head_loss`, which only models.spectral.Spectral has. `waveform` has
  the terms that need a decoded waveform; without it nothing is decoded.
  """

  def apply(method, *args):
    return model.apply({"params": params}, *args, method=method)

  posterior: Posterior = apply("encode", audio)
  latents = posterior.sample(key)
  metrics = {"kl": posterior.kl(), "latent_std": jnp.std(posterior.mean)}
  loss = kl_weight * metrics["kl"]
  if head_weight:
    metrics["head"] = apply("head_loss", latents, audio)
    loss += head_weight * metrics["head"]
  if waveform:
    real, fake = pad_to_frames(audio, model.hop), apply("decode", latents)
    for name, (weight, metrics[name]) in waveform(real, fake).items():
      loss += weight * metrics[name]
  return loss, {"loss": loss, **metrics}

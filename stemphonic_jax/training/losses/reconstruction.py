"""The loss of an autoencoder: KL divergence, plus whatever terms the configuration weighs in."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from stemphonic_jax.models.discriminator import Discriminator
from stemphonic_jax.models.spectral import Spectral
from stemphonic_jax.models.vae import Posterior, pad_to_frames
from stemphonic_jax.training.losses.adversarial import adversarial_losses
from stemphonic_jax.training.losses.spectral import stereo_spectral_loss
from stemphonic_jax.training.run import state

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


def reconstruction_loss(
  vae: nn.Module, *, kl_weight: float, head_weight: float, spectral_weight: float, rate: int
) -> state.Loss:
  """The autoencoder's loss on a batch of waveforms, with its parts as metrics."""
  spectral = _spectral_term(spectral_weight, rate) if spectral_weight else None
  weights = dict(kl_weight=kl_weight, head_weight=head_weight, waveform=spectral)

  def loss(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    return with_sums(*vae_loss(vae, params, batch["audio"], key, **weights))

  return loss


def envelope_loss(vae: Spectral) -> state.Loss:
  """The loss of the envelope alone, on latents as they are drawn when all is trained."""

  def loss(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    audio, apply = batch["audio"], functools.partial(vae.apply, {"params": params})
    latents = apply(audio, method="encode").sample(key)
    value = apply(latents, audio, method="envelope_loss")
    return value, {"envelope": (value, jnp.ones(()))}

  return loss


def adversarial_loss(
  vae: nn.Module,
  discriminator: Discriminator,
  *,
  weight: float,
  feature_weight: float,
  kl_weight: float,
  head_weight: float,
  spectral_weight: float,
  rate: int,
) -> state.Loss:
  """The same with a discriminator; params are {"vae", "discriminator"}, and both sides' losses add
  up to one (adversarial.py)."""
  contest = contest_of(discriminator, weight, feature_weight)
  spectral = _spectral_term(spectral_weight, rate) if spectral_weight else lambda real, fake: {}

  def loss(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    def waveform(real: jax.Array, fake: jax.Array) -> Terms:
      return spectral(real, fake) | contest(params["discriminator"], real, fake)

    weights = dict(kl_weight=kl_weight, head_weight=head_weight, waveform=waveform)
    return with_sums(*vae_loss(vae, params["vae"], batch["audio"], key, **weights))

  return loss


def contest_of(
  discriminator: Discriminator, weight: float, feature_weight: float
) -> Callable[[Any, Float[Array, "B N A"], Float[Array, "B N A"]], Terms]:
  """The terms of both sides, from a discriminator's parameters, recordings and what was rebuilt."""
  scale = {"adversarial": weight, "feature": feature_weight, "discriminator": 1.0}

  def terms(params: Any, real: jax.Array, fake: jax.Array) -> Terms:
    parts = adversarial_losses(discriminator, params, real, fake)
    return {name: (scale[name], part) for name, part in parts.items()}

  return terms


def _spectral_term(weight: float, rate: int) -> WaveformLoss:
  return lambda real, fake: {"spectral": (weight, stereo_spectral_loss(real, fake, rate=rate))}


def with_sums(value: jax.Array, parts: dict) -> tuple[jax.Array, state.Sums]:
  """A loss and its terms as a trainer takes them."""
  return value, {name: (part, jnp.ones(())) for name, part in parts.items() if name != "loss"}

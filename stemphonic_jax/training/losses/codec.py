"""The loss of a codec: what is rebuilt from codes, and how far latents are from their entries.

Codebooks are no part of it. They stand among the parameters as the averages that they are made of,
and follow the latents of each batch (models/quantiser.py).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stemphonic_jax.models import quantiser
from stemphonic_jax.models.discriminator import Discriminator
from stemphonic_jax.models.encodec import EnCodec
from stemphonic_jax.training.losses.reconstruction import contest_of, with_sums
from stemphonic_jax.training.losses.spectral import mono_spectral_loss
from stemphonic_jax.training.run import state

AVERAGES = "averages"
DEAD = 0.1  # of the vectors that an entry has if all have as many: below it, it is put elsewhere


def codec_params(learned: Any) -> dict[str, Any]:
  """Parameters as the codec takes them, its codebooks made from their averages."""
  networks = {name: part for name, part in learned.items() if name != AVERAGES}
  return networks | {"codebooks": learned[AVERAGES].codebooks}


def codec_loss(
  codec: EnCodec,
  *,
  commitment_weight: float,
  waveform_weight: float,
  spectral_weight: float,
  rate: int,
) -> state.Loss:
  """The loss of a codec on a batch of waveforms, of whose channels it hears the mean."""
  weights = dict(commitment=commitment_weight, waveform=waveform_weight, spectral=spectral_weight)

  def loss(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    _, _, terms = _rebuilt(codec, params, batch, weights, rate)
    return _summed(terms)

  return loss


def adversarial_codec_loss(
  codec: EnCodec,
  discriminator: Discriminator,
  *,
  weight: float,
  feature_weight: float,
  commitment_weight: float,
  waveform_weight: float,
  spectral_weight: float,
  rate: int,
) -> state.Loss:
  """The same with a discriminator; params are {"codec", "discriminator"} (adversarial.py)."""
  weights = dict(commitment=commitment_weight, waveform=waveform_weight, spectral=spectral_weight)
  contest = contest_of(discriminator, weight, feature_weight)

  def loss(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    real, fake, terms = _rebuilt(codec, params["codec"], batch, weights, rate)
    theirs = contest(params["discriminator"], real[..., None], fake[..., None])
    return _summed(terms | theirs)

  return loss


def following(codec: EnCodec) -> state.Follow:
  """What the averages become after a batch."""

  def follow(params: Any, batch: dict, key: jax.Array) -> dict[str, quantiser.Averages]:
    latents = codec.apply({"params": codec_params(params)}, mono(batch), method="latents")
    vectors = latents.reshape(-1, latents.shape[-1])
    dead = min(quantiser.DEAD, DEAD * len(vectors) / codec.entries)
    return {AVERAGES: quantiser.update(key, params[AVERAGES], vectors, dead=dead)}

  return follow


def mono(batch: dict) -> Float[Array, "B N"]:
  """What a codec hears of a batch: the mean of the channels."""
  return jnp.mean(batch["audio"], -1)


def _rebuilt(
  codec: EnCodec, params: Any, batch: dict, weights: dict, rate: int
) -> tuple[Array, Array, dict]:
  """The audio, what is rebuilt of it, and the terms of the loss as (weight, value)."""
  real = mono(batch)
  variables = {"params": codec_params(params)}
  fake, codes, commitment = codec.apply(variables, real, method="learn")
  fake = fake[:, : real.shape[1]]
  terms = {"commitment": commitment, "waveform": jnp.mean(jnp.abs(real - fake))}
  if weights["spectral"]:
    terms["spectral"] = mono_spectral_loss(real, fake, rate=rate)
  found = {name: (weights[name], value) for name, value in terms.items()}
  for level, used in enumerate(quantiser.perplexity(codes, codec.entries)):
    found[f"perplexity_{level}"] = (0.0, used)
  return real, fake, found


def _summed(terms: dict) -> tuple[jax.Array, state.Sums]:
  total = sum(weight * value for weight, value in terms.values() if weight)
  return with_sums(total, {name: value for name, (_, value) in terms.items()})

"""What an autoencoder and a discriminator are to each other: three losses from one look at both.

Stable Audio's (stable-audio-tools, discriminators.py), means over window lengths:

    adversarial    −mean D(fake)                                            the autoencoder's
    feature        mean |features of real − those of fake|, over layers     the autoencoder's
    discriminator  mean max(0, 1 − D(real)) + mean max(0, 1 + D(fake))      the discriminator's

Each has a gradient by its own side's parameters only, so their sum is one loss of both sides, and
one step trains both. (stable-audio-tools takes turns, so two of its steps are one of these.)
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stemphonic_jax.models.discriminator import Discriminator, images


def adversarial_losses(
  discriminator: Discriminator,
  params: dict,
  real: Float[Array, "B N A"],
  fake: Float[Array, "B N A"],
) -> dict[str, Float[Array, ""]]:
  """The three losses by name; `fake` is the reconstruction of `real`."""

  def judge(params, images):
    return discriminator.apply({"params": params}, images)

  real, fake = (images(audio, discriminator.sizes) for audio in (real, fake))
  of_real, (of_fake, as_taught) = judge(params, real), _one_look(judge, params, fake)
  losses = {"adversarial": 0.0, "feature": 0.0, "discriminator": 0.0}
  for (score, features), (fake_score, _), (taught_score, taught) in zip(
    of_real, of_fake, as_taught, strict=True
  ):
    distances = [
      jnp.mean(jnp.abs(jax.lax.stop_gradient(x) - y)) for x, y in zip(features, taught, strict=True)
    ]
    losses["adversarial"] -= jnp.mean(taught_score)
    losses["feature"] += sum(distances) / len(distances)
    losses["discriminator"] += jnp.mean(jax.nn.relu(1 - score) + jax.nn.relu(1 + fake_score))
  return {name: loss / len(of_real) for name, loss in losses.items()}


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _one_look(judge: Callable, params: Any, fake: Any) -> tuple[Any, Any]:
  """The same judgement twice: gradients of the first go to `params`, of the second to `fake`.

  Two judgements with `stop_gradient` were computed twice by XLA.
  """
  judged = judge(params, fake)
  return judged, judged


def _look(judge, params, fake):
  judged, pull = jax.vjp(judge, params, fake)
  return (judged, judged), pull


def _pull(judge, pull, gradients):
  to_params, to_fake = gradients
  return pull(to_params)[0], pull(to_fake)[1]


_one_look.defvjp(_look, _pull)

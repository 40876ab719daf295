"""A start for the spectral autoencoder that is already a good linear code.

The levels of a latent frame are some 2 400 numbers of which 64 principal components hold 95 % of
the variance. Gradient descent finds those slowly, since they matter so unequally: after minutes on
a CPU it was at 2.5 times the error that they have in closed form. So they are put in first, and
what is trained begins there.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stemphonic_jax.models.spectral import Spectral

DEVIATION = 0.2  # of the posterior at the start; the latents' own is one
ITERATIONS = 16  # of the subspace; each multiplies an error by a ratio of variances


def principal_start(
  model: Spectral, params: Mapping[str, Any], audio: Float[Array, "B N 2"]
) -> dict[str, Any]:
  """`params` with the outer linear maps set to the principal components of the levels of `audio`.

  With the blocks still identities, latent c is component c scaled to variance one. A few hundred
  seconds of audio are enough; there must be more latent frames than `model.width`.
  """
  levels = model.apply({"params": params}, audio, method="levels")
  mean, components, deviation = principal_components(
    levels.reshape(-1, levels.shape[-1]), model.width
  )
  analysis = components / deviation
  keep = jnp.eye(model.width, model.latent)
  # Typed, because a step would be compiled once more for the type of a Python number.
  scale = jnp.full((model.latent,), jnp.log(jnp.expm1(DEVIATION)), jnp.float32)
  nothing = jnp.zeros_like(keep)
  encoder = {
    "in": {"kernel": analysis, "bias": -mean @ analysis},
    "out": {
      "kernel": jnp.concatenate([keep, nothing], 1),
      "bias": jnp.concatenate([jnp.zeros_like(scale), scale]),
    },
  }
  decoder = {
    "in": {"kernel": keep.T, "bias": jnp.zeros(model.width)},
    "out": {"kernel": (components * deviation).T, "bias": mean},
  }
  return {"encoder": {**params["encoder"], **encoder}, "decoder": {**params["decoder"], **decoder}}


def principal_components(
  x: Float[Array, "M L"], count: int
) -> tuple[Float[Array, "L"], Float[Array, "L W"], Float[Array, "W"]]:
  """Mean of the rows, their first `count` principal directions, and deviations along them.

  Subspace iteration: the covariance, L × L, is never formed.
  """
  mean = jnp.mean(x, 0)
  centred = x - mean

  def iterate(_, basis):
    return jnp.linalg.qr(centred.T @ (centred @ basis))[0]

  basis = jax.random.normal(jax.random.key(0), (x.shape[1], count))
  basis = jax.lax.fori_loop(0, ITERATIONS, iterate, basis)
  seen = centred @ basis
  variance, rotation = jnp.linalg.eigh(seen.T @ seen / x.shape[0])
  variance, rotation = variance[::-1], rotation[:, ::-1]
  return mean, basis @ rotation, jnp.sqrt(jnp.maximum(variance, 1e-6 * variance[0]))

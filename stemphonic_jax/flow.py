"""Rectified flow on groups of stems: sign, time and noise, each said once.

A latent x and a Gaussian noise ε are joined by a straight path (Sec. 2):

    x(t) = (1 − t)·x + t·ε          t = 0 is data, t = 1 is noise
    v    = x − ε = −dx(t)/dt        what the network learns (Eq. 1)

so a sampling step from t to t − h is x ← x + h·v. The ODE printed in the paper and Stable Audio's
code carry the opposite sign; flip v when weights are exchanged.

Stems of one mix share ε (Eq. 2). Noise is a pure function of (key, group id), so rows of one group
may lie in different micro-batches, devices or hosts and still agree without communication.
"""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key


def named_key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
  """Derives the key of one use from a step key, by name, so that no key is ever used twice."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


def shared_noise(
  key: Key[Array, ""], group: Int[Array, "B"], shape: tuple[int, ...]
) -> Float[Array, "B ..."]:
  """Draws one Gaussian noise per group (Sec. 3.2, Eq. 2): rows equal iff their `group` is equal."""
  return jax.vmap(lambda g: jax.random.normal(jax.random.fold_in(key, g), shape))(group)


def partly_shared_noise(
  key: Key[Array, ""],
  group: Int[Array, "B"],
  row: Int[Array, "B"],
  shape: tuple[int, ...],
  share: float,
) -> Float[Array, "B ..."]:
  """Noise of which the rows of a group have the `share` of its variance in common, the rest not.

  √share·ε_group + √(1 − share)·ε_row: 1 is `shared_noise`, 0 a noise for each row.
  """
  own = named_key(key, "own")
  if share in (0, 1):
    return shared_noise(key, group, shape) if share else shared_noise(own, row, shape)
  common, rest = shared_noise(key, group, shape), shared_noise(own, row, shape)
  return jnp.sqrt(share) * common + jnp.sqrt(1 - share) * rest


def turn(noise: Float[Array, "B T C"], turns: Float[Array, "B C C"]) -> Float[Array, "B T C"]:
  """Each row's noise, frame by frame, through its type's rotation (data/batching/alignment.py)."""
  return jnp.einsum("btc,bdc->btd", noise, turns, precision="highest")


def logit_normal(
  key: Key[Array, ""], row: Int[Array, "B"], mean: float = 0.0, std: float = 1.0
) -> Float[Array, "B"]:
  """Draws t ~ LogitNormal(mean, std) in (0, 1) for each row id, in float32 (Eq. 1)."""
  draw = jax.vmap(lambda r: jax.random.normal(jax.random.fold_in(key, r)))
  return jax.nn.sigmoid(mean + std * draw(row))


def interpolate(
  x: Float[Array, "B T C"], noise: Float[Array, "B T C"], t: Float[Array, "B"]
) -> Float[Array, "B T C"]:
  """Point x(t) of the straight path from data (t = 0) to noise (t = 1)."""
  t = t[:, None, None]
  return (1 - t) * x + t * noise


def flow_loss(
  velocity: Float[Array, "B T C"],
  x: Float[Array, "B T C"],
  noise: Float[Array, "B T C"],
  known: Bool[Array, "B T"] | None = None,
) -> Float[Array, "B"]:
  """Mean squared error of each row's velocity against x − ε (Eq. 1), over frames not `known`."""
  return squared_error(velocity, x - noise, known)


def squared_error(
  velocity: Float[Array, "B T C"],
  target: Float[Array, "B T C"],
  known: Bool[Array, "B T"] | None = None,
) -> Float[Array, "B"]:
  """Mean squared error of each row, over frames that are not `known`."""
  errors = jnp.square(velocity - target)
  if known is None:
    return jnp.mean(errors, axis=(1, 2))
  asked = ~known
  return jnp.sum(jnp.mean(errors, 2) * asked, 1) / jnp.maximum(jnp.sum(asked, 1), 1)

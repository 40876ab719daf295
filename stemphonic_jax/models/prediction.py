"""From a network that predicts v on the cosine schedule to this project's velocity, exactly.

Stable Audio Open is trained at points x' = α·x + σ·ε with α = cos(π·t'/2), σ = sin(π·t'/2), and
predicts v' = α·ε − σ·x. A point of the straight path of flow.py is one of these up to its length n:

    x(t) = (1 − t)·x + t·ε,   n = √((1 − t)² + t²),   α = (1 − t)/n,   σ = t/n          (1)
    x' = x(t)/n,              t' = (2/π)·atan2(t, 1 − t)                                (2)

Data and noise follow from x' and v', and with them the velocity x − ε:

    x̂ = α·x' − σ·v',   ε̂ = σ·x' + α·v',   v = x̂ − ε̂ = (α − σ)·x' − (α + σ)·v'           (3)

The map is linear in v', so that an imported network is sampled by the same Euler scan, and trained
further on the same loss, from exactly where it stands.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

Network = Callable[[Float[Array, "B T C"], Float[Array, "B"]], Float[Array, "B T C"]]


def velocity_of_v(
  network: Network, x: Float[Array, "B T C"], t: Float[Array, "B"]
) -> Float[Array, "B T C"]:
  """Velocity at x(t) of a `network` that predicts v' from (x', t') (Eq. 1 to 3 above)."""
  length = jnp.hypot(1 - t, t)
  alpha, sigma = ((part / length)[:, None, None] for part in (1 - t, t))
  x = x / length[:, None, None]
  return (alpha - sigma) * x - (alpha + sigma) * network(x, 2 / jnp.pi * jnp.arctan2(t, 1 - t))

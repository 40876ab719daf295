"""Cross-entropy of codes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def cross_entropy(
  logits: Float[Array, "*B N V"],
  codes: Int[Array, "*B N"],
  counts: Bool[Array, "*B N"],
  smoothing: float = 0.0,
) -> Float[Array, "*B"]:
  """The mean of −log p over the codes that count, of each row (and stream); 0 where none does.

  With `smoothing`, that share of the weight is spread over all entries alike. Codes that do not
  count may be any number.
  """
  found = jax.nn.log_softmax(logits.astype(jnp.float32))
  safe = jnp.clip(codes, 0, logits.shape[-1] - 1)
  right = jnp.take_along_axis(found, safe[..., None], -1)[..., 0]
  errors = -(1 - smoothing) * right - smoothing * jnp.mean(found, -1)
  return jnp.sum(jnp.where(counts, errors, 0), -1) / jnp.maximum(jnp.sum(counts, -1), 1)

"""What this machine does: generations, training steps, the autoencoders, data, a peer beside."""

from stemphonic_jax.bench import (
  ceiling,
  data,
  generation,
  peer,
  reconstruction,
  sampler,
  train,
  vae,
)

__all__ = ["ceiling", "data", "generation", "peer", "reconstruction", "sampler", "train", "vae"]

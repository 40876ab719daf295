"""What this machine does: generations, training steps, autoencoders, data, judges, a peer."""

from stemphonic_jax.bench import (
  ceiling,
  data,
  evaluate,
  generation,
  peer,
  reconstruction,
  sampler,
  train,
  vae,
)

__all__ = [
  "ceiling",
  "data",
  "evaluate",
  "generation",
  "peer",
  "reconstruction",
  "sampler",
  "train",
  "vae",
]

"""What this machine does: generations, training steps, autoencoders, data, judges, a peer."""

from stemphonic_jax.bench import (
  ceiling,
  codec,
  data,
  evaluate,
  generation,
  musicgen,
  peer,
  reconstruction,
  sampler,
  train,
  vae,
)

__all__ = [
  "ceiling",
  "codec",
  "data",
  "evaluate",
  "generation",
  "musicgen",
  "peer",
  "reconstruction",
  "sampler",
  "train",
  "vae",
]

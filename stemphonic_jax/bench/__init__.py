"""What this machine does: generations, the autoencoders, data, and a peer beside."""

from stemphonic_jax.bench import data, generation, peer, vae

__all__ = ["data", "generation", "peer", "vae"]

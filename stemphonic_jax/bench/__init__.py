"""What this machine does with the models: generations, the autoencoders, and a peer beside."""

from stemphonic_jax.bench import generation, peer, vae

__all__ = ["generation", "peer", "vae"]

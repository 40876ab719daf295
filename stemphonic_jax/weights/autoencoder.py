"""The file of an autoencoder: its parameters, and whether an envelope was trained with them."""

from pathlib import Path
from typing import Any

from stemphonic_jax.models.spectral import Spectral
from stemphonic_jax.weights.architecture import VAE, vae_shapes
from stemphonic_jax.weights.tensors import open_params, open_tensors

ENVELOPE = "envelope"


def open_vae(vae: VAE, path: Path) -> tuple[VAE, Any]:
  """The autoencoder that a config describes, with an envelope where its file has one; its `Lazy`
  parameters.

  A config does not say it, because an envelope comes last and changes no latents. Errors are those
  of `open_params`.
  """
  if isinstance(vae, Spectral):
    vae = vae.clone(
      has_envelope=any(name.startswith(f"{ENVELOPE}/") for name in open_tensors(path))
    )
  return vae, open_params(path, vae_shapes(vae))

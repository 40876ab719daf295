"""The autoencoder alone, at full size; other runs start from it with --config.init_from=runs/vae.

python -m stemphonic_jax.main --config=configs/vae.py --mode=train_vae
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  config = base.get_config(size)
  config.train_vae.discriminator.weight = 0.1  # Stable Audio's
  return config

"""Setting B-(i) of Table 1: stems grouped in training, each with a noise of its own.

python -m stemphonic_jax.main --config=configs/b_i.py
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  config = base.get_config(size)
  config.data.share_noise = False
  config.sample.share_noise = False
  return config

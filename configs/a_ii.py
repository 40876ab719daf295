"""Setting A-(ii) of Table 1: trained as A-(i), but stems share their noise at inference.

python -m stemphonic_jax.main --config=configs/a_ii.py
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  config = base.get_config(size)
  config.data.update(group_stems=False, share_noise=False)
  return config

"""C with a noise of its own for each stem at inference: the row that Table 1 leaves out.

python -m stemphonic_jax.main --config=configs/c_i.py
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  config = base.get_config(size)
  config.sample.share_noise = False
  return config

"""Pre-training on whole mixes (Sec. 2); then start C with --config.init_from=runs/pretrain_mix.

python -m stemphonic_jax.main --config=configs/pretrain_mix.py
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  config = base.get_config(size)
  config.data.whole_mixes = True
  return config

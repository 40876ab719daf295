"""Pre-training on whole mixes (Sec. 2), to start C from: --config.init_from=runs/pretrain_mix.

python -m stemphonic_jax.main --config=configs/pretrain_mix.py --workdir=runs/pretrain_mix --mode=train
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  config = base.get_config(size)
  config.data.whole_mixes = True
  return config

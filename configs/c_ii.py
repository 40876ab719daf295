"""Setting C-(ii) of Table 1, the paper's own: stems grouped, noise shared, in one pass.

python -m stemphonic_jax.main --config=configs/c_ii.py
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  return base.get_config(size)

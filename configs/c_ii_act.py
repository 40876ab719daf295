"""Setting +Act of Table 3: C-(ii) trained with stem-wise activity control.

python -m stemphonic_jax.main --config=configs/c_ii_act.py
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  config = base.get_config(size)
  config.dropout.activity = 1 / 3
  return config

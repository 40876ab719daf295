"""Setting D, which is not the paper's: stems hear each other, and any of their frames may be given.

    python -m stemphonic_jax.main --config=configs/ensemble.py --config.init_from=runs/c_ii
    python -m stemphonic_jax.main --config=configs/ensemble.py:demo \
      --config.init_from=runs/demo_short                                 # half an hour on two cores

Attention between the stems of a group (models/stems.py), and a mask of known frames. Starts from a
model of another setting where `init_from` names one: what is new begins at zero.
"""

from ml_collections import ConfigDict

from configs import base, demo


def get_config(size: str = "") -> ConfigDict:
  if size == "demo":  # of what docs/ensemble.md compares
    config = demo.get_config("short")
    config.train.update(steps=1_500, learning_rate=5e-4, warmup=50, decay=500, save_every=250)
  else:
    config = base.get_config(size)
  base.hear_each_other(config, block=4 if size == "tiny" else 8)
  return config

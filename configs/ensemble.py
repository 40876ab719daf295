"""Setting D, which is not the paper's: stems hear each other, and any of their frames may be given.

    python -m stemphonic_jax.main --config=configs/ensemble.py --config.init_from=runs/c_ii
    python -m stemphonic_jax.main --config=configs/ensemble.py:demo     # from the packaged one

Attention between the stems of a group (models/stems.py), and a mask of known frames. Starts from a
model of another setting where `init_from` names one: what is new begins at zero.
"""

from ml_collections import ConfigDict

from configs import base, demo


def get_config(size: str = "") -> ConfigDict:
  if size == "demo":
    config = demo.get_config("short")
    config.init_from = "demo"
    config.train.update(steps=1_500, learning_rate=5e-4, warmup=50, decay=500, save_every=250)
  else:
    config = base.get_config(size)
  config.dit.ensemble = True
  # A noise for each stem in training, one for all in songs: with shared noise a stem would read its
  # answer off the others (losses/velocity.py).
  with config.ignore_type():  # a share, where other settings have a switch
    config.data.share_noise = 0.0
  # Most groups have up to six stems; larger ones are cut.
  config.data.block = 4 if size == "tiny" else 8
  config.data.known.update(given=1 / 4, repair=1 / 4, extend=1 / 8)
  config.dropout.activity = 1 / 3
  return config

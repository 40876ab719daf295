"""The model that comes with the package: all abilities, small enough for two cores.

    bash launch/train_demo.sh                                              # hours on a CPU
    python -m stemphonic_jax.main --config=configs/demo.py:small           # an hour

Any of the eleven stem types, sub-mix, tempo, text and activity, on the demo corpus. It is trained
in two runs: `:short` learns what stems of 8 s are, and what it leaves learns to fill 32 s.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  config = base.get_config("small" if size in ("", "short") else size)
  config.dropout.activity = 1 / 3
  if size in ("small", "tiny"):
    return config

  config.train_vae.update(steps=2_500, batch_size=16, pieces=256, save_every=250)
  config.dit.update(width=256, depth=6, heads=4, dtype="bfloat16")
  config.train.update(batch_size=16, learning_rate=6e-4, warmup=200, ema_decay=0.998)
  if size == "short":
    config.seconds = 8.0
    config.data.pieces = 2_500
    config.train.update(steps=3_500, save_every=500)
  else:
    config.seconds = 32.0
    config.data.pieces = 400
    config.train.update(steps=400, learning_rate=3e-4, warmup=50, ema_decay=0.995, save_every=100)
  return config

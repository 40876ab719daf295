"""What a laptop can train in a few minutes: the same parts, small, on the demo corpus.

    bash launch/quickstart.sh

The autoencoder is the spectral one, which trains some hundred times faster than Oobleck on a CPU.
All abilities are on: any of the eleven stem types, sub-mix, tempo, text and activity.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  config = base.get_config(size)
  config.dropout.activity = 1 / 3
  config.vae = ConfigDict(dict(architecture="spectral", width=256, depth=2, latent=32))
  config.train_vae.update(head_weight=1.0, spectral_weight=0.0)
  if size:
    config.vae.update(width=32, depth=1)
    return config

  config.seconds = 8.0
  config.train_vae.update(
    steps=240,
    batch_size=8,
    samples=24 * 3584,
    pieces=48,
    learning_rate=1e-4,  # it starts from principal components, which a higher rate would undo
    warmup=30,
    betas=(0.9, 0.99),
    weight_decay=0.0,
    ema_decay=0.99,
    save_every=120,
    log_every=20,
  )
  config.data.update(pieces=224, held_out=16, submixes=3)
  config.text = base.learned_text()
  config.text.update(width=96, heads=3, length=80)
  config.dit.update(width=192, depth=4, heads=3, dtype="float32", remat="none")
  config.train.update(
    steps=1_000,
    batch_size=16,
    micro_batches=1,
    learning_rate=1e-3,  # 1e-4 is for a billion parameters and 30 000 steps
    warmup=100,
    ema_decay=0.99,
    held_out_batches=4,
    save_every=500,
    log_every=20,
  )
  return config

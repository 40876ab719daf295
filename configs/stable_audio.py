"""Fine-tunes public Stable Audio Open weights to make stems, with the paper's technique.

    stemphonic bundle import stable-audio DOWNLOADED_FOLDER runs/stable_audio_open
    python -m stemphonic_jax.main --config=configs/stable_audio.py

Its autoencoder (hop 2048), T5 and transformer are taken as they are. Sub-mix, activity and tempo
enter with zero weights, so the first step is the imported model. Adapters of the attention and
feed-forward kernels and the new inputs are trained, all else is frozen; to train everything:
--config.train.lora.rank=0 --config.train.trainable='("*",)'
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  if size == "small":
    raise ValueError("config size: an imported model has a size of its own; leave 'small' out")
  config = base.get_config(size)
  config.init_from = "runs/stable_audio_open"
  config.source = "Stable Audio Open fine-tuned on stems with stemphonic_jax"
  config.text = ConfigDict(dict(encoder="t5", path="", width=768, length=128))
  config.dit.update(memory_width=768, memory_heads=12, timing=True, prediction="v")
  config.dropout.activity = 1 / 3
  config.train.update(
    learning_rate=5e-5,  # Stable Audio's own
    trainable=(
      "*/lora_*",
      "in_*/kernel",
      "activity_embedding/*",
      "tempo_*",
    ),
  )
  config.train.lora.rank = 16
  config.sample.update(steps=50, guidance=5.0, interval=(1, 50))
  if size:
    config.vae.strides = (32, 64)
    config.text.width = config.dit.memory_width = 32
    config.dit.memory_heads = 1
    config.sample.update(steps=4, interval=(2, 3))
    return config

  config.vae.strides = (2, 4, 4, 8, 8)
  config.seconds = 1024 * 2048 / 44_100  # 47.55 s, the window it was trained with
  config.data.pieces = 400
  config.train.update(steps=5_000, batch_size=16, micro_batches=4, ema_decay=0.999, save_every=500)
  return config

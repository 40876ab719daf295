"""The model that comes with the package: all abilities, small enough for two cores.

    bash launch/train_demo.sh                                              # hours on a CPU
    python -m stemphonic_jax.main --config=configs/demo.py:small           # an hour

Any of the eleven stem types, sub-mix, tempo, text and activity, on the demo corpus. It is trained
in runs, each of which starts from what the ones before it leave: the autoencoder of `:short`; its
decoder, on the stems of corpus 2, by `:decoder`, and the envelope of what that makes, by
`:envelope`; `:short` learns what stems of 8 s are, each by itself; `:ensemble` to hear the others,
ordinary sentences and sampled instruments; and the last to fill 32 s.
"""

from ml_collections import ConfigDict

from configs import base

RUNS = ("decoder", "envelope", "short", "ensemble", "")


def get_config(size: str = "") -> ConfigDict:
  config = base.get_config("small" if size in RUNS else size)
  config.dropout.activity = 1 / 3
  # None of these is the paper's. Modulation and Muon halve the steps; beats, and more of the steps
  # where there is little but noise, are what it keeps time by; aligned noise is what its basses
  # agree with the others by (docs/results.md).
  config.dit.modulation = True
  config.dit.most_words = 32.0  # which no caption reaches
  config.dit.beats = True
  config.timestep.mean = 1.0
  config.train.optimizer = "muon"
  config.sample.align_noise = True
  if size != "short":
    base.hear_each_other(config, block=4 if size == "tiny" else 8)
  if size not in RUNS:
    return config

  # Guided where songs are decided, and not at all after that; more would be too loud, and of more
  # steps little is gained (docs/results.md).
  config.sample.update(steps=9, order=2, guidance=1.75, interval=(1, 3))
  config.dit.depth = 6
  config.train_vae.update(
    steps=3_600, batch_size=16, pieces=256, learning_rate=6e-4, decay=600, save_every=300
  )
  if size == "short":
    config.seconds = 8.0
    config.data.pieces = 1_600
    config.train.update(steps=15_000, warmup=200, decay=1_000, ema_decay=0.998, save_every=600)
    return config

  # Captions as people write them have more words, and more of them in a text.
  config.data.corpus = 2
  config.text.update(vocabulary=2048, length=128)
  if size == "decoder":
    config.seconds = 4.0  # of many pieces, rather than more of each; they take 10 GB of memory
    config.train_vae.update(
      only="decoder", steps=3_000, batch_size=64, pieces=1_200, warmup=50, decay=3_000
    )
  elif size == "envelope":
    config.seconds = 4.0
    config.train_vae.update(
      only="envelope", steps=600, pieces=400, learning_rate=2e-3, warmup=50, decay=300
    )
  elif size == "ensemble":
    config.seconds = 8.0
    config.data.pieces = 2_400
    config.text.own_tokenizer = config.sample.own_alignment = True
    config.train.update(
      steps=20_000, learning_rate=7e-4, warmup=50, decay=3_000, ema_decay=0.998, save_every=1_000
    )
  else:
    config.seconds = 32.0
    config.data.pieces = 200
    config.train.update(
      steps=320, learning_rate=5e-4, warmup=20, decay=100, ema_decay=0.98, save_every=160
    )
  return config

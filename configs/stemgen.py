"""StemGen (Parker et al. 2024): a stem of a given type to the sum of others, by unmasking codes.

    python -m stemphonic_jax.main --config=configs/stemgen.py:small

One codec codes stems and sub-mixes alike; the network hears the codes of a sub-mix, is told a type,
and fills in the codes of the stem, level by level. Songs are made stem by stem. Numbers are of the
paper, Sec. 2 and 3; what it leaves open has its reason beside it.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(size: str = "") -> ConfigDict:
  """The full setting, or one with the same parts in the sizes "small" or "tiny"."""
  config = base.of_codes()
  config.system = "stemgen"
  del config.text  # it reads none
  config.seconds = 20.0  # of a crop (Sec. 3), and of the longest song that is made at once
  config.data.segment = 60.0  # seconds of the stretches that crops are drawn from (Sec. 3)
  config.data.update(pieces=30_000, submixes=56)  # 500 hours (Sec. 3); most sub-mixes of a segment
  # The public one of MusicGen (Sec. 3); trained here where no path is given.
  config.codec = ConfigDict({"stems": base.encodec(4)})
  # LLaMA's blocks, 250 M parameters (Sec. 3); half of the width is each channel's.
  config.network = ConfigDict(
    dict(width=1024, depth=20, heads=16, dtype="bfloat16", remat="blocks")
  )
  # How often the context is left out, and the type, each by itself, as guidance by source needs;
  # both on top of that. The paper has no numbers: VampNet's are .2, and .1 for all.
  config.dropout = ConfigDict(dict(conditions=0.2, neither=0.1))
  config.train.update(
    steps=360_000,  # the whole of the rate's three stages; the paper stopped at some 150 000
    batch_size=40,
    micro_batches=1,
    learning_rate=5e-4,
    warmup=10_000,
    decay=300_000,
    decay_to=0.01,  # exponentially, to this share of the rate (fairseq's tri-stage schedule)
    betas=(0.9, 0.999),
    weight_decay=1e-2,  # not in the paper; PyTorch's AdamW
    ema_decay=0.999,
    smoothing=0.0,  # of labels
    save_every=5_000,
  )
  config.sample = ConfigDict(
    dict(
      steps=128,  # of the coarsest level; 64, 32 and 32 of the others, in proportion (Sec. 3.2.1)
      guidance=3.0,  # of the context, and of the type (Sec. 3.2.1)
      weights=(0.1, 0.1, 1.0),  # of confidence, order and chance (Sec. 3.2.1)
      temperature=1.0,
      top_k=0,  # draws from all codes
    )
  )
  if size in ("small", "tiny"):
    _laptop(config)
  if size == "tiny":
    _shrink(config)
  elif size not in ("", "small"):
    raise ValueError(f"config size: got {size!r}, expected nothing, 'small' or 'tiny'")
  return config


def _laptop(config: ConfigDict) -> None:
  """What two cores train within two hours on the demo corpus."""
  config.seconds = 8.0
  config.codec = ConfigDict({"stems": base.spectral_codec(4)})
  config.train_vae = base.codec_fit(48)
  config.data.update(pieces=1_500, held_out=32, segment=16.0, submixes=6)
  config.network.update(width=256, depth=6, heads=8, remat="none")
  config.train.update(
    steps=2_500,
    batch_size=16,
    learning_rate=1e-3,
    warmup=100,
    decay=2_400,
    decay_to=0.0,  # linearly
    ema_decay=0.995,
    smoothing=0.1,  # VampNet's
    held_out_batches=4,
    save_every=500,
  )
  config.sample.steps = 32


def _shrink(config: ConfigDict) -> None:
  """Same parts, small numbers: runs in a minute on two cores."""
  config.seconds = 2.0
  config.codec.stems.update(entries=32, components=8)
  config.train_vae.pieces = 3
  config.data.update(pieces=4, held_out=2, shard=2, segment=3.0, submixes=3)
  config.network.update(width=64, depth=2, heads=2, dtype="float32")
  config.train.update(
    steps=6, batch_size=4, warmup=2, decay=4, held_out_batches=1, save_every=3, log_every=2
  )
  config.sample.steps = 4
  config.generate.songs = 1

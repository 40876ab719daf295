"""MusicGen-Stem (Rouard et al. 2025): bass, drums and other as streams of codes, column by column.

    python -m stemphonic_jax.main --config=configs/musicgen_stem.py:small

A codec for each of the three, one codebook for bass and drums, four for other; a decoder that reads
a text, and in half of the rows a short form of the song without the stems that are to be made anew.
Numbers are of the paper, Sec. III and IV, and of the public code where it has none.
"""

from ml_collections import ConfigDict

from configs import base

LEVELS = {"bass": 1, "drums": 1, "other": 4}  # Sec. III-A


def get_config(size: str = "") -> ConfigDict:
  config = base.of_codes()
  config.system = "musicgen-stem"
  # Seconds of the stretches that songs are cut out of, anywhere; not in the paper.
  config.data.segment = 60.0
  config.codec = ConfigDict({name: base.encodec(levels) for name, levels in LEVELS.items()})
  config.text = ConfigDict(dict(encoder="t5", path="", width=768, length=128))  # t5-base
  # MusicGen's medium.
  config.network = ConfigDict(
    dict(width=1536, depth=48, heads=24, dtype="bfloat16", remat="blocks")
  )
  # How often rows have no text, and no tempo in it.
  config.dropout = ConfigDict(dict(text=0.3, bpm=0.5))
  # The share of rows that are edits (Sec. III-C). Unless `whole`, their song is cut, so that with
  # its short form it is as long as others: 25 of 30 s.
  config.editing = ConfigDict(dict(share=0.5, whole=False))
  config.train.update(
    steps=400_000,
    batch_size=128,
    micro_batches=1,
    learning_rate=1e-4,
    warmup=4_000,
    decay=396_000,  # in a straight line, where the public code has a cosine
    betas=(0.9, 0.95),
    weight_decay=0.1,
    ema_decay=0.999,
    save_every=5_000,
  )
  config.sample = ConfigDict(dict(guidance=3.0, top_k=250, temperature=1.0))
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
  config.codec = ConfigDict({name: base.spectral_codec(levels) for name, levels in LEVELS.items()})
  config.train_vae = base.codec_fit(96)
  config.data.update(pieces=3_000, held_out=32, segment=12.0)
  config.text = _text()
  config.text.update(width=96, heads=3, length=80)
  config.network.update(width=192, depth=6, heads=6, remat="none")
  config.editing.whole = True  # what is cut off is MusicGen's limit of 30 s, not an idea
  config.train.update(
    steps=2_500,
    batch_size=16,
    learning_rate=1e-3,
    warmup=100,
    decay=2_400,
    ema_decay=0.995,
    held_out_batches=4,
    save_every=500,
  )
  config.sample.top_k = 50  # of 512


def _shrink(config: ConfigDict) -> None:
  """Same parts, small numbers: runs in a minute on two cores."""
  config.seconds = 2.0
  for codec in config.codec.values():
    codec.update(entries=32, components=8)
  config.train_vae.pieces = 3
  config.data.update(pieces=4, held_out=2, shard=2, segment=2.5)
  config.text = _text()
  config.text.length = 80
  config.network.update(width=48, depth=2, heads=2, dtype="float32")
  config.train.update(
    steps=6, batch_size=4, warmup=2, decay=4, held_out_batches=1, save_every=3, log_every=2
  )
  config.sample.top_k = 8
  config.generate.songs = 1


def _text() -> ConfigDict:
  """The text encoder that is trained along; what starts from a model keeps that one's tokenizer."""
  text = base.learned_text()
  del text.own_tokenizer
  return text

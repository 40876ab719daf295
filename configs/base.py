"""Every number of the paper's Sec. 4.1, and a reason for each one that the paper leaves open.

The other files change a few lines of this one and are named after the row of the table they stand
for. Append `:small` to shrink any of them to a model that trains within an hour on a laptop, and
shows what the setting does (launch/ablation.sh), or `:tiny` for one minute, to see that it runs:

    python -m stemphonic_jax.main --config=configs/c_ii.py:small
"""

from ml_collections import ConfigDict


def get_config(size: str = "") -> ConfigDict:
  """The full setting, or one with the same parts in the sizes "small" or "tiny"."""
  config = ConfigDict()
  config.system = "stemphonic"  # or another of stemphonic_jax/systems
  config.seed = 0
  config.init_from = ""  # folder of a trained model whose VAE, text side and weights to start from
  config.licence = ""  # of the model: what its training data allows; empty takes that of init_from
  config.source = "trained with stemphonic_jax"  # note in the model: who, on what

  config.sample_rate = 44_100  # Hz, stereo (Sec. 3.1)
  config.seconds = 32.0  # training segment and longest generation (Sec. 4.1)

  # The paper says 12 Hz, 394 frames for 32 s, 64 channels: a hop of 3584 = 2·4·8·8·7 samples gives
  # all three. The rest is Stable Audio's Oobleck, which "similar to Stable Audio Open" points to.
  config.vae = ConfigDict(
    dict(
      architecture="oobleck",
      channels=128,
      multiples=(1, 2, 4, 8, 16),
      strides=(2, 4, 8, 8, 7),
      latent=64,
    )
  )
  # Not in the paper, which cites its VAE; these are Stable Audio's. Its discriminator is in vae.py.
  config.train_vae = ConfigDict(
    dict(
      steps=500_000,
      batch_size=32,
      samples=65_536 - 65_536 % 3584,  # length of a crop, whole frames
      pieces=256,  # pieces of the corpus that crops are cut from
      # With `init_from`: this part alone is trained, on what is decoded in use, stems or mixes: the
      # "decoder" or, of a spectral VAE, the "envelope", which comes last. Latents stay what they
      # are, and so does what was learned of them.
      only="",
      optimizer="adamw",
      learning_rate=1.5e-4,
      warmup=1_000,
      decay=0,
      betas=(0.8, 0.99),
      weight_decay=1e-3,
      clip=1.0,
      kl_weight=1e-4,
      spectral_weight=1.0,  # multi-resolution STFT of mid, side, left and right
      head_weight=0.0,  # log-magnitudes before the inverse STFT; a spectral VAE only
      # An opponent of the decoder, on STFTs of several window lengths (models/discriminator.py).
      discriminator=ConfigDict(
        dict(
          weight=0.0,  # of its verdict on reconstructions, Stable Audio's 0.1; 0 is no opponent
          feature_weight=5.0,  # of how far its features of original and reconstruction are apart
          start=0,  # step from which it is on; before it the autoencoder is trained alone
          filters=64,
          sizes=(2048, 1024, 512, 256, 128),  # of windows, in samples; the hop is a quarter
          stride=1,  # along frequency: 1 is Stable Audio's; 2, Encodec's, is 3 times as fast
          learning_rate=3e-4,
          betas=(0.8, 0.99),
          weight_decay=1e-3,
        )
      ),
      ema_decay=0.999,
      save_every=5_000,
      keep=2,
      keep_best=0,
      log_every=50,
      hang_seconds=600,
    )
  )

  config.data = ConfigDict(
    dict(
      source="demo",  # the procedural teaching corpus; or folder, mixes, musdb, moisesdb, slakh
      corpus=1,  # version of the demo corpus; 2 has captions as people write them
      soundfont="",  # a General-MIDI .sf2 file that plays a share of the demo corpus
      soundfont_share=0.7,
      root="",  # where such a data set is
      records="",  # or a folder that `stemphonic prepare` made, instead of a source
      captions="",  # file of captions, a JSON object with id and caption on each line
      pieces=45_000,  # of the demo corpus: 400 hours of mixes (Sec. 4.2), 32 s of each
      held_out=64,  # further pieces, or mixes of a set without a validation part, to measure on
      tolerance=1.0,  # seconds that the stems of one mix may differ; padded with silence
      estimate_tempo=True,  # by librosa, where a set does not state it
      max_bad=0.01,  # share of unusable mixes above which preparing ends, after its report
      processes=0,  # that read and check files; 0 is one per core
      workers=0,  # processes that make batches; 0 is a thread, which is enough for most
      shard=8,  # mixes to a file of records; what a killed run does again
      submixes=56,  # most sub-mixes to draw of a segment: all of them up to 6 stems, else a sample
      submix="cached",  # sub-mixes are encoded ahead, or "online": before each step, which waits
      posterior="mean",  # of the autoencoder is what is learned, or "sample": draws around it
      whole_mixes=False,  # pre-training: the mix itself is the only target
      group_stems=True,  # Sec. 3.1; off in setting A
      share_noise=True,  # Sec. 3.2; on in setting C only
      # Of an ensemble (dit.ensemble), whose groups are known in any case, also a share between: how
      # much of its noise a row has in common with its group.
      block=0,  # rows that groups of an ensemble lie whole within, as most songs have stems
      # How often an ensemble is given frames: of some stems; of all but a hole in one, or in all.
      known=ConfigDict(dict(given=0.0, repair=0.0, extend=0.0)),
      context_clause_dropout=0.5,  # "randomly dropped out" (Sec. 3.4); one half is our choice
      words_dropout=0.5,  # of a stem's own words in its prompt; they are not in the paper
    )
  )

  # T5-XXL embeddings are 4096 wide (Sec. 4.1); 128 tokens as in Stable Audio Open.
  # `path` is a folder as Hugging Face has them (google/t5-v1_1-xxl): config.json, safetensors,
  # spiece.model. Every prompt is embedded once, when the records are made.
  config.text = ConfigDict(dict(encoder="t5", path="", width=4096, length=128))

  # A billion parameters "similar to Stable Audio Open": its 24 blocks of width 1536.
  config.dit = ConfigDict(
    dict(
      width=1536,
      depth=24,
      heads=24,
      activity_channels=16,  # Sec. 3.3
      modulation=False,  # of the blocks by time, tempo and text (models/dit.py); not in the paper
      # With it and text that is learned: a sum over words is bounded by so many of the longest
      # word's vector. 0 is 7, which captions of version 2 of the corpus exceed, for older runs.
      most_words=0.0,
      ensemble=False,  # stems of a group hear each other (models/stems.py); not in the paper
      beats=False,  # positions in beats beside those in frames (models/layers.py); not in the paper
      # Of products, though float32 on a CPU that would emulate it (models/machine.py); parameters,
      # optimiser and sums are float32.
      dtype="bfloat16",
      remat="blocks",  # computed again in the backward pass; or "products" (all but these), "none"
    )
  )

  # Each condition is dropped by itself 1/3 of the time (Sec. 4.1). Activity is never given in
  # Tables 1 and 2; c_ii_act (Table 3) gives it like the others.
  config.dropout = ConfigDict(dict(text=1 / 3, bpm=1 / 3, context=1 / 3, activity=1.0))

  # μ and σ of Eq. 1 are not in the paper; 0 and 1 are those of Esser et al. [25].
  config.timestep = ConfigDict(dict(mean=0.0, std=1.0))

  # Over 0: the model in `init_from` is its own teacher, and learns to do in so many unguided steps
  # what it does in `of` guided ones (training/losses/distilled.py). Not in the paper.
  config.distil = ConfigDict(dict(to=0, of=32, guidance=3.0, interval=(1, 16)))

  config.train = ConfigDict(
    dict(
      steps=30_000,
      batch_size=512,  # 16K seconds of 32 s stems
      micro_batches=2,  # 32 stems a GPU on 8 GPUs, twice
      optimizer="adamw",  # or "muon", of which the paper knows nothing
      learning_rate=1e-4,  # constant
      warmup=0,
      decay=0,  # steps at the end in which the rate falls to zero
      betas=(0.9, 0.999),
      weight_decay=1e-3,  # Stable Audio's; not in the paper
      clip=1.0,  # not in the paper; usual for transformers
      ema_decay=0.9999,  # not in the paper; Stable Audio keeps an average too
      trainable=(
        "*",
      ),  # patterns of the paths of parameters that train; the others stay as they are
      lora=ConfigDict(
        dict(
          rank=0,  # over 0: adapters of this rank, which then have to be among `trainable`
          kernels=("blocks/*_attention/*/kernel", "blocks/feed_forward/*/kernel"),
        )
      ),
      held_out_batches=4,
      save_every=1_000,
      keep=2,  # newest checkpoints
      keep_best=0,  # more, those with the lowest held-out loss; to go back to one, remove the newer
      log_every=20,
      hang_seconds=600,  # without a step, after which the run ends itself, to be started again
    )
  )

  # Devices as data x fsdp x tensor (training/distributed/mesh.py); -1 is what the others leave.
  # Parameters are whole on each of the first, cut up over the others.
  config.mesh = ConfigDict(dict(data=-1, fsdp=1, tensor=1))

  # 32 Euler steps, guidance 3.0 on all conditions at steps 3 to 28 (Sec. 4.1).
  config.sample = ConfigDict(
    dict(
      steps=32,
      order=1,  # or 2, of Adams and Bashforth, which needs fewer; not in the paper
      guidance=3.0,
      interval=(3, 28),
      share_noise=True,
      noise_share=1.0,  # of its variance, that a stem has in common where it is; not in the paper
      align_noise=False,  # or turned for each type (data/batching/alignment.py); not in the paper
      own_alignment=False,  # by this run's records; off, turned as the model it starts from does
    )
  )
  config.generate = ConfigDict(dict(songs=4))  # of --mode=generate, from held-out captions

  if size == "small":
    _laptop(config)
  elif size == "tiny":
    _shrink(config)
  elif size:
    raise ValueError(f"config size: got {size!r}, expected nothing, 'small' or 'tiny'")
  return config


def hear_each_other(config: ConfigDict, block: int = 8) -> None:
  """Setting D: attention between the stems of a group, and a mask of known frames.

  Most groups have up to six stems; those of more than `block` are cut.
  """
  config.dit.ensemble = True
  # A noise for each stem in training, one for all in songs: with shared noise a stem would read its
  # answer off the others (losses/velocity.py).
  with config.ignore_type():  # a share, where other settings have a switch
    config.data.share_noise = 0.0
  config.data.block = block
  config.data.known.update(given=1 / 4, repair=1 / 4, extend=1 / 8)
  config.dropout.activity = 1 / 3


def of_codes() -> ConfigDict:
  """What systems that generate codes have in common, and no sections that these do not read."""
  config = get_config()
  for name in ("vae", "dit", "dropout", "timestep", "distil", "sample"):
    del config[name]
  for name in ("lora", "trainable"):
    del config.train[name]
  config.data = ConfigDict({name: value for name, value in config.data.items() if name in CODED})
  config.sample_rate = 32_000  # Hz, of one channel
  config.seconds = 30.0
  config.train_vae = codec_training(config.train_vae)
  return config


def codec_training(section: ConfigDict) -> ConfigDict:
  """How an EnCodec is trained, from a VAE's `train_vae`: MusicGen's numbers, but for the balance.

  The public code scales each loss by its gradient; these weights are those of EnCodec's paper.
  """
  names = ("kl_weight", "head_weight", "only")
  section = ConfigDict({name: value for name, value in section.items() if name not in names})
  section.update(
    steps=400_000,
    batch_size=64,
    samples=32_000,  # of a crop
    learning_rate=3e-4,
    warmup=0,
    betas=(0.5, 0.9),
    weight_decay=0.0,
    commitment_weight=1.0,  # of how far latents are from their entries
    waveform_weight=0.1,  # of the mean difference of samples
    spectral_weight=1.0,
    ema_decay=0.99,
  )
  section.discriminator.update(
    weight=3.0, feature_weight=3.0, filters=32, stride=2, betas=(0.5, 0.9), weight_decay=0.0
  )
  return section


def codec_fit(pieces: int) -> ConfigDict:
  """What a light codec is fitted to: pieces of the corpus; of sets on disk, crops of `samples`."""
  return ConfigDict(dict(pieces=pieces, samples=64_000))


# Of `data`, what is read for any system.
CODED = (
  "source", "corpus", "soundfont", "soundfont_share", "root", "records", "captions", "pieces",
  "held_out", "tolerance", "estimate_tempo", "max_bad", "processes", "workers", "shard",
)  # fmt: skip


def encodec(levels: int) -> ConfigDict:
  """MusicGen's EnCodec: 50 columns a second, of codes below 2048; `path` is a folder of one."""
  sizes = dict(filters=64, latent=128, levels=levels, entries=2048, padding="reflect")
  return ConfigDict(dict(architecture="encodec", path="", **sizes))


def spectral_codec(levels: int) -> ConfigDict:
  """The light codec, which is fitted in seconds (models/spectral_codec.py)."""
  sizes = dict(levels=levels, entries=512, components=48)
  return ConfigDict(dict(architecture="spectral", path="", **sizes))


def learned_text() -> ConfigDict:
  """The embedded text encoder, trained along with the DiT on a tokenizer of the corpus' prompts."""
  numbers = dict(vocabulary=1024, width=64, depth=1, heads=2, length=96)
  # With `init_from`: a tokenizer of this run's prompts, whose tokens begin as what they are spelt
  # from there; off, the one that is there.
  return ConfigDict(dict(encoder="learned", own_tokenizer=False, **numbers))


def spectral_vae() -> ConfigDict:
  """The light autoencoder, which trains some hundred times faster than Oobleck on a CPU."""
  stft = dict(size=3584, stride=896, stacked=4, resolution=72)
  return ConfigDict(dict(architecture="spectral", width=384, depth=3, latent=64, **stft))


def _laptop(config: ConfigDict) -> None:
  """What two cores train within an hour on the demo corpus: fewer, shorter, narrower."""
  config.seconds = 16.0  # long enough for stems to enter and leave
  config.vae = spectral_vae()
  config.train_vae.update(
    steps=400,
    batch_size=8,
    samples=24 * 3584,
    pieces=64,
    learning_rate=3e-4,
    warmup=100,
    betas=(0.9, 0.99),
    weight_decay=0.0,
    head_weight=1.0,
    spectral_weight=0.0,
    ema_decay=0.995,
    save_every=200,
    log_every=20,
  )
  # Where it is on (vae.py): a step with it takes some 10 times as long as one without.
  config.train_vae.discriminator.update(filters=8, sizes=(1024, 256), stride=2, start=350)
  config.data.update(pieces=1_000, held_out=32, submixes=3)
  config.text = learned_text()
  config.text.update(width=96, heads=3, length=80)
  config.dit.update(width=128, depth=4, heads=2, remat="none")
  config.train.update(
    steps=1_500,
    batch_size=16,
    micro_batches=1,
    learning_rate=1e-3,  # 1e-4 is for a billion parameters and 30 000 steps
    warmup=100,
    ema_decay=0.995,
    held_out_batches=4,
    save_every=750,
    log_every=20,
  )


def _shrink(config: ConfigDict) -> None:
  """Same parts, small numbers: every setting runs in a minute on two cores."""
  config.seconds = 4.0
  config.vae.update(channels=4, multiples=(1, 2), strides=(64, 56), latent=8)
  config.train_vae.update(
    steps=6, batch_size=2, samples=4 * 3584, pieces=3, warmup=2, save_every=3, log_every=2
  )
  config.train_vae.discriminator.update(filters=4, sizes=(512, 128), stride=2)
  config.data.update(pieces=4, held_out=2, submixes=4, shard=2)
  config.text = learned_text()
  config.dit.update(width=64, depth=2, heads=2, dtype="float32", remat="none")
  config.train.update(steps=6, batch_size=8, held_out_batches=1, save_every=3, log_every=2)
  config.sample.update(steps=4, interval=(2, 3))
  config.generate.songs = 1

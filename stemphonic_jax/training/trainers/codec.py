"""Trains a codec on waveforms: its networks by gradient, its codebooks by following them."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from stemphonic_jax.data.batching.crops import Kind
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.flow import named_key
from stemphonic_jax.models import quantiser
from stemphonic_jax.models.encodec import EnCodec
from stemphonic_jax.training.inputs.codes import codec_folder
from stemphonic_jax.training.losses.codec import (
  AVERAGES,
  adversarial_codec_loss,
  codec_loss,
  codec_params,
  following,
)
from stemphonic_jax.training.trainers import rebuilding, stage
from stemphonic_jax.weights.codec import CodecWeights, save_codec

FOLDER = "codec_training"  # of a workdir, with a folder for each codec
NETWORKS = ("encoder/*", "decoder/*")
ROWS = 8  # crops at once that are encoded for the start
WEIGHTS = ("commitment_weight", "waveform_weight", "spectral_weight")


def train(
  config: ConfigDict,
  workdir: Path,
  name: str,
  codec: EnCodec,
  open_mixes: Callable[[], tuple[Sequence[Mix], Sequence[Mix]]],
  kinds: Sequence[Kind] = ("stem",),
) -> None:
  """Trains up to `config.train_vae.steps` and writes the averaged codec to `workdir/codecs/name`.

  It hears crops of the first of the mixes, the mean of their channels, and is measured on the
  others. Codebooks begin as clusters of what the untrained encoder makes of the first crops.
  Continues from the newest checkpoint in `workdir/codec_training/name` where there is one.
  """
  c, folder = config.train_vae, workdir / FOLDER / name
  if stage.is_done(folder, c.steps):
    return
  run_key = named_key(jax.random.key(config.seed), f"codec {name}")
  weights = {name: c[name] for name in WEIGHTS} | {"rate": config.sample_rate}
  d = c.discriminator
  about = {"source": config.source, "licence": config.licence}

  def rebuild(learned: Any, audio: jax.Array) -> jax.Array:
    return codec.apply({"params": codec_params(learned)}, audio[..., 0])[..., None]

  def keep(learned: Any) -> None:
    found = CodecWeights(codec, codec_params(learned), config.sample_rate)
    save_codec(codec_folder(workdir, name), found, about)

  rebuilding.train(
    folder,
    config,
    rebuilding.Learner(
      name="codec",
      trainable=NETWORKS,
      make=Partial(functools.partial(_begin, codec, c.batch_size), run_key),
      starts_from_waveforms=True,
      loss=codec_loss(codec, **weights),
      contest=lambda opponent: adversarial_codec_loss(
        codec, opponent, weight=d.weight, feature_weight=d.feature_weight, **weights
      ),
      channels=1,
      hear=lambda mix: mix.audio().mean(-1, dtype=np.float32, keepdims=True),
      rebuild=rebuild,
      keep=keep,
      follow=following(codec),
    ),
    open_mixes,
    kinds,
    run_key,
  )


@functools.partial(jax.jit, static_argnums=(0, 1))  # traced once for its shapes and its state
def _begin(codec: EnCodec, rows: int, key: jax.Array, waveforms: jax.Array) -> dict[str, Any]:
  """Networks as they are drawn, and the averages of codebooks that fit what these encode.

  They weigh as if a batch of so many `rows` had been seen: with the weight of all waveforms they
  would lag behind the encoder.
  """
  audio = jnp.mean(waveforms, -1)
  params = codec.init(named_key(key, "init"), audio[:1, : codec.hop])["params"]
  encode = functools.partial(codec.apply, {"params": params}, method="latents")
  latents = jax.lax.map(lambda row: encode(row[None])[0], audio, batch_size=ROWS)
  vectors = latents.reshape(-1, codec.latent)
  found = quantiser.fit(named_key(key, "codebooks"), vectors, codec.levels, codec.entries)
  found = jax.tree.map(lambda average: average * (rows / len(audio)), found)
  return {"encoder": params["encoder"], "decoder": params["decoder"], AVERAGES: found}

"""The codecs of a run: taken from elsewhere, fitted, or trained."""

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from stemphonic_jax.audio.activity import THRESHOLD_DBFS
from stemphonic_jax.audio.files import write_wav
from stemphonic_jax.audio.folders import whole_folder
from stemphonic_jax.audio.levels import dbfs
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.data.taxonomy import MIX
from stemphonic_jax.errors import DataError
from stemphonic_jax.flow import named_key
from stemphonic_jax.models import spectral_codec
from stemphonic_jax.models.encodec import EnCodec
from stemphonic_jax.models.spectral_codec import SpectralCodec
from stemphonic_jax.training.distributed import cluster
from stemphonic_jax.training.inputs.codes import codec_folder, codecs_at_hand, codecs_of
from stemphonic_jax.training.inputs.corpora import waveforms
from stemphonic_jax.training.trainers import codec
from stemphonic_jax.weights.architecture import CODEC
from stemphonic_jax.weights.codec import (
  CONFIG,
  WEIGHTS,
  Codec,
  CodecWeights,
  save_codec,
)

# What of a mix a codec of that name is to hear: waveforms [samples, 2].
Heard = Callable[[str, Mix], Sequence[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Sounds:
  """What a codec is made for: pieces to make it with and others, and what of a piece it hears."""

  corpus: Callable[[], tuple[Sequence[Mix], Sequence[Mix]]]
  heard: Callable[[Mix], Sequence[np.ndarray]]


def train(config: ConfigDict, workdir: Path, heard: Heard) -> None:
  """Leaves each codec of `config.codec` in `workdir/codecs`; one that is there stays as it is.

  One with a `path` is a copy of that codec, and with `init_from` the others are that model's; all
  that are taken are compared with the config before one is copied or made. A spectral codec is
  fitted to `train_vae.pieces` pieces of the corpus, in seconds and without a gradient; an EnCodec
  is trained (codec.py), until there are records of its codes. A held-out piece as each gives it
  back is left beside them.
  """

  @functools.cache  # composed or found once, for all codecs
  def corpus() -> tuple[Sequence[Mix], Sequence[Mix]]:
    hop = next(iter(codecs_of(config).values())).hop
    return waveforms(config, workdir / "records", hop)

  at_hand = cluster.one_by_one(functools.partial(codecs_at_hand, config, workdir))
  for name, model in codecs_of(config).items():
    if config.codec[name].path or config.init_from:
      _take(config, workdir, name, at_hand[name])
    else:
      sounds = Sounds(corpus, functools.partial(heard, name))
      TRAINERS[type(model)](config, workdir, name, model, sounds)
    cluster.wait(f"codec {name}")


def _is_there(workdir: Path, name: str) -> bool:
  """Whether there is a codec of that name, which then stays as it is."""
  folder = codec_folder(workdir, name)
  found = cluster.one_by_one((folder / CONFIG).is_file)
  if found:
    logging.info("%s: is there already", folder)
  return found


def _take(config: ConfigDict, workdir: Path, name: str, weights: CodecWeights) -> None:
  """A copy of the codec that the config names, or else of that of the model to start from."""
  if _is_there(workdir, name) or not cluster.is_first():
    return
  if not config.codec[name].path:
    save_codec(codec_folder(workdir, name), weights, {"licence": config.licence})
    return
  source = Path(config.codec[name].path)
  with whole_folder(codec_folder(workdir, name)) as folder:
    for file in (CONFIG, WEIGHTS):
      shutil.copyfile(source / file, folder / file)


def _fitted(config: ConfigDict, workdir: Path, name: str, model: CODEC, sounds: Sounds) -> None:
  """A codec of principal components and k-means."""
  if _is_there(workdir, name) or not cluster.is_first():
    return
  pieces, unseen = sounds.corpus()
  chosen = np.linspace(0, len(pieces) - 1, min(config.train_vae.pieces, len(pieces))).astype(int)
  found = [audio for i in chosen for audio in sounds.heard(pieces[i])]
  sounding = [audio.mean(1) for audio in found if dbfs(audio) >= THRESHOLD_DBFS]
  frames = sum(len(audio) for audio in sounding) // model.hop
  if frames <= model.entries:
    raise DataError(
      f"codec {name!r}: {len(chosen)} pieces have {frames} frames of it, expected more than its"
      f" {model.entries} entries; take more (train_vae.pieces), or fewer entries"
    )
  silence = np.zeros_like(sounding[0])  # which it has to give back as well
  key = named_key(jax.random.key(config.seed), f"codec {name}")
  params = spectral_codec.fit(model, key, jnp.asarray(np.stack([*sounding, silence])))
  about = {"licence": config.licence, "source": config.source}
  weights = CodecWeights(model, jax.device_get(params), config.sample_rate)
  save_codec(codec_folder(workdir, name), weights, about)
  logging.info("codec %s: fitted to %.0f s", name, frames * model.hop / config.sample_rate)
  loudest = max((audio for piece in unseen for audio in sounds.heard(piece)), key=dbfs)
  preview(Codec(weights), loudest, codec_folder(workdir, "previews"), name)


def preview(codec: Codec, audio: np.ndarray, folder: Path, name: str) -> None:
  """Writes a waveform, and what a codec makes of it, as NAME.wav and NAME_coded.wav."""
  folder.mkdir(parents=True, exist_ok=True)
  mono = np.ascontiguousarray(audio.mean(1))
  coded = codec.decode(codec.encode(mono, codec.rate))[: len(mono)]
  for label, wave in ((name, mono), (f"{name}_coded", coded)):
    write_wav(folder / f"{label}.wav", np.stack([wave, wave], 1), codec.rate)


def _learned(config: ConfigDict, workdir: Path, name: str, model: CODEC, sounds: Sounds) -> None:
  """A codec that is trained on crops of what it is to hear."""
  if cluster.one_by_one((workdir / "records" / "train").exists) and _is_there(workdir, name):
    return

  def open_mixes() -> tuple[Sequence[Mix], Sequence[Mix]]:
    pieces, unseen = cluster.one_by_one(sounds.corpus)
    return _Heard(pieces, sounds.heard), _Heard(unseen, sounds.heard)

  codec.train(config, workdir, name, model, open_mixes)


@dataclass(frozen=True, eq=False)
class _Heard(Sequence):
  """Pieces whose stems are what a codec is to hear of them."""

  pieces: Sequence[Mix]
  heard: Callable[[Mix], Sequence[np.ndarray]]

  def __len__(self) -> int:
    return len(self.pieces)

  def __getitem__(self, index: int) -> Mix:
    mix = self.pieces[index]
    sounds = self.heard(mix)
    return replace(mix, stems={str(i): Stem(MIX, audio) for i, audio in enumerate(sounds)})


TRAINERS = {SpectralCodec: _fitted, EnCodec: _learned}

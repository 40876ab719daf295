"""MusicGen-Stem: codecs of bass, drums and other, and a transformer that writes their codes."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from stemphonic_jax import door
from stemphonic_jax.data.batching.records import Segment, open_unseen
from stemphonic_jax.data.preparing.parts import InParts, in_parts
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.generation.musicgen_stem import TYPES, MusicGenStem
from stemphonic_jax.generation.song import Song
from stemphonic_jax.systems import codes as of_codes
from stemphonic_jax.systems import held_out, numbers
from stemphonic_jax.systems.codes import compile_for
from stemphonic_jax.training.inputs import codes, streams, text
from stemphonic_jax.training.inputs.prepare import records_of
from stemphonic_jax.weights.code_bundle import load_code_bundle

__all__ = ["compile_for"]

FOLDER = "musicgen"


def check(config: ConfigDict) -> None:
  """UsageError for numbers of a config that no stage could use."""
  from stemphonic_jax.training.plan.codes import musicgen_of

  numbers.check(config)
  codes.in_segments(config)
  musicgen_of(config)


def check_places(config: ConfigDict, workdir: Path, stages: Sequence[str]) -> None:
  """Errors for what a config names on disk and a new run could not use."""
  of_codes.check_places(config, workdir, stages)
  if "prepare" in stages:
    text.check_reader(config, workdir)


def train_vae(config: ConfigDict, workdir: Path) -> None:
  """Waveforms → a codec for each of bass, drums and other."""
  from stemphonic_jax.training.trainers import codecs

  def heard(name: str, mix: Mix) -> list[np.ndarray]:
    return [in_parts(mix).stems[name].audio]

  codecs.train(config, workdir, heard)


def prepare(config: ConfigDict, workdir: Path) -> None:
  """Mixes → records of the codes of bass, drums and other."""
  found = codes.load_codecs(config, workdir)
  # All three parts are always there, also where they are silent.
  logging.info("stems become bass, drums and other, the sum of the rest; what is sung is left out")
  longer = codes.in_segments(config)
  codes.prepare(longer, workdir, found, streams.encoder(found), InParts, audible=0.0)
  text.prepare(
    config, workdir, records_of(config, workdir), streams.training_texts, streams.texts_of
  )


def train(config: ConfigDict, workdir: Path, preview: Callable[[int, Path], None]) -> None:
  """Records → the transformer that writes their codes."""
  from stemphonic_jax.training.trainers import musicgen

  musicgen.train(config, workdir, preview)


def songs(config: ConfigDict, workdir: Path, model: Path, out: Path, count: int) -> None:
  """Songs from the captions, parts and tempi of held-out pieces, as `held_out.songs`."""
  folder = records_of(config, workdir)
  # With T5 the texts are among those that were embedded, so it is not loaded beside a training.
  frozen = text.reader(config, workdir, folder)[1] if config.text.encoder == "t5" else None
  pipe = MusicGenStem(load_code_bundle(model), frozen)

  def song(piece: Segment) -> Song:
    return pipe.generate(
      piece.caption,
      stems=[TYPES[part] for part in itertools.compress(piece.types, piece.audible)],
      bpm=None if math.isnan(piece.bpm) else piece.bpm,
      seed=config.seed,
      guidance=config.sample.guidance,
    )

  held_out.songs(open_unseen(folder), song, out, count)


def describe(config: ConfigDict) -> str:
  """The table of parameters, and what a training step takes."""
  from stemphonic_jax.training.plan.codes import describe_musicgen

  door.pass_over_tpus()
  return describe_musicgen(config)

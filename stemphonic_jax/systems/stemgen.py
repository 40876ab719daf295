"""StemGen: one codec, and a network that fills in the codes of a stem to those of a sub-mix."""

import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from stemphonic_jax import door
from stemphonic_jax.data.batching.records import Segment, open_unseen
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.generation.limits import MAX_STEMS
from stemphonic_jax.generation.song import Song
from stemphonic_jax.systems import held_out, numbers
from stemphonic_jax.systems.codes import check_places, compile_for
from stemphonic_jax.training.inputs import codes
from stemphonic_jax.training.inputs.prepare import records_of

__all__ = ["check_places", "compile_for"]

FOLDER = "stemgen"


def check(config: ConfigDict) -> None:
  """UsageError for numbers of a config that no stage could use."""
  from stemphonic_jax.training.plan.codes import stemgen_of

  numbers.check(config)
  codes.in_segments(config)
  stemgen_of(config)


def train_vae(config: ConfigDict, workdir: Path) -> None:
  """Waveforms → a codec of stems and sub-mixes."""
  from stemphonic_jax.training.trainers import codecs

  codecs.train(config, workdir, lambda name, mix: heard(mix))


def heard(mix: Mix) -> list[np.ndarray]:
  """What the codec is to code: each stem, and sums of two, three, … and all of them."""
  stems = [stem.audio for stem in mix.stems.values()]
  return [*stems, *list(itertools.accumulate(stems, np.add))[1:]]


def prepare(config: ConfigDict, workdir: Path) -> None:
  """Mixes → records of the codes of their stems and sub-mixes."""
  found = codes.load_codecs(config, workdir)
  codes.prepare(
    codes.in_segments(config), workdir, found, codes.encoder(*found.values()),
    submixes=config.data.submixes,
  )  # fmt: skip


def train(config: ConfigDict, workdir: Path, preview: Callable[[int, Path], None]) -> None:
  """Records → the network that fills in codes."""
  from stemphonic_jax.training.trainers import stemgen

  stemgen.train(config, workdir, preview)


def songs(config: ConfigDict, workdir: Path, model: Path, out: Path, count: int) -> None:
  """Songs of the stem types of held-out pieces, with their captions as titles."""
  from stemphonic_jax.generation.stemgen import StemGenPipeline
  from stemphonic_jax.weights.code_bundle import load_code_bundle

  ask = functools.partial(StemGenPipeline(load_code_bundle(model)).generate, seed=config.seed)

  def song(piece: Segment) -> Song:
    return ask(piece.caption, list(itertools.compress(piece.types, piece.audible))[:MAX_STEMS])

  held_out.songs(open_unseen(records_of(config, workdir)), song, out, count)


def describe(config: ConfigDict) -> str:
  """The table of parameters, tokens, and what a training step takes."""
  from stemphonic_jax.training.plan.codes import describe_stemgen

  door.pass_over_tpus()
  return describe_stemgen(config)

"""Stemphonic: an autoencoder, its latents, and a diffusion transformer of all stems of a song."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import logging
from ml_collections import ConfigDict

from stemphonic_jax import door
from stemphonic_jax.data.batching.records import Segment, open_unseen
from stemphonic_jax.generation.song import Song
from stemphonic_jax.systems import held_out, numbers
from stemphonic_jax.training.distributed import cluster

FOLDER = "dit"


def check(config: ConfigDict) -> None:
  """UsageError for numbers of a config that no stage could use."""
  from stemphonic_jax.training.losses import setting
  from stemphonic_jax.training.plan import describe as plan
  from stemphonic_jax.training.trainers import vae

  vae.check(config)
  numbers.check(config)
  setting.check(config)
  plan.network(config)


def check_places(config: ConfigDict, workdir: Path, stages: Sequence[str]) -> None:
  """Errors for records, a model or a T5 that a config names and a new run could not use."""
  from stemphonic_jax.training.inputs import corpora, prepare, start, text
  from stemphonic_jax.training.plan import describe as plan
  from stemphonic_jax.training.trainers import dit, vae
  from stemphonic_jax.weights.architecture import build_vae

  prepare.check_records(config, build_vae(config.vae).hop)
  if "train" in stages:
    plan.abstract_state(config, plan.network(config))  # names patterns that fit no parameter
    start.check_start(config)
    dit.check_teacher(config)
  own = vae.find_start(config)
  if own and config.data.records:
    prepare.check_autoencoder(Path(config.data.records), own)
  if "prepare" in stages:
    text.check_reader(config, workdir)
  if not config.data.records:
    corpora.check_set(config)
  if "train" in stages:
    numbers.check_rows(config)


def train_vae(config: ConfigDict, workdir: Path) -> None:
  """Waveforms → autoencoder. Once there are records of its latents, it stays as it is."""
  from stemphonic_jax.training.trainers import vae

  if cluster.one_by_one((workdir / "records" / "train").exists):
    logging.info("%s holds records, so its autoencoder is not trained further", workdir)
    return
  vae.train(config, workdir)


def prepare(config: ConfigDict, workdir: Path) -> None:
  """Mixes → records of latents."""
  from stemphonic_jax.training.inputs import prepare as stage

  stage.prepare(config, workdir)


def train(config: ConfigDict, workdir: Path, preview: Callable[[int, Path], None]) -> None:
  """Records → diffusion transformer."""
  from stemphonic_jax.training.trainers import dit

  dit.train(config, workdir, preview)


def songs(config: ConfigDict, workdir: Path, model: Path, out: Path, count: int) -> None:
  """Songs from the captions, stem types and tempi of held-out pieces, as `held_out.songs`."""
  from stemphonic_jax.generation.pipeline import StemPipeline
  from stemphonic_jax.training.inputs import text
  from stemphonic_jax.training.inputs.prepare import records_of
  from stemphonic_jax.weights.bundle import load_bundle

  folder = records_of(config, workdir)
  # With T5 the prompts are among those that were embedded, so it is not loaded beside a training.
  frozen = config.text.encoder == "t5"
  pipe = StemPipeline(
    load_bundle(model), text.reader(config, workdir, folder)[1] if frozen else None
  )
  ask = functools.partial(
    pipe.generate,
    seed=config.seed,
    steps=config.sample.steps,
    guidance=config.sample.guidance,
    share_noise=config.sample.share_noise,
  )

  def song(piece: Segment) -> Song:
    return ask(
      piece.caption,
      # Once each: two stems of one type have one prompt, and would be one stem.
      stems=list(dict.fromkeys(itertools.compress(piece.types, piece.audible))),
      bpm=None if math.isnan(piece.bpm) else piece.bpm,
    )

  held_out.songs(open_unseen(folder), song, out, count)


def describe(config: ConfigDict) -> str:
  """The table of parameters, and what a training step takes on some machines."""
  from stemphonic_jax.training.plan import describe as stage

  door.pass_over_tpus()
  return stage.describe(config)


def compile_for(config: ConfigDict, topology: str) -> str:
  """What XLA says of a training step and a generation on a slice of TPUs."""
  from stemphonic_jax.training.plan import compile as stage

  stage.set_up()
  return stage.report(config, topology)

"""Trains MusicGen-Stem's transformer on records of codes of bass, drums and other."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from grain import DatasetIterator
from jax.tree_util import Partial
from ml_collections import ConfigDict

from stemphonic_jax.data.batching import songs, walk
from stemphonic_jax.data.batching.records import open_unseen
from stemphonic_jax.flow import named_key
from stemphonic_jax.models.dit import for_this_machine
from stemphonic_jax.training.distributed import cluster, mesh
from stemphonic_jax.training.inputs import text
from stemphonic_jax.training.inputs.codes import codec_folder, codecs_of, load_codecs, open_coded
from stemphonic_jax.training.inputs.prepare import records_of
from stemphonic_jax.training.losses.codes import loss_of
from stemphonic_jax.training.plan import cost
from stemphonic_jax.training.plan.codes import musicgen_flops
from stemphonic_jax.training.run import loop, state
from stemphonic_jax.training.run.optimizer import build_optimizer
from stemphonic_jax.training.trainers import stage
from stemphonic_jax.weights.architecture import frames_of
from stemphonic_jax.weights.code_bundle import TEXT_ENCODER, save_code_bundle
from stemphonic_jax.weights.networks import build_musicgen, init_musicgen
from stemphonic_jax.weights.t5 import open_text_encoder


def train(config: ConfigDict, workdir: Path, preview: Callable[[int, Path], None]) -> None:
  """Trains up to `config.train.steps`, from the newest checkpoint in `workdir` where there is one.

  At every save the averaged model is written to `workdir/model`, and `preview(step, model folder)`
  makes of it whatever shows how far the run is.
  """
  c, place = config.train, workdir / "musicgen"
  if stage.is_done(place, c.steps):
    return
  codecs, models = load_codecs(config, workdir), codecs_of(config)
  frames = frames_of(config.seconds, config.sample_rate, next(iter(models.values())).hop)
  folder = records_of(config, workdir)
  records = open_coded(folder / "train", codecs, frames)
  unseen = open_coded(open_unseen(folder).directory, codecs, frames)
  if unseen.directory == records.directory:
    logging.warning("no mix is held out: held_out_loss is that of mixes that are trained on")
  tokenizer, encode_text = text.reader(config, workdir, folder)
  described = config.text.to_dict() | {"vocabulary": len(tokenizer)}
  model = for_this_machine(build_musicgen(config.network, described, models))
  if jnp.dtype(model.dtype).name != config.network.dtype:
    logging.info("products in float32, because this CPU would emulate %s", config.network.dtype)
  loss, length = loss_of(config, model, models, frames)
  optimizer, devices = build_optimizer(c), mesh.make_mesh(**config.mesh)
  mesh.check_rows(devices, c.batch_size, c.micro_batches)
  run_key = jax.random.key(config.seed)
  options = dict(
    levels=[codec.levels for codec in models.values()],
    batch_size=c.batch_size,
    seed=config.seed,
    tempo_dropout=config.dropout.bpm,
    host=cluster.host(),
    hosts=cluster.hosts(),
  )
  held_out = walk.first(
    songs.batches(unseen, encode_text, shuffle=False, **options), c.held_out_batches
  )
  placed = [mesh.spread(devices, loop.arrays(batch)) for batch in held_out]
  measure = functools.partial(stage.held_out_loss, jax.jit(loss), placed, run_key)

  def open_batches(position: int) -> DatasetIterator[tuple[int, dict]]:
    workers = config.data.workers
    return songs.batches(records, encode_text, start=position, workers=workers, **options)

  def export(params: Any) -> None:
    parts = ("system", "sample_rate", "seconds", "network", "sample", "source", "editing")
    content = {name: config.to_dict()[name] for name in parts}
    # Of what requests may ask: the tempo is part of the text, and nothing says when stems play.
    content["dropout"] = {"text": config.dropout.text, "bpm": 0.0, "context": 0.0, "activity": 1.0}
    content |= {"text": described, "whole_mixes": False, "types": ["other"]}
    content["sample"] |= {"steps": 1, "share_noise": True}
    content["licence"] = config.licence or records.index.notes.get("licence", "")
    if config.data.source == "demo":  # what to measure it on (evaluation/songs/trained.py)
      share = config.data.soundfont_share if config.data.soundfont else 0.0
      content["corpus"] = {"version": config.data.corpus, "soundfont_share": share}
    frozen = workdir / TEXT_ENCODER
    save_code_bundle(
      workdir / "model",
      content,
      params=params,
      codecs={name: codec_folder(workdir, name) for name in models},
      tokenizer=tokenizer,
      text_encoder=open_text_encoder(frozen) if frozen.exists() else None,
    )

  def show(current: state.TrainState) -> None:
    params = cluster.gather(current.model)
    if cluster.is_first():
      export(params)
      loop.attempt(preview, int(current.step), workdir / "model")

  def create(key: jax.Array) -> state.TrainState:
    return state.create(init_musicgen(model, key), {}, optimizer)

  create = Partial(create, named_key(run_key, "init"))
  shapes = state.abstract(create, devices)
  stage.run(
    place,
    config,
    c,
    create,
    state.train_step(loss, optimizer, ema_decay=c.ema_decay, micro_batches=c.micro_batches),
    open_batches,
    mesh=devices,
    run_key=run_key,
    evaluate=lambda current: measure(current.model),
    show=show,
    seconds_per_step=c.batch_size * config.seconds,
    flops_per_step=3
    * c.batch_size
    * musicgen_flops(model, shapes.params, length, config.text.length),
    peak=cost.peak(jax.devices()),
  )

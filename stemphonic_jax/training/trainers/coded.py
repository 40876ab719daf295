"""What trainings of networks over codes share: the records of a run, its loop, what it leaves."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from grain import DatasetIterator
from jax.tree_util import Partial
from ml_collections import ConfigDict

from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.data.batching import walk
from stemphonic_jax.data.batching.records import Records, open_unseen
from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.errors import MismatchError
from stemphonic_jax.flow import named_key
from stemphonic_jax.models.dit import Network, for_this_machine
from stemphonic_jax.training.distributed import cluster, mesh
from stemphonic_jax.training.inputs.codes import (
  codec_folder,
  codecs_of,
  fingerprints,
  load_codecs,
  open_coded,
)
from stemphonic_jax.training.inputs.prepare import records_of
from stemphonic_jax.training.inputs.start import origin, start_codes
from stemphonic_jax.training.plan import cost
from stemphonic_jax.training.run import loop, state
from stemphonic_jax.training.run.optimizer import build_optimizer
from stemphonic_jax.training.trainers import stage
from stemphonic_jax.weights.architecture import CODEC
from stemphonic_jax.weights.code_bundle import CodeBundle, save_code_bundle
from stemphonic_jax.weights.codec import Codec, CodecWeights
from stemphonic_jax.weights.known import NETWORK, TEXT_ENCODER
from stemphonic_jax.weights.t5 import open_text_encoder
from stemphonic_jax.weights.tensors import check_params


@dataclass(frozen=True, eq=False)
class Run:
  """A training that is to be done: where, with which codecs, on which records, from what model."""

  config: ConfigDict
  workdir: Path
  name: str
  models: Mapping[str, CODEC]
  records: Records
  unseen: Records
  start: CodeBundle | None


def open_run(config: ConfigDict, workdir: Path, name: str, seconds: float) -> Run | None:
  """The run in `workdir/name`, whose records have segments of `seconds`; None where it is done.

  MismatchError for records of other codecs or lengths, or a start of another system or codec.
  """
  if stage.is_done(workdir / name, config.train.steps):
    return None
  codecs, models = load_codecs(config, workdir), codecs_of(config)
  frames = frames_of(seconds, config.sample_rate, next(iter(models.values())).hop)
  folder = records_of(config, workdir)
  records = open_coded(folder / "train", codecs, frames)
  unseen = open_coded(open_unseen(folder).directory, codecs, frames)
  if unseen.directory == records.directory:
    logging.warning("no mix is held out: held_out_loss is that of mixes that are trained on")
  start = start_codes(config)
  check_codecs(start, codecs)
  return Run(config, workdir, name, models, records, unseen, start)


def check_codecs(start: CodeBundle | None, codecs: Mapping[str, Codec | CodecWeights]) -> None:
  """MismatchError where a model to start from writes codes of other codecs than the run's."""
  ours = fingerprints(codecs)
  for name, codec in start.codecs.items() if start else ():
    if ours.get(name) != codec.fingerprint:
      raise MismatchError(
        f"init_from: {start.directory} was trained with another codec {name!r} than this run has;"
        f" leave out codec.{name}.path, and begin in a new workdir"
      )


def here(config: ConfigDict, network: Network) -> Network:
  """The network with its products in the type that this machine is fast in."""
  network = for_this_machine(network)
  if jnp.dtype(network.dtype).name != config.network.dtype:
    logging.info("products in float32, because this CPU would emulate %s", config.network.dtype)
  return network


def train(
  run: Run,
  init: Callable[[jax.Array], Any],
  loss: state.Loss,
  batches: Callable[..., DatasetIterator],
  content: Mapping[str, Any],
  preview: Callable[[int, Path], None],
  *,
  flops: Callable[[Any], float],
  tokenizer: Tokenizer | None = None,
) -> None:
  """Trains what `init` makes of a key up to `config.train.steps`, from the newest checkpoint.

  Where the run starts from a model, that model's parameters take the place of those.
  `batches` are those of a source of records, `flops` those of a row in the forward pass, `content`
  what the model's config says beside what all say. At every save the averaged model is written to
  `workdir/model`, and `preview(step, model folder)` makes of it whatever shows how far the run is.
  """
  config, workdir, c = run.config, run.workdir, run.config.train
  optimizer, devices = build_optimizer(c), mesh.make_mesh(**config.mesh)
  mesh.check_rows(devices, c.batch_size, c.micro_batches)
  run_key = jax.random.key(config.seed)
  options = dict(
    batch_size=c.batch_size, seed=config.seed, host=cluster.host(), hosts=cluster.hosts()
  )
  held_out = walk.first(batches(run.unseen, shuffle=False, **options), c.held_out_batches)
  placed = [mesh.spread(devices, loop.arrays(batch)) for batch in held_out]
  measure = functools.partial(stage.held_out_loss, jax.jit(loss), placed, run_key)

  def open_batches(position: int) -> DatasetIterator[tuple[int, dict]]:
    return batches(run.records, start=position, workers=config.data.workers, **options)

  def show(current: state.TrainState) -> None:
    params = cluster.gather(current.model)
    if cluster.is_first():
      _export(run, params, content, tokenizer)
      loop.attempt(preview, int(current.step), workdir / "model")

  create = initial(run.start, init, optimizer, named_key(run_key, "init"))
  shapes = state.abstract(create, devices)
  stage.run(
    workdir / run.name,
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
    flops_per_step=3 * c.batch_size * flops(shapes.params),
    peak=cost.peak(jax.devices()),
  )


def initial(
  start: CodeBundle | None,
  init: Callable[[jax.Array], Any],
  optimizer: optax.GradientTransformation,
  key: jax.Array,
) -> Callable[[], state.TrainState]:
  """What makes the state to begin with; MismatchError where a model to start from is another."""

  def create(params: Any) -> state.TrainState:
    return state.create(params, {}, optimizer)

  if not start:
    return Partial(lambda key: create(init(key)), key)
  check_params(start.directory / NETWORK, start.params, jax.eval_shape(init, key))
  return Partial(create, start.params)  # on disk still


def _export(run: Run, params: Any, content: Mapping[str, Any], tokenizer: Tokenizer | None) -> None:
  """Writes `workdir/model`, the folder that generates."""
  config, workdir = run.config, run.workdir
  parts = ("system", "sample_rate", "seconds", "network", "sample")
  said = {name: config.to_dict()[name] for name in parts} | {"whole_mixes": False}
  said |= origin(config, run.records.index.notes, run.start)
  frozen = workdir / TEXT_ENCODER
  save_code_bundle(
    workdir / "model",
    {**said, **content},
    params=params,
    codecs={name: codec_folder(workdir, name) for name in run.models},
    tokenizer=tokenizer,
    text_encoder=open_text_encoder(frozen) if tokenizer and frozen.exists() else None,
    made_from=[run.start.directory] if run.start else [],
  )

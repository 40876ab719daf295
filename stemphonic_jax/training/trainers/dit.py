"""Trains the diffusion transformer on records of grouped stems (Sec. 2 and 3)."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from flax import traverse_util
from jax.tree_util import Partial
from ml_collections import ConfigDict

from stemphonic_jax.data.batching import pipeline
from stemphonic_jax.data.batching.alignment import Turns, align
from stemphonic_jax.data.batching.grouping import Known
from stemphonic_jax.data.batching.records import Records, Statistics, open_records, open_unseen
from stemphonic_jax.data.preparing.segments import Encode
from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.errors import MismatchError, UsageError
from stemphonic_jax.flow import named_key
from stemphonic_jax.models.dit import DiT, for_this_machine
from stemphonic_jax.models.lora import add_lora, merge_lora
from stemphonic_jax.training.distributed import cluster, mesh
from stemphonic_jax.training.inputs import text
from stemphonic_jax.training.inputs.prepare import encoder, load_vae, records_of
from stemphonic_jax.training.inputs.start import origin, start_file, start_model
from stemphonic_jax.training.losses import distilled, setting
from stemphonic_jax.training.plan import cost
from stemphonic_jax.training.run import loop, state
from stemphonic_jax.training.run.optimizer import build_optimizer
from stemphonic_jax.training.trainers import stage
from stemphonic_jax.weights.architecture import build_dit, build_vae, dit_shapes, grow, init_dit
from stemphonic_jax.weights.bundle import Bundle, save_bundle
from stemphonic_jax.weights.known import TEXT_ENCODER
from stemphonic_jax.weights.signed import MANIFEST
from stemphonic_jax.weights.t5 import open_text_encoder
from stemphonic_jax.weights.tensors import check_params, open_tensors


def train(config: ConfigDict, workdir: Path, preview: Callable[[int, Path], None]) -> None:
  """Trains up to `config.train.steps`, from the newest checkpoint in `workdir` where there is one.

  At every save the averaged model is written to `workdir/model`, and `preview(step, model folder)`
  makes of it whatever shows how far the run is.
  """
  c = config.train
  if stage.is_done(workdir / "dit", c.steps):
    return
  start = start_model(config)
  setting.check(config)
  check_teacher(config)
  folder = records_of(config, workdir)
  tokenizer, encode_text = text.reader(config, workdir, folder)
  records = open_records(folder / "train")
  described = config.text.to_dict() | {"vocabulary": len(tokenizer)}
  frame_rate = config.sample_rate / build_vae(config.vae).hop
  dit = for_this_machine(build_dit(config.dit, described, records.index.channels, frame_rate))
  if jnp.dtype(dit.dtype).name != config.dit.dtype:
    logging.info("products in float32, because this CPU would emulate %s", config.dit.dtype)
  block = config.data.block
  if dit.ensemble:
    dit = dit.clone(rows=block)
  loss = setting.loss_of(config, dit)
  optimizer = build_optimizer(c)
  devices = mesh.make_mesh(**config.mesh)
  mesh.check_rows(devices, c.batch_size, c.micro_batches, max(block, 1))
  run_key = jax.random.key(config.seed)

  # A model's weights belong to latents standardised as it learned them.
  statistics = start.statistics if start else records.index.statistics
  options = dict(
    statistics=statistics,
    batch_size=c.batch_size,
    seed=config.seed,
    group_stems=config.data.group_stems,
    share_noise=bool(config.data.share_noise or dit.ensemble),
    clause_dropout=config.data.context_clause_dropout,
    words_dropout=config.data.words_dropout,
    block=block,
    known=Known(**config.data.known) if dit.ensemble else None,
    host=cluster.host(),
    hosts=cluster.hosts(),
  )

  @functools.cache  # at the first save, or before a distillation
  def turns() -> Turns | None:
    if not config.sample.align_noise:
      return None
    if start and start.turns and not config.sample.get("own_alignment"):
      return start.turns
    return align(records, statistics)

  encode = _encode_submixes(config, workdir, statistics)
  if config.distil.to and turns():  # of the noise that songs begin with
    encode = functools.partial(_turned, encode, turns())
  place = functools.partial(mesh.spread, devices)
  unseen = open_unseen(folder)
  if unseen.directory == records.directory:
    logging.warning("no mix is held out: held_out_loss is that of mixes that are trained on")
  held_out = pipeline.held_out(unseen, encode_text, count=c.held_out_batches, **options)
  measure = functools.partial(
    stage.held_out_loss,
    jax.jit(loss),
    [place(loop.arrays(encode(batch))) for batch in held_out],
    run_key,
  )

  def open_batches(position: int) -> Iterator[tuple[int, dict]]:
    walk = pipeline.batches(
      records, encode_text, start=position, workers=config.data.workers, **options
    )
    with contextlib.closing(walk) as batches:
      for following, batch in batches:
        yield following, encode(batch)

  def show(current: state.TrainState) -> None:
    params = cluster.gather(current.model)
    if cluster.is_first():
      params = params[distilled.STUDENT] if config.distil.to else params
      _export(config, workdir, params, tokenizer, records, start, turns())
      loop.attempt(preview, int(current.step), workdir / "model")

  create = _initial(config, dit, start, tokenizer, optimizer, named_key(run_key, "init"))
  shapes = state.abstract(create, devices)
  frames, tokens = records.index.frames, config.text.length
  stage.run(
    workdir / "dit",
    config,
    c,
    create,
    state.train_step(
      loss,
      optimizer,
      ema_decay=c.ema_decay,
      micro_batches=c.micro_batches,
      block=max(block, 1),
    ),
    open_batches,
    mesh=devices,
    run_key=run_key,
    evaluate=lambda current: measure(current.model),
    show=show,
    seconds_per_step=c.batch_size * config.seconds,
    stems_per_step=c.batch_size,
    flops_per_step=_step_flops(
      config, dit, shapes, rows=c.batch_size, frames=frames, tokens=tokens
    ),
    peak=cost.peak(jax.devices()),
  )


def check_teacher(config: ConfigDict) -> None:
  """UsageError where a run is to learn from a model that has no transformer."""
  if config.distil.to and not start_file(config, MANIFEST):
    raise UsageError(f"distil.to: {config.init_from} has no transformer to learn from")


def encode_submixes(
  encode: Encode, statistics: Statistics, batch: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """A batch whose contexts came as waveforms, with their latents as records would hold them."""
  batch = dict(batch)
  submixes = batch.pop("submixes", None)
  submix_of = batch.pop("submix_of", None)
  if submixes is not None:
    means, _ = encode(submixes)
    latents = statistics.standardize(means.astype(np.float16))
    given = submix_of >= 0
    batch["context"] = batch["context"].copy()
    batch["context"][given] = latents[submix_of[given]]
  return batch


def _initial(
  config: ConfigDict,
  dit: DiT,
  start: Bundle | None,
  tokenizer: Tokenizer,
  optimizer: optax.GradientTransformation,
  key: jax.Array,
) -> Callable[[], state.TrainState]:
  """What makes the state to begin with: fresh, or of the model that the run starts from.

  MismatchError where that model is another; UsageError where a pattern of the config fits nothing.
  """
  c = config.train

  def begin(make: Callable[[], Any]) -> state.TrainState:
    teacher = params = make()
    trainable = c.trainable
    if c.lora.rank:
      params = add_lora(params, named_key(key, "lora"), c.lora.rank, c.lora.kernels)
    if config.distil.to:
      params = {distilled.STUDENT: params, distilled.TEACHER: teacher}
      trainable = [f"{distilled.STUDENT}/{pattern}" for pattern in trainable]
    return state.create(*state.split(params, trainable), optimizer)

  make = Partial(functools.partial(init_dit, dit), key)
  if start:
    _check_same(start, dit)
    same = dit.clone(ensemble=dit.ensemble and start.dit.ensemble)  # an ensemble may start there
    params = start.dit_params  # on disk still
    if config.text.get("own_tokenizer") and start.tokenizer.model != tokenizer.model:
      params = text.respell(params, start.tokenizer, tokenizer)
    check_params(start.directory / "dit.safetensors", params, dit_shapes(same))
    make = Partial(functools.partial(grow, dit, key), params)
  try:
    jax.eval_shape(begin, make)
  except ValueError as error:
    raise UsageError(f"train: {error}") from None
  return Partial(begin, make)


def _step_flops(config: ConfigDict, dit: DiT, shapes: state.TrainState, **sizes: int) -> float:
  """The arithmetic of a training step, also of one with a teacher."""
  if not config.distil.to:
    return cost.step_flops(dit, shapes, **sizes)
  own = shapes.replace(
    params=shapes.params[distilled.STUDENT], frozen=shapes.frozen.get(distilled.STUDENT, {})
  )
  c = config.distil
  return distilled.passes(c.to, c.of, c.interval) * cost.step_flops(dit, own, **sizes)


def _turned(
  encode: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]],
  turns: Turns,
  batch: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """A batch, encoded, with the rotation of each row's noise; a type without one keeps its own."""
  same = np.eye(batch["latents"].shape[-1], dtype=np.float32)
  return encode(batch) | {"turns": np.stack([turns.get(kind, same) for kind in batch["type"]])}


def _encode_submixes(
  config: ConfigDict, workdir: Path, statistics: Statistics
) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
  """`encode_submixes` with the run's autoencoder, which is loaded where a batch first needs it."""

  @functools.cache
  def load() -> Encode:
    return encoder(build_vae(config.vae), load_vae(config, workdir / "vae.safetensors"))

  return functools.partial(encode_submixes, lambda audio: load()(audio), statistics)


def _check_same(start: Bundle, dit: DiT) -> None:
  """MismatchError where the model to start from computes something else from equal shapes."""
  different = [
    f"{name} {getattr(start.dit, name)} instead of {getattr(dit, name)}"
    for name in ("heads", "memory_heads", "timing", "prediction", "frame_rate")
    if getattr(start.dit, name) != getattr(dit, name)
  ]
  if different:
    raise MismatchError(f"init_from: {start.directory} has dit.{', dit.'.join(different)}")


def _export(
  config: ConfigDict,
  workdir: Path,
  params: Any,
  tokenizer: Tokenizer,
  records: Records,
  start: Bundle | None,
  turns: Turns | None,
) -> None:
  """Writes `workdir/model`, the folder that generates; adapters become part of their kernels."""
  parts, notes = ("sample_rate", "seconds", "vae", "dit", "dropout", "sample"), records.index.notes
  content = {name: config.to_dict()[name] for name in parts} | origin(config, notes, start)
  content["whole_mixes"] = config.data.whole_mixes
  content["types"] = notes.get("types", [])
  content["text"] = config.text.to_dict() | {"vocabulary": len(tokenizer)}
  for part, own in (("text", "own_tokenizer"), ("sample", "own_alignment")):
    content[part].pop(own, None)  # which says nothing of the model
  text_encoder = workdir / TEXT_ENCODER
  save_bundle(
    workdir / "model",
    content,
    # As the file has them, since records know by its bytes which autoencoder they are from.
    vae_params=traverse_util.unflatten_dict(open_tensors(workdir / "vae.safetensors"), sep="/"),
    dit_params=merge_lora(params),
    tokenizer=tokenizer,
    statistics=start.statistics if start else records.index.statistics,
    turns=turns,
    text_encoder=open_text_encoder(text_encoder) if text_encoder.exists() else None,
    made_from=[start.directory] if start else [],
  )

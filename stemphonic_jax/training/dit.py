"""Trains the diffusion transformer on records of grouped stems (Sec. 2 and 3)."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from stemphonic_jax.data import pipeline
from stemphonic_jax.data.records import Records, open_records
from stemphonic_jax.data.text import Tokenizer
from stemphonic_jax.errors import UsageError
from stemphonic_jax.flow import flow_loss, interpolate, logit_normal, named_key, shared_noise
from stemphonic_jax.models.conditioning import Conditions, drop_conditions
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.training import loop, mesh, state
from stemphonic_jax.training.checkpoints import Checkpoints, reached
from stemphonic_jax.training.metrics import MetricsLog
from stemphonic_jax.training.prepare import load_vae, start_file
from stemphonic_jax.weights.architecture import build_dit, init_dit
from stemphonic_jax.weights.bundle import save_bundle
from stemphonic_jax.weights.tensors import load_params

TIME_BUCKETS = 4  # the loss is also logged for each quarter of t


def velocity_loss(
  dit: DiT, *, dropout: Mapping[str, float], time_mean: float, time_std: float
) -> state.Loss:
  """The loss of Eq. 1 on a batch as data/pipeline.py makes it, plus `row`, a unique id per row."""

  def loss(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    x = batch["latents"]
    noise = shared_noise(named_key(key, "noise"), batch["group"], x.shape[1:])
    t = logit_normal(named_key(key, "time"), batch["row"], time_mean, time_std)
    conditions = drop_conditions(
      named_key(key, "dropout"), batch["row"], conditions_of(batch), dropout
    )
    velocity = dit.apply({"params": params}, interpolate(x, noise, t), t, conditions)
    losses = flow_loss(velocity, x, noise)
    return jnp.mean(losses), _by_time(losses, t)

  return loss


def conditions_of(batch: Mapping[str, Any]) -> Conditions:
  """The conditions among the arrays of a batch."""
  return Conditions(
    text=batch["tokens"],
    text_mask=batch["mask"],
    bpm=batch["bpm"],
    context=batch["context"],
    activity=batch["activity"],
  )


def _by_time(losses: jax.Array, t: jax.Array) -> state.Sums:
  """Sums of the losses in each quarter of t, with the number of rows there."""
  bucket = jnp.floor(t * TIME_BUCKETS).astype(jnp.int32)
  sums = {}
  for i in range(TIME_BUCKETS):
    inside = (bucket == i).astype(losses.dtype)
    name = f"loss_t_{i / TIME_BUCKETS:.2f}_{(i + 1) / TIME_BUCKETS:.2f}"
    sums[name] = jnp.sum(losses * inside), jnp.sum(inside)
  return sums


def train(config: ConfigDict, workdir: Path, preview: Callable[[int, Path], None]) -> None:
  """Trains up to `config.train.steps`, from the newest checkpoint in `workdir` where there is one.

  At every save the averaged model is written to `workdir/model`, and `preview(step, model folder)`
  makes of it whatever shows how far the run is.
  """
  c = config.train
  if reached(workdir / "dit" / "checkpoints", c.steps):
    logging.info("diffusion transformer: trained for %d steps already", c.steps)
    return
  if config.text.encoder != "learned":
    raise UsageError(
      f"text.encoder {config.text.encoder!r}: the records hold tokens and no embeddings, so only"
      f" 'learned' can be trained; take a `:tiny` config or set `text` as configs/demo.py does"
    )
  tokenizer = Tokenizer.load(workdir / "tokenizer.model")
  records = open_records(workdir / "records" / "train")
  dit = build_dit(
    config.dit, config.text.to_dict() | {"vocabulary": len(tokenizer)}, records.index.channels
  )
  loss = velocity_loss(
    dit,
    dropout=config.dropout.to_dict(),
    time_mean=config.timestep.mean,
    time_std=config.timestep.std,
  )
  optimizer = state.adamw(
    c.learning_rate, clip=c.clip, warmup=c.warmup, betas=c.betas, weight_decay=c.weight_decay
  )
  devices = mesh.data_mesh()
  mesh.check_rows(devices, c.batch_size, c.micro_batches)
  run_key = jax.random.key(config.seed)

  options = dict(
    statistics=records.index.statistics,
    batch_size=c.batch_size,
    text_length=config.text.length,
    seed=config.seed,
    group_stems=config.data.group_stems,
    share_noise=config.data.share_noise,
    clause_dropout=config.data.context_clause_dropout,
  )
  place = functools.partial(_place, devices)
  unseen = open_records(workdir / "records" / "held_out")
  held_out = pipeline.held_out(unseen, tokenizer, count=c.held_out_batches, **options)
  measure = functools.partial(
    held_out_loss, jax.jit(loss), [place(batch) for batch in held_out], run_key
  )

  def evaluate(current: state.TrainState) -> state.Metrics:
    _export(config, workdir, dit, current.ema, tokenizer, records)
    preview(int(current.step), workdir / "model")
    return measure(current.ema)

  fresh = state.create(_initial(config, dit, named_key(run_key, "init")), optimizer)
  with (
    contextlib.closing(pipeline.batches(records, tokenizer, **options)) as batches,
    contextlib.closing(Checkpoints(workdir / "dit" / "checkpoints")) as checkpoints,
    MetricsLog(
      workdir / "dit",
      steps=c.steps,
      seconds_per_step=c.batch_size * config.seconds,
      every=c.log_every,
    ) as log,
  ):
    loop.run(
      mesh.replicate(devices, fresh),
      state.train_step(loss, optimizer, ema_decay=c.ema_decay, micro_batches=c.micro_batches),
      batches,
      checkpoints,
      log,
      run_key=run_key,
      steps=c.steps,
      save_every=c.save_every,
      place=place,
      evaluate=evaluate,
    )


def held_out_loss(
  loss: state.Loss, batches: list[dict], key: jax.Array, params: Any
) -> state.Metrics:
  """The loss over fixed batches with fixed noise and times: equal parameters, equal numbers."""
  results = [
    loss(params, batch, jax.random.fold_in(named_key(key, "held out"), i))
    for i, batch in enumerate(batches)
  ]
  values, sums = zip(*results, strict=True)
  total = jax.tree.map(lambda *parts: sum(parts), *sums)
  metrics = {"loss": sum(values) / len(values)} | state.means(total)
  return {f"held_out_{name}": value for name, value in metrics.items()}


def _place(devices: jax.sharding.Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
  """A batch on the devices, with the id of each row."""
  rows = np.arange(len(batch["group"]), dtype=np.int32)
  return mesh.spread(devices, {**batch, "row": rows})


def _initial(config: ConfigDict, dit: DiT, key: jax.Array) -> Any:
  """Fresh parameters, or those of the model in `config.init_from` (pre-training, Sec. 2)."""
  init = functools.partial(init_dit, dit)
  if start := start_file(config, "dit.safetensors"):
    return load_params(start, jax.eval_shape(init, key))
  return jax.jit(init)(key)


def _export(
  config: ConfigDict,
  workdir: Path,
  dit: DiT,
  params: Any,
  tokenizer: Tokenizer,
  records: Records,
) -> None:
  """Writes `workdir/model`, the folder that generates."""
  parts = ("sample_rate", "seconds", "vae", "dit", "dropout", "sample")
  content = {name: config.to_dict()[name] for name in parts}
  content["whole_mixes"] = config.data.whole_mixes
  content["text"] = config.text.to_dict() | {"vocabulary": len(tokenizer)}
  save_bundle(
    workdir / "model",
    content,
    vae_params=load_vae(config, workdir / "vae.safetensors"),
    dit_params=params,
    tokenizer=tokenizer,
    statistics=records.index.statistics,
  )

"""Trains the autoencoder on waveforms: crops of stems, sub-mixes and mixes."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from grain import DatasetIterator
from jax.tree_util import Partial
from ml_collections import ConfigDict

from stemphonic_jax.audio.figures import spectrogram_figure
from stemphonic_jax.audio.files import write_wav
from stemphonic_jax.data.crops import Crops, crops
from stemphonic_jax.flow import named_key
from stemphonic_jax.models.principal import principal_start
from stemphonic_jax.models.spectral import Spectral
from stemphonic_jax.training import cluster, loop, mesh, state
from stemphonic_jax.training.checkpoints import Checkpoints, reached
from stemphonic_jax.training.corpora import waveforms
from stemphonic_jax.training.guard import Guard
from stemphonic_jax.training.identity import lasting
from stemphonic_jax.training.metrics import MetricsLog
from stemphonic_jax.training.prepare import check_records, load_vae
from stemphonic_jax.training.spectral_loss import stereo_spectral_loss
from stemphonic_jax.training.start import start_file
from stemphonic_jax.training.vae_loss import vae_loss
from stemphonic_jax.weights.architecture import VAE, build_vae, init_vae
from stemphonic_jax.weights.tensors import save_params

HELD_OUT_CROPS = 8
START_CROPS = 128  # that a spectral autoencoder's linear start is computed from


def train(config: ConfigDict, workdir: Path) -> None:
  """Trains up to `config.train_vae.steps` and writes the averaged `workdir/vae.safetensors`.

  Continues from the newest checkpoint in `workdir/vae` where there is one; with `config.init_from`
  the autoencoder there is taken as it is. At every save a held-out piece, original and
  reconstruction, is left in `workdir/vae/previews`.
  """
  c = config.train_vae
  check_records(config, build_vae(config.vae).hop)
  if reached(workdir / "vae" / "checkpoints", c.steps):
    logging.info("autoencoder: trained for %d steps already", c.steps)
    return
  if start := start_file(config, "vae.safetensors"):
    if cluster.is_first():
      save_params(workdir / "vae.safetensors", load_vae(config, start))
    cluster.wait("autoencoder")
    return
  vae = build_vae(config.vae)
  devices = mesh.make_mesh(**config.mesh)
  mesh.check_rows(devices, c.batch_size, 1)
  run_key = named_key(jax.random.key(config.seed), "vae")
  loss = reconstruction_loss(
    vae,
    kl_weight=c.kl_weight,
    head_weight=c.head_weight,
    spectral_weight=c.spectral_weight,
    rate=config.sample_rate,
  )
  optimizer = state.adamw(
    c.learning_rate, clip=c.clip, warmup=c.warmup, betas=c.betas, weight_decay=c.weight_decay
  )

  pieces, unseen = cluster.one_by_one(
    functools.partial(waveforms, config, workdir / "records", vae.hop)
  )
  cut = functools.partial(crops, samples=c.samples, seed=config.seed)
  held_out = _first(cut(unseen, batch_size=HELD_OUT_CROPS, ahead=1))
  measure = jax.jit(loss)
  reconstruct = jax.jit(lambda params, audio: vae.apply({"params": params}, audio))

  def evaluate(current: state.TrainState) -> state.Metrics:
    value, sums = measure(current.ema, held_out, named_key(run_key, "held out"))
    metrics = {"loss": value} | state.means(sums)
    return {f"held_out_{name}": metric for name, metric in metrics.items()}

  def show(current: state.TrainState) -> None:
    params = cluster.gather(current.ema)
    if cluster.is_first():
      save_params(workdir / "vae.safetensors", params)
      preview(int(current.step), params)

  def preview(step: int, params: Any) -> None:
    original = unseen[0].audio()
    rebuilt = np.asarray(reconstruct(params, original[None]))[0, : len(original)]
    folder = workdir / "vae" / "previews" / f"step_{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = {"original": original, "reconstruction": rebuilt}
    for name, audio in rows.items():
      write_wav(folder / f"{name}.wav", audio, config.sample_rate)
    spectrogram_figure(folder / "spectrograms.png", rows, config.sample_rate)

  def create(sample: jax.Array | None) -> state.TrainState:
    params = init_vae(vae, named_key(run_key, "init"))
    if sample is not None:
      params = principal_start(vae, params, sample)
    return state.create(params, {}, optimizer)

  def open_batches(start: int) -> DatasetIterator[tuple[int, Crops]]:
    hosts = dict(host=cluster.host(), hosts=cluster.hosts())
    return cut(pieces, batch_size=c.batch_size, start=start, **hosts)

  linear = isinstance(vae, Spectral)
  sample = (
    jnp.asarray(_first(cut(pieces, batch_size=START_CROPS, ahead=1))["audio"]) if linear else None
  )
  with (
    contextlib.closing(
      Checkpoints(
        workdir / "vae" / "checkpoints",
        keep=c.keep,
        keep_best=c.keep_best,
        fingerprint=lasting(config),
      )
    ) as checkpoints,
    MetricsLog(
      workdir / "vae",
      steps=c.steps,
      seconds_per_step=c.batch_size * c.samples / config.sample_rate,
      every=c.log_every,
    ) as log,
  ):
    loop.run(
      Partial(create, sample),
      state.train_step(loss, optimizer, ema_decay=c.ema_decay),
      open_batches,
      checkpoints,
      log,
      mesh=devices,
      run_key=run_key,
      steps=c.steps,
      save_every=c.save_every,
      place=functools.partial(mesh.spread, devices),
      evaluate=evaluate,
      show=show,
      guard=Guard(workdir / "vae", c.hang_seconds),
    )


def _first(batches: DatasetIterator[tuple[int, Crops]]) -> Crops:
  """The first batch, without the names of its mixes."""
  with contextlib.closing(batches):
    return loop.arrays(next(batches)[1])


def reconstruction_loss(
  vae: VAE, *, kl_weight: float, head_weight: float, spectral_weight: float, rate: int
) -> state.Loss:
  """The autoencoder's loss on a batch of waveforms, with its parts as metrics."""
  waveform: dict[str, tuple[float, Callable]] = {}
  if spectral_weight:
    waveform["spectral"] = spectral_weight, functools.partial(stereo_spectral_loss, rate=rate)

  def loss(params: Any, batch: dict, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    value, parts = vae_loss(
      vae,
      params,
      batch["audio"],
      key,
      kl_weight=kl_weight,
      head_weight=head_weight,
      waveform=waveform,
    )
    return value, {name: (part, jnp.ones(())) for name, part in parts.items() if name != "loss"}

  return loss

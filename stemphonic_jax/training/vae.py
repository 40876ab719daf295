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
from ml_collections import ConfigDict

from stemphonic_jax.audio.figures import spectrogram_figure
from stemphonic_jax.audio.files import write_wav
from stemphonic_jax.data.crops import crops
from stemphonic_jax.flow import named_key
from stemphonic_jax.models.principal import principal_start
from stemphonic_jax.models.spectral import Spectral
from stemphonic_jax.training import loop, mesh, state
from stemphonic_jax.training.checkpoints import Checkpoints, reached
from stemphonic_jax.training.corpora import waveforms
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
    save_params(workdir / "vae.safetensors", load_vae(config, start))
    return
  vae = build_vae(config.vae)
  devices = mesh.data_mesh()
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

  pieces, unseen = waveforms(config, workdir / "records", vae.hop)
  cut = functools.partial(crops, samples=c.samples, seed=config.seed)
  held_out = next(cut(unseen, batch_size=HELD_OUT_CROPS))
  measure = jax.jit(loss)
  reconstruct = jax.jit(lambda params, audio: vae.apply({"params": params}, audio))

  def evaluate(current: state.TrainState) -> state.Metrics:
    save_params(workdir / "vae.safetensors", current.ema)
    original = unseen[0].audio()
    rebuilt = np.asarray(reconstruct(current.ema, original[None]))[0, : len(original)]
    folder = workdir / "vae" / "previews" / f"step_{int(current.step):06d}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = {"original": original, "reconstruction": rebuilt}
    for name, audio in rows.items():
      write_wav(folder / f"{name}.wav", audio, config.sample_rate)
    spectrogram_figure(folder / "spectrograms.png", rows, config.sample_rate)
    value, sums = measure(current.ema, held_out, named_key(run_key, "held out"))
    metrics = {"loss": value} | state.means(sums)
    return {f"held_out_{name}": metric for name, metric in metrics.items()}

  params = jax.jit(functools.partial(init_vae, vae))(named_key(run_key, "init"))
  if isinstance(vae, Spectral):
    sample = next(cut(pieces, batch_size=START_CROPS))
    params = jax.jit(functools.partial(principal_start, vae))(params, sample)
  with (
    contextlib.closing(cut(pieces, batch_size=c.batch_size)) as batches,
    contextlib.closing(Checkpoints(workdir / "vae" / "checkpoints")) as checkpoints,
    MetricsLog(
      workdir / "vae",
      steps=c.steps,
      seconds_per_step=c.batch_size * c.samples / config.sample_rate,
      every=c.log_every,
    ) as log,
  ):
    loop.run(
      mesh.replicate(devices, state.create(params, {}, optimizer)),
      state.train_step(loss, optimizer, ema_decay=c.ema_decay),
      batches,
      checkpoints,
      log,
      run_key=run_key,
      steps=c.steps,
      save_every=c.save_every,
      place=functools.partial(mesh.spread, devices),
      evaluate=evaluate,
    )


def reconstruction_loss(
  vae: VAE, *, kl_weight: float, head_weight: float, spectral_weight: float, rate: int
) -> state.Loss:
  """The autoencoder's loss on a batch of waveforms, with its parts as metrics."""
  waveform: dict[str, tuple[float, Callable]] = {}
  if spectral_weight:
    waveform["spectral"] = spectral_weight, functools.partial(stereo_spectral_loss, rate=rate)

  def loss(params: Any, audio: jax.Array, key: jax.Array) -> tuple[jax.Array, state.Sums]:
    value, parts = vae_loss(
      vae, params, audio, key, kl_weight=kl_weight, head_weight=head_weight, waveform=waveform
    )
    return value, {name: (part, jnp.ones(())) for name, part in parts.items() if name != "loss"}

  return loss

"""Trains the autoencoder on waveforms: crops of stems, sub-mixes and mixes."""

import contextlib
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from grain import DatasetIterator
from jax.tree_util import Partial
from ml_collections import ConfigDict

from stemphonic_jax.audio.figures import spectrogram_figure
from stemphonic_jax.audio.files import check_samples, write_wav
from stemphonic_jax.data.batching.crops import KINDS, Crops, Kind, crops
from stemphonic_jax.errors import UsageError
from stemphonic_jax.flow import named_key
from stemphonic_jax.models.discriminator import Discriminator, init_discriminator
from stemphonic_jax.models.principal import principal_start
from stemphonic_jax.models.spectral import Spectral
from stemphonic_jax.training.distributed import cluster, mesh
from stemphonic_jax.training.inputs.corpora import waveforms
from stemphonic_jax.training.inputs.prepare import check_records, load_vae
from stemphonic_jax.training.inputs.start import start_file, take_file
from stemphonic_jax.training.losses.reconstruction import adversarial_loss, reconstruction_loss
from stemphonic_jax.training.run import loop, state
from stemphonic_jax.training.run.optimizer import adamw, build_optimizer
from stemphonic_jax.training.trainers import stage
from stemphonic_jax.weights.architecture import build_vae, init_vae, vae_shapes
from stemphonic_jax.weights.tensors import open_params, save_params

HELD_OUT_CROPS = 8
START_CROPS = 128  # that a spectral autoencoder's linear start is computed from


def train(config: ConfigDict, workdir: Path) -> None:
  """Trains up to `config.train_vae.steps` and writes the averaged `workdir/vae.safetensors`.

  Continues from the newest checkpoint in `workdir/vae` where there is one. With `config.init_from`
  the autoencoder there is taken as it is or, with `train_vae.decoder_only`, its decoder alone is
  fine-tuned: latents stay what they are. At every save a held-out piece, original and
  reconstruction, is left in `workdir/vae/previews`. UsageError where there is no decoder to
  fine-tune.
  """
  c = config.train_vae
  check_records(config, build_vae(config.vae).hop)
  if stage.is_done(workdir / "vae", c.steps):
    return
  start = start_file(config, "vae.safetensors")
  if c.decoder_only and not start:
    raise UsageError(
      "train_vae.decoder_only: name the autoencoder whose decoder to train, --config.init_from=DIR"
    )
  if start and not c.decoder_only:
    if cluster.is_first():
      load_vae(config, start)  # which sees that it fits
      take_file(start, workdir / "vae.safetensors")
    cluster.wait("autoencoder")
    return
  vae = build_vae(config.vae)
  opponent = build_discriminator(c)
  devices = mesh.make_mesh(**config.mesh)
  mesh.check_rows(devices, c.batch_size, 1)
  run_key = named_key(jax.random.key(config.seed), "vae")
  weights = {name: c[name] for name in ("kl_weight", "head_weight", "spectral_weight")}
  weights["rate"] = config.sample_rate
  loss = reconstruction_loss(vae, **weights)
  optimizer = build_optimizer(c)
  step = state.train_step(loss, optimizer, ema_decay=c.ema_decay)
  if opponent:
    d, optimizer = c.discriminator, both_optimizers(optimizer, c)
    contest = adversarial_loss(
      vae, opponent, weight=d.weight, feature_weight=d.feature_weight, **weights
    )
    step = state.train_step(
      lambda params, batch, key: loss(params["vae"], batch, key),
      optimizer,
      ema_decay=c.ema_decay,
      then=(d.start, contest),
    )

  pieces, unseen = cluster.one_by_one(
    functools.partial(waveforms, config, workdir / "records", vae.hop)
  )
  cut = functools.partial(crops, samples=c.samples, seed=config.seed, kinds=_kinds(config))
  held_out = _first(cut(unseen, batch_size=HELD_OUT_CROPS, ahead=1))
  measure = jax.jit(loss)
  reconstruct = jax.jit(lambda params, audio: vae.apply({"params": params}, audio))

  def average(current: state.TrainState) -> Any:
    return current.model["vae"] if opponent else current.model

  def evaluate(current: state.TrainState) -> state.Metrics:
    value, sums = measure(average(current), held_out, named_key(run_key, "held out"))
    metrics = {"loss": value} | state.means(sums)
    return {f"held_out_{name}": metric for name, metric in metrics.items()}

  def show(current: state.TrainState) -> None:
    params = cluster.gather(average(current))
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
      check_samples(f"{name} of step {step}", audio, config.sample_rate)
      write_wav(folder / f"{name}.wav", audio, config.sample_rate)
    spectrogram_figure(folder / "spectrograms.png", rows, config.sample_rate)

  def create(given: Any, sample: jax.Array | None) -> state.TrainState:
    params = init_vae(vae, named_key(run_key, "init")) if given is None else given
    if sample is not None:
      params = principal_start(vae, params, sample)
    if opponent:
      theirs = init_discriminator(opponent, named_key(run_key, "discriminator"))
      params = {"vae": params, "discriminator": theirs}
    decoder = ("vae/decoder/*", "discriminator/*") if opponent else ("decoder/*",)
    return state.create(*state.split(params, decoder if c.decoder_only else ("*",)), optimizer)

  def open_batches(start: int) -> DatasetIterator[tuple[int, Crops]]:
    hosts = dict(host=cluster.host(), hosts=cluster.hosts())
    return cut(pieces, batch_size=c.batch_size, start=start, **hosts)

  given, sample = None, None
  if start:
    given = open_params(start, vae_shapes(vae))  # on disk still
  elif isinstance(vae, Spectral):
    sample = jnp.asarray(_first(cut(pieces, batch_size=START_CROPS, ahead=1))["audio"])
  stage.run(
    workdir / "vae",
    config,
    c,
    Partial(create, given, sample),
    step,
    open_batches,
    mesh=devices,
    run_key=run_key,
    evaluate=evaluate,
    show=show,
    seconds_per_step=c.batch_size * c.samples / config.sample_rate,
  )


def _kinds(config: ConfigDict) -> tuple[Kind, ...]:
  """What crops are of: all that is encoded or, for a decoder alone, what it decodes in use."""
  if not config.train_vae.decoder_only:
    return KINDS
  return ("mix",) if config.data.whole_mixes else ("stem",)


def _first(batches: DatasetIterator[tuple[int, Crops]]) -> Crops:
  """The first batch, without the names of its mixes."""
  with contextlib.closing(batches):
    return loop.arrays(next(batches)[1])


def build_discriminator(c: ConfigDict) -> Discriminator | None:
  """The discriminator of a `train_vae` section; None where its weight is zero.

  UsageError where crops are shorter than its windows.
  """
  d = c.discriminator
  if not d.weight:
    return None
  if c.samples < max(d.sizes):
    raise UsageError(
      f"train_vae.discriminator.sizes: a window of {max(d.sizes)} samples does not fit a crop of"
      f" {c.samples} (train_vae.samples)"
    )
  return Discriminator(d.filters, tuple(d.sizes), d.stride)


def both_optimizers(
  vae: optax.GradientTransformation, c: ConfigDict
) -> optax.GradientTransformation:
  """The autoencoder's optimiser beside the discriminator's own, which begins when that is on."""
  d = c.discriminator
  own = adamw(d.learning_rate, clip=c.clip, betas=d.betas, weight_decay=d.weight_decay)
  if d.start:
    own = optax.transforms.conditionally_mask(own, lambda step: step >= d.start)
  names = {name: name for name in ("vae", "discriminator")}
  return optax.multi_transform({"vae": vae, "discriminator": own}, names)

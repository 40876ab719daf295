"""Trains the autoencoder on waveforms: crops of stems, sub-mixes and mixes."""

import functools
from pathlib import Path
from typing import Any

import jax
from absl import logging
from jax.tree_util import Partial
from ml_collections import ConfigDict

from stemphonic_jax.data.batching.crops import KINDS, Kind
from stemphonic_jax.errors import UsageError
from stemphonic_jax.flow import named_key
from stemphonic_jax.models.principal import principal_start
from stemphonic_jax.models.spectral import SHORTER, Spectral
from stemphonic_jax.training.distributed import cluster
from stemphonic_jax.training.inputs.corpora import waveforms
from stemphonic_jax.training.inputs.prepare import check_records
from stemphonic_jax.training.inputs.start import start_file, take_file
from stemphonic_jax.training.losses.reconstruction import (
  adversarial_loss,
  envelope_loss,
  reconstruction_loss,
)
from stemphonic_jax.training.trainers import rebuilding, stage
from stemphonic_jax.weights.architecture import VAE, build_vae, init_vae, vae_shapes
from stemphonic_jax.weights.autoencoder import ENVELOPE, open_vae
from stemphonic_jax.weights.tensors import save_params

PARTS = ("decoder", ENVELOPE)  # that can be trained alone


def check(config: ConfigDict) -> None:
  """UsageError where the one part to be trained is none, or none that this config can train."""
  c, v, part = config.train_vae, config.vae, config.train_vae.only
  if part not in ("", *PARTS):
    raise UsageError(f"train_vae.only: got {part!r}, expected nothing, {' or '.join(PARTS)}")
  if part != ENVELOPE:
    return
  if v.architecture != "spectral":
    raise UsageError(
      f"train_vae.only={part}: is of a spectral autoencoder, this one is {v.architecture}"
    )
  if build_vae(v).stride % SHORTER:
    raise UsageError(
      f"train_vae.only={part}: vae.stride is {v.stride}, expected a multiple of {SHORTER}"
    )
  if c.discriminator.weight:
    raise UsageError(
      f"train_vae.only={part}: is trained without an opponent; set"
      " train_vae.discriminator.weight to 0"
    )


def find_start(config: ConfigDict) -> Path | None:
  """The file of the autoencoder to start from, which fits the config; None where none is named.

  UsageError where a part of one is to be trained, and there is none.
  """
  start, part = start_file(config, "vae.safetensors"), config.train_vae.only
  if start:
    open_vae(build_vae(config.vae), start)
  elif part:
    raise UsageError(
      f"train_vae.only={part}: name the autoencoder whose {part} to train, --config.init_from=DIR"
    )
  return start


def train(config: ConfigDict, workdir: Path) -> None:
  """Trains up to `config.train_vae.steps` and writes the averaged `workdir/vae.safetensors`.

  Continues from the newest checkpoint in `workdir/vae` where there is one. With `config.init_from`
  the autoencoder there is taken as it is or, with `train_vae.only`, that part of it alone is
  trained: latents stay what they are. At every save a held-out piece, original and reconstruction,
  is left in `workdir/vae/previews`. UsageError where there is nothing that it is a part of.
  """
  c = config.train_vae
  check_records(config, build_vae(config.vae).hop)
  if stage.is_done(workdir / "vae", c.steps):
    return
  start = find_start(config)
  if start and not c.only:
    if cluster.is_first():
      take_file(start, workdir / "vae.safetensors")
    cluster.wait("autoencoder")
    return
  vae, given = build_vae(config.vae), None
  if start:
    _, given = open_vae(vae, start)  # on disk still
    if c.only == ENVELOPE:
      vae = vae.clone(has_envelope=True)
    elif given.pop(ENVELOPE, None):
      logging.warning("%s: has an envelope, of the decoder as it was; it is left out", start)
  run_key = named_key(jax.random.key(config.seed), "vae")
  weights = {name: c[name] for name in ("kl_weight", "head_weight", "spectral_weight")}
  weights["rate"] = config.sample_rate
  d = c.discriminator
  rebuilding.train(
    workdir / "vae",
    config,
    rebuilding.Learner(
      name="vae",
      trainable=(f"{c.only}/*" if c.only else "*",),
      make=Partial(functools.partial(_begin, vae), named_key(run_key, "init"), given),
      starts_from_waveforms=isinstance(vae, Spectral) and not start,
      loss=envelope_loss(vae) if c.only == ENVELOPE else reconstruction_loss(vae, **weights),
      contest=lambda opponent: adversarial_loss(
        vae, opponent, weight=d.weight, feature_weight=d.feature_weight, **weights
      ),
      channels=2,
      hear=lambda mix: mix.audio(),
      rebuild=lambda params, audio: vae.apply({"params": params}, audio),
      keep=functools.partial(save_params, workdir / "vae.safetensors"),
    ),
    lambda: cluster.one_by_one(lambda: waveforms(config, workdir / "records", vae.hop)),
    _kinds(config),
    run_key,
  )


def _begin(vae: VAE, key: jax.Array, given: Any, sample: jax.Array | None) -> Any:
  """Those given, with an envelope that changes nothing where they lack one that is wanted. Without
  any: drawn and, for a spectral one, fit to waveforms."""
  if given and given.keys() == vae_shapes(vae).keys():
    return given
  params = {**init_vae(vae, key), **(given or {})}
  return params if sample is None else principal_start(vae, params, sample)


def _kinds(config: ConfigDict) -> tuple[Kind, ...]:
  """What crops are of: all that is encoded or, for a part alone, what is decoded in use."""
  if not config.train_vae.only:
    return KINDS
  return ("mix",) if config.data.whole_mixes else ("stem",)

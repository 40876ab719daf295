"""A model as one folder: what it takes to generate, and nothing that could run.

    config.json                architecture, sample rate, longest generation, sampler settings,
                               statistics, licence and source
    vae.safetensors            autoencoder
    dit.safetensors            diffusion transformer, with its text encoder if that is learned
    text_encoder.safetensors   T5, where the text encoder is frozen (t5.py)
    alignment.safetensors      rotations of the noise by type, where the model aligns it
                               (data/batching/alignment.py)
    tokenizer.model            sentencepiece
    manifest.json              size and SHA-256 of each file above

Weights are 32 bits wide, or 16 in a model made small to be passed on, and 32 once they are read.
Everything is checked, files against the manifest and tensors against the architecture, before
anything is built from it.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from stemphonic_jax.audio.folders import whole_folder
from stemphonic_jax.data.batching.alignment import Turns
from stemphonic_jax.data.batching.records import Statistics
from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.errors import MismatchError
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.weights.architecture import (
  VAE,
  build_dit,
  build_vae,
  dit_shapes,
  parameter_count,
)
from stemphonic_jax.weights.autoencoder import open_vae
from stemphonic_jax.weights.config_json import check, check_depth, reading
from stemphonic_jax.weights.files import digest
from stemphonic_jax.weights.known import ALIGNMENT, FILES, TEXT_ENCODER, own_files
from stemphonic_jax.weights.signed import (
  FORMAT,
  STEMPHONIC,
  check_absent,
  check_files,
  check_vocabulary,
  find_bundle,
  read_config,
  sign,
  system_of,
  together,
)
from stemphonic_jax.weights.t5 import TextWeights, open_text_encoder, save_text_encoder
from stemphonic_jax.weights.tensors import (
  halved,
  materialize,
  mean,
  open_params,
  open_tensors,
  save_params,
)


@dataclass(frozen=True, eq=False)
class Bundle:
  """A model: modules, their parameters as `Lazy` leaves, and the config they are built from.

  `config` has sample_rate, seconds, vae, dit, text, dropout, sample, licence and source as in
  configs/base.py, and whole_mixes; `prompts` is "captions" in a model that learned from captions
  instead of instructions; `types` are those it makes beside the eleven. `fingerprint` is the
  SHA-256 of the manifest. `turns` has the rotation of the noise of each type, if it is aligned.
  """

  directory: Path
  config: Mapping[str, Any]
  vae: VAE
  vae_params: Any
  dit: DiT
  dit_params: Any
  text_encoder: TextWeights | None
  tokenizer: Tokenizer
  statistics: Statistics
  fingerprint: str
  turns: Turns = field(default_factory=dict)

  @property
  def params(self) -> Any:
    """The parameters of the network that makes songs."""
    return self.dit_params

  @property
  def hop(self) -> int:
    """Samples per frame."""
    return self.vae.hop


def save_bundle(
  directory: Path,
  config: Mapping[str, Any],
  *,
  vae_params: Any,
  dit_params: Any,
  tokenizer: Tokenizer,
  statistics: Statistics,
  text_encoder: TextWeights | None = None,
  turns: Turns | None = None,
  made_from: Sequence[Path] = (),
) -> None:
  """Writes a model folder, whole or not at all; of an older one, only a model's files are replaced.

  Parameters may be `Lazy`: then no more than one tensor is in memory. `turns` belong to a config
  with sample.align_noise. Notices of the models that it is `made_from` go along. OutputError where
  the folder cannot be written, or where a file of something else has the name of one of a model.
  """
  latents = {"mean": statistics.mean.tolist(), "std": statistics.std.tolist()}
  content = {"format": FORMAT, **config, "latents": latents}
  with whole_folder(directory, own_files) as folder:
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")
    save_params(folder / "vae.safetensors", vae_params)
    save_params(folder / "dit.safetensors", dit_params)
    if text_encoder:
      save_text_encoder(folder / TEXT_ENCODER, text_encoder)
    if turns is not None:
      save_params(folder / ALIGNMENT, turns)
    (folder / "tokenizer.model").write_bytes(tokenizer.model)
    sign(folder, [directory, *made_from])


def load_bundle(directory: Path) -> Bundle:
  """Opens a model folder, or the `model` folder of a training workdir, after checking all of it.

  MissingError where there is none; DataError where a file is damaged; MismatchError where the
  folder is another kind of model or its tensors do not fit its config.
  """
  directory = find_bundle(directory)
  config = read_config(directory)
  if (system := system_of(config)) != STEMPHONIC:
    raise MismatchError(
      f"{directory}: is a model of {system}, expected one of {STEMPHONIC}; name another model"
    )
  check_files(directory, _files(config))
  weights = {name: directory / f"{name}.safetensors" for name in ("vae", "dit")}
  with reading(directory):
    check(config)
    vae = build_vae(config["vae"])
    dit = build_dit(config["dit"], config["text"], vae.latent, config["sample_rate"] / vae.hop)
    statistics = Statistics(*(np.float32(config["latents"][name]) for name in ("mean", "std")))
    for numbers in (statistics.mean, statistics.std):
      if len(numbers) != vae.latent:
        raise ValueError(f"latents: got {len(numbers)} channels, expected {vae.latent}")
    check_depth("vae.depth", config["vae"].get("depth", 0), open_tensors(weights["vae"]))
    check_depth("text.depth", config["text"].get("depth", 0), open_tensors(weights["dit"]))
    vae, vae_params = open_vae(vae, weights["vae"])
    shapes = dit_shapes(dit)
  path = directory / TEXT_ENCODER
  text_encoder = open_text_encoder(path) if TEXT_ENCODER in _files(config) else None
  if text_encoder and text_encoder.config["width"] != dit.text_width:
    raise MismatchError(
      f"{directory}: T5 is {text_encoder.config['width']} wide, config.json says {dit.text_width}"
    )
  tokenizer = Tokenizer.load(directory / "tokenizer.model")
  rows = (text_encoder.config if text_encoder else config["text"]).get("vocabulary", 0)
  check_vocabulary(directory, len(tokenizer), rows)
  return Bundle(
    directory=directory,
    config=config,
    vae=vae,
    vae_params=vae_params,
    dit=dit,
    dit_params=open_params(weights["dit"], shapes),
    text_encoder=text_encoder,
    tokenizer=tokenizer,
    statistics=statistics,
    fingerprint=digest(directory / "manifest.json"),
    turns=_open_turns(directory / ALIGNMENT, vae.latent) if ALIGNMENT in _files(config) else {},
  )


def describe(bundle: Bundle) -> str:
  """What a model is, in a few lines."""
  config, sampler = bundle.config, bundle.config["sample"]
  aligned = ", aligned noise" if bundle.turns else ""
  hears = [name for name, rate in config["dropout"].items() if rate < 1]
  parts = {"autoencoder": bundle.vae_params, "transformer": bundle.dit_params}
  if bundle.text_encoder:
    parts["text encoder"] = bundle.text_encoder.params
  counts = ", ".join(f"{name} {parameter_count(tree):,}" for name, tree in parts.items())
  lines = {
    "model": bundle.directory,
    "makes": f"{'mixes' if config['whole_mixes'] else 'stems'} of up to {config['seconds']:.4g} s"
    f" at {config['sample_rate']} Hz, stereo",
    "listens to": ", ".join(hears),
    "parameters": counts,
    "latents": f"{bundle.vae.latent} channels, one frame per {bundle.vae.hop} samples",
    "sampler": f"{sampler['steps']} steps, guidance {sampler['guidance']:g} in steps"
    f" {sampler['interval'][0]} to {sampler['interval'][1]}{aligned}",
    "licence": config.get("licence") or "not stated",
    "source": config.get("source") or "not stated",
    "fingerprint": bundle.fingerprint,
  }
  return "\n".join(f"{name:<12} {value}" for name, value in lines.items())


def export_bundle(
  model: Path,
  out: Path,
  *,
  half: bool = False,
  decoder: Path | None = None,
  average: Path | None = None,
  **notes: str,
) -> Bundle:
  """Copies a checked model to `out`, with `licence` and `source` replaced where they are given.

  With `half` the weights take 16 bits each, which a reader widens again. `decoder` is the workdir
  of a run that trained the decoder of the model's autoencoder, or its envelope. `average` is the
  model that the training of this one started from, or one whose training started from this one: the
  transformer is the mean of both, which keeps what either has learned (WiSE-FT, Wortsman et al.
  2022). Raises as `load_bundle`, and OutputError where `out` exists or cannot be written.
  """
  bundle = load_bundle(model)
  check_absent(out)
  vae_params = _with_decoder(bundle, decoder) if decoder else bundle.vae_params
  other = load_bundle(average) if average else bundle
  dit_params = _mean(bundle, other) if average else bundle.dit_params
  with whole_folder(out) as folder:
    for name in _files(bundle.config):
      shutil.copyfile(bundle.directory / name, folder / name)
    if half or decoder:
      save_params(folder / "vae.safetensors", halved(vae_params) if half else vae_params)
    if half or average:
      save_params(folder / "dit.safetensors", halved(dit_params) if half else dit_params)
    licence = together(model.config.get("licence") for model in (bundle, other))
    config = {**bundle.config, "licence": licence, **notes}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    sign(folder, [bundle.directory, other.directory])
  return load_bundle(out)


def _with_decoder(bundle: Bundle, workdir: Path) -> Any:
  """The autoencoder in `workdir`; MismatchError where its latents are not those of the model."""
  path = workdir / "vae.safetensors"
  _, params = open_vae(bundle.vae, path)
  ours, theirs = (
    traverse_util.flatten_dict(tree["encoder"]) for tree in (bundle.vae_params, params)
  )
  if not all(np.array_equal(ours[name].read(), theirs[name].read()) for name in ours):
    raise MismatchError(
      f"{path}: has another encoder than {bundle.directory}, whose latents it would misread; train"
      f" it with --config.init_from={bundle.directory} --config.train_vae.only=decoder"
    )
  return params


def _mean(bundle: Bundle, other: Bundle) -> Any:
  """Half of one transformer and half of another; MismatchError where they mean different things."""
  # These two change no weights.
  dit = other.dit.clone(dtype=bundle.dit.dtype, remat=bundle.dit.remat)
  same = bundle.dit == dit and bundle.tokenizer.model == other.tokenizer.model
  statistics = zip(astuple(bundle.statistics), astuple(other.statistics), strict=True)
  if not same or not all(np.array_equal(ours, theirs) for ours, theirs in statistics):
    raise MismatchError(
      f"{other.directory}: is of another network, tokenizer or data than {bundle.directory}; name"
      " the model that the training of one of them started from"
    )
  return mean(bundle.dit_params, other.dit_params)


def _files(config: Mapping[str, Any]) -> tuple[str, ...]:
  text, sampler = config.get("text"), config.get("sample")
  frozen = isinstance(text, Mapping) and text.get("encoder") == "t5"
  aligned = isinstance(sampler, Mapping) and sampler.get("align_noise")
  return FILES + (TEXT_ENCODER,) * frozen + (ALIGNMENT,) * bool(aligned)


def _open_turns(path: Path, channels: int) -> Turns:
  turns = materialize(open_tensors(path))
  for name, found in turns.items():
    if found.shape != (channels, channels) or found.dtype != np.float32:
      raise MismatchError(
        f"{path}: {name} is {found.shape} {found.dtype}, expected ({channels}, {channels}) float32"
      )
  return turns

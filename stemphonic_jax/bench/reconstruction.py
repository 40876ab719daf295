"""How well a trained autoencoder gives back held-out demo pieces, against what it costs.

    SI-SDR    dB of signal over what no gain explains (Le Roux et al. 2019); phase counts
    log-mel   mean distance of levels in mel bands, in dB; phase does not
    STFT      the multi-resolution STFT loss that autoencoders are trained on

The spectral decoder makes up phases, so that its SI-SDR says nothing of how it sounds. For it there
is a second table: what more or fewer of the refinements of these phases change.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import librosa
import numpy as np
from jaxtyping import Array, Float

from stemphonic_jax.audio.activity import THRESHOLD_DBFS
from stemphonic_jax.audio.levels import dbfs
from stemphonic_jax.bench.vae import measure
from stemphonic_jax.data.sources.demo import Corpus
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.errors import MissingError
from stemphonic_jax.evaluation.songs.corpus import PROMPTS
from stemphonic_jax.models.spectral import Spectral
from stemphonic_jax.models.stft import stft
from stemphonic_jax.training.losses.spectral import stereo_spectral_loss
from stemphonic_jax.weights.architecture import VAE, build_vae, parameter_count
from stemphonic_jax.weights.autoencoder import open_vae
from stemphonic_jax.weights.files import read_json
from stemphonic_jax.weights.hub import folder_of
from stemphonic_jax.weights.signed import check_stemphonic
from stemphonic_jax.weights.tensors import materialize
from stemphonic_jax.weights.wrappers import hint

REFINEMENTS = (4, 12, 32)
WINDOW, HOP, MELS = 2048, 512, 80
FLOOR_DB = -80.0  # of a full-scale sine, below which levels are equal
MIX, ALL = "mixes", "all stems"  # beside the types of stems
NAMES = ("SI-SDR dB", "log-mel dB", "STFT")


def run(
  model: str | Path, pieces: int = 12, seconds: float = 8.0, repeats: int = 5, seed: int = 0
) -> None:
  """Prints figures of the autoencoder in `model`, by stem type, of all stems and of mixes.

  `model` is a model folder, "demo", or the workdir of a training of an autoencoder.
  """
  vae, params, rate = load_vae(folder_of(model))
  corpus = Corpus(seed, pieces, seconds, rate, first=PROMPTS)
  audio = [sound for mix in corpus for sound in sounds(mix)]
  frames = -(-round(seconds * rate) // vae.hop)
  print(
    f"{parameter_count(params) / 1e6:.1f} M parameters, {frames} frames of {vae.latent} for"
    f" {seconds:g} s; {pieces} held-out pieces"
  )
  found = reconstruct(vae, params, audio, rate)
  print(f"{'':20}{'n':>5}" + "".join(f"{name:>12}" for name in NAMES))
  groups = defaultdict(list)
  for (kind, _), row in zip(audio, found, strict=True):
    for group in (kind,) if kind == MIX else (kind, ALL):
      groups[group].append(row)
  for group in sorted(groups, key=lambda name: (name == MIX, name == ALL, name)):
    _print_row(group, groups[group])
  if isinstance(vae, Spectral):
    print("(phases are made up, so SI-SDR says nothing)")
  length = frames * vae.hop / rate
  sample = jnp.asarray(np.resize(audio[0][1], (1, frames * vae.hop, 2)))
  latents = jnp.zeros((1, frames, vae.latent))
  print(f"{'seconds per second':20}{'wall':>17}{'cpu':>12}")
  for method, argument in (("encode", sample), ("decode", latents)):
    _print_cost(method, _call(vae, params, method), argument, length, repeats)
  if not isinstance(vae, Spectral):
    return
  print(f"{'refinements':20}{'n':>5}" + "".join(f"{name:>12}" for name in NAMES))
  for count in REFINEMENTS:
    other = vae.clone(refinements=count)
    rows = reconstruct(other, params, audio, rate)
    for group in (ALL, MIX):
      named = zip(audio, rows, strict=True)
      of_group = [row for (kind, _), row in named if (kind == MIX) == (group == MIX)]
      _print_row(f"{count} {group}", of_group)
    _print_cost(f"{count} decode", _call(other, params, "decode"), latents, length, repeats)


def load_vae(folder: Path) -> tuple[VAE, Any, int]:
  """The autoencoder of a model folder or workdir, its parameters, and its rate in Hz."""
  if not folder.is_dir():
    raise MissingError(f"{folder}: no such model folder{hint(folder)}")
  config = read_json(folder / "config.json")
  check_stemphonic(folder, config, "this benchmark", "of codecs see --peer torch")
  vae, params = open_vae(build_vae(config["vae"]), folder / "vae.safetensors")
  return vae, materialize(params, jnp.asarray), config["sample_rate"]


def sounds(mix: Mix) -> Iterator[tuple[str, Float[np.ndarray, "N 2"]]]:
  """The audible stems of a piece by type, and its mix."""
  for stem in mix.stems.values():
    if dbfs(stem.audio) >= THRESHOLD_DBFS:
      yield stem.type, stem.audio
  yield MIX, mix.audio()


def reconstruct(
  vae: VAE, params: Any, audio: list[tuple[str, np.ndarray]], rate: int
) -> list[tuple[float, ...]]:
  """The figures of NAMES for each sound, coded by the posterior's mean."""
  again = jax.jit(lambda params, x: vae.apply({"params": params}, x)[:, : x.shape[1]])
  found = []
  for _, sound in audio:
    real = jnp.asarray(sound[None])
    found.append(tuple(map(float, figures(real, again(params, real), rate))))
  return found


@functools.partial(jax.jit, static_argnums=2)
def figures(
  real: Float[Array, "1 N 2"], fake: Float[Array, "1 N 2"], rate: int
) -> tuple[Float[Array, ""], ...]:
  """What NAMES says, of an original and its reconstruction."""
  return si_sdr(real, fake), log_mel(real, fake, rate), stereo_spectral_loss(real, fake, rate=rate)


def si_sdr(real: Float[Array, "1 N 2"], fake: Float[Array, "1 N 2"]) -> Float[Array, ""]:
  """Scale-invariant ratio of signal to distortion in dB, of both channels as one signal."""
  target = real * jnp.sum(real * fake) / jnp.sum(jnp.square(real))
  return 10 * jnp.log10(jnp.sum(jnp.square(target)) / (jnp.sum(jnp.square(fake - target)) + 1e-12))


def log_mel(
  real: Float[Array, "1 N 2"], fake: Float[Array, "1 N 2"], rate: int
) -> Float[Array, ""]:
  """Mean absolute difference in dB of mel bands of left and right."""
  bank = librosa.filters.mel(sr=rate, n_fft=WINDOW, n_mels=MELS, norm=None)

  def levels(audio: Float[Array, "1 N 2"]) -> Float[Array, "1 2 F M"]:
    audio = jnp.pad(audio, ((0, 0), (0, -audio.shape[1] % HOP), (0, 0))).transpose(0, 2, 1)
    power = jnp.square(jnp.abs(stft(audio, WINDOW, HOP)) / (WINDOW / 4))
    return 10 * jnp.log10(jnp.maximum(power @ bank.T, 10 ** (FLOOR_DB / 10)))

  return jnp.mean(jnp.abs(levels(real) - levels(fake)))


def _call(vae: VAE, params: Any, method: str) -> Callable[[jax.Array], jax.Array]:
  def call(x: jax.Array) -> jax.Array:
    y = vae.apply({"params": params}, x, method=method)
    return y if method == "decode" else y.mean

  return call


def _print_row(name: str, rows: list[tuple[float, ...]]) -> None:
  values = np.mean(rows, 0)
  print(f"  {name:18}{len(rows):5}" + "".join(f"{value:12.3f}" for value in values))


def _print_cost(
  name: str, call: Callable, argument: jax.Array, length: float, repeats: int
) -> None:
  _, wall, cpu = measure(call, argument, repeats)
  print(f"  {name:18}{wall / length:17.4f}{cpu / length:12.4f}")

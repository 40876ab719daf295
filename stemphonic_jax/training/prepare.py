"""The prepare stage: mixes through the trained autoencoder into records."""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import Float32
from ml_collections import ConfigDict

from stemphonic_jax.data.check import REPORT, Rules
from stemphonic_jax.data.prepare import Cut, shards
from stemphonic_jax.data.records import open_records
from stemphonic_jax.data.shards import write_shards
from stemphonic_jax.data.sources.catalogue import Catalogue
from stemphonic_jax.errors import MismatchError, MissingError, UsageError
from stemphonic_jax.models.vae import encode_chunked
from stemphonic_jax.training import mesh, text
from stemphonic_jax.training.corpora import Corpora, checked, open_corpora
from stemphonic_jax.weights.architecture import VAE, build_vae, frames_of, init_vae
from stemphonic_jax.weights.bundle import TEXT_ENCODER, Bundle
from stemphonic_jax.weights.tensors import digest, load_params, materialize

WINDOW = 128  # latent frames encoded at once, as in generation
ROWS = 8  # waveforms at once on an accelerator; a CPU gains nothing from more than one
STEMS = "4.6 ± 1.3 of MoisesDB, 3.5 ± 0.7 of MUSDB"
AUDIBLE_SHARE = 0.5  # of a test segment, in which a stem sounds that counts there (Sec. 4.2)


def prepare(config: ConfigDict, workdir: Path) -> None:
  """Fills `workdir/records/{train,held_out,test}`, then makes the text side (training/text.py).

  What is there already is left as it is, and what was cut off goes on. MissingError without a
  trained autoencoder; DataError, after the report, where too many mixes are bad.
  """
  vae, d, records = build_vae(config.vae), config.data, records_of(config, workdir)
  path = workdir / "vae.safetensors"
  params = load_vae(config, path)
  if d.records:
    _check_autoencoder(records, path)
  elif not (records / "train").exists():
    corpora = open_corpora(config, records, vae.hop)
    cut = Cut(config.seconds, vae.hop, d.submixes, d.whole_mixes, every=not corpora.composed)
    write_corpora(
      records, corpora, encoder(vae, params), cut,
      rate=config.sample_rate, size=d.shard, seed=config.seed, notes={"vae": digest(path)},
    )  # fmt: skip
  text.prepare(config, workdir, records)


def prepare_set(
  model: Bundle | None,
  catalogue: Catalogue,
  out: Path,
  *,
  encode: bool = True,
  estimate_tempo: bool = True,
  submixes: int,
  whole_mixes: bool = False,
  shard: int,
  seed: int = 0,
  host: int = 0,
  hosts: int = 1,
  **options: Any,
) -> None:
  """Records of a data set in `out`, through the autoencoder and the frozen text encoder of `model`.

  Without `encode` it is only checked, and no model is needed. `options` are those of
  `corpora.checked`. Of several hosts on one file system each makes its share, and whoever comes
  last finishes; then all of it is there.
  """
  if hosts > 1 and not (out / REPORT).is_file():
    raise UsageError(
      f"{out}: has no report yet; check the set once, on one host, with --check-only"
    )
  rate, hop = (model.config["sample_rate"], model.vae.hop) if model else (44_100, 3584)
  rules = Rules(rate, hop, estimate_tempo=estimate_tempo)
  corpora = checked(catalogue, out, rules, **options)
  if not encode:
    return
  vae, config = model.vae, model.config
  cut = Cut(config["seconds"], vae.hop, submixes, whole_mixes)
  write_corpora(
    out, corpora, encoder(vae, materialize(model.vae_params)), cut,
    rate=rate, size=shard, seed=seed, host=host, hosts=hosts,
    notes={"vae": digest(model.directory / "vae.safetensors")},
  )  # fmt: skip
  if model.text_encoder and (out / "train").exists() and not (out / "texts").exists():
    encoder_file = model.directory / TEXT_ENCODER
    text.embed_prompts(out, encoder_file, model.tokenizer, config["text"]["length"])


def records_of(config: ConfigDict, workdir: Path) -> Path:
  """The folder of a run's records: its own, or one that was prepared apart (`data.records`)."""
  return Path(config.data.records) if config.data.records else workdir / "records"


def check_records(config: ConfigDict, hop: int) -> None:
  """Refuses `data.records` that the config does not go with, before anything is trained.

  UsageError without a model to start from; MismatchError where length, rate or kind differ.
  """
  if not config.data.records:
    return
  if not config.init_from:
    raise UsageError(
      "data.records: name the model they were prepared with, --config.init_from=DIR, because its"
      " autoencoder has to decode what is learned from them"
    )
  index = open_records(Path(config.data.records) / "train").index
  found = index.frames, index.rate, index.notes.get("cut", {}).get("whole_mixes")
  frames = frames_of(config.seconds, config.sample_rate, hop)
  ours = frames, config.sample_rate, config.data.whole_mixes
  if found != ours:
    raise MismatchError(
      f"{config.data.records}: frames, rate and whole_mixes are {found}, the config wants {ours}"
    )


def _check_autoencoder(records: Path, vae: Path) -> None:
  """MismatchError where records were made by another autoencoder than that of the run."""
  if open_records(records / "train").index.notes.get("vae") != digest(vae):
    raise MismatchError(
      f"{records}: was encoded by another autoencoder than this run has; start from the model it"
      f" was prepared with (--config.init_from), or prepare it again"
    )


def write_corpora(
  folder: Path,
  corpora: Corpora,
  encode: Callable,
  cut: Cut,
  *,
  rate: int,
  size: int,
  seed: int,
  notes: Mapping[str, Any],
  host: int = 0,
  hosts: int = 1,
) -> None:
  """Records of each part in `folder`, those to train on last: where they are, all is there.

  Of a test part only stems count that sound in half of a segment or more, as in the paper.
  MismatchError where a part is there that was made in another way.
  """
  report = folder / REPORT
  notes = {
    "licence": corpora.licence,
    "seed": seed,
    "mixes_to_a_file": size,
    "types": corpora.free_types,
    "report": digest(report) if report.is_file() else None,
    **notes,
  }
  for name, mixes in reversed(corpora.parts.items()):
    own = replace(cut, min_activity=AUDIBLE_SHARE) if name == "test" else cut
    asked = notes | {"cut": asdict(own)}
    if (folder / name).exists():
      _check_notes(folder / name, asked)
      continue
    records = write_shards(
      folder / name,
      shards(mixes, encode, own, size=size, seed=seed),
      hop=cut.hop,
      rate=rate,
      notes=asked,
      host=host,
      hosts=hosts,
    )
    if records and name == "test":
      stems = np.array([len(segment.names) for segment in records])
      logging.info(
        "test: %.1f ± %.1f stems a segment (in the paper %s)", stems.mean(), stems.std(), STEMS
      )


def _check_notes(records: Path, asked: Mapping[str, Any]) -> None:
  found = open_records(records).index.notes
  if different := [name for name, value in asked.items() if found.get(name) != value]:
    name = different[0]
    raise MismatchError(
      f"{records}: was prepared with {name} = {found.get(name)!r}, now it is {asked[name]!r};"
      f" remove it, or prepare into another folder"
    )


def load_vae(config: ConfigDict, path: Path) -> Any:
  """Parameters of the config's autoencoder from `path`; MissingError where there are none."""
  shapes = jax.eval_shape(functools.partial(init_vae, build_vae(config.vae)), jax.random.key(0))
  if not path.is_file():
    raise MissingError(f"{path}: no trained autoencoder; run --mode=train_vae first")
  return load_params(path, shapes)


def encoder(vae: VAE, params: Any) -> Callable:
  """What maps waveforms of equal length, one after the other, to their latent means [n, T, C].

  On all devices, a fixed number at once: it compiles once, and memory does not grow with n.
  """
  devices = mesh.data_mesh()
  params = mesh.replicate(devices, params)
  means = jax.jit(lambda params, x: vae.apply({"params": params}, x, method="encode"))
  rows = devices.size * (1 if jax.default_backend() == "cpu" else ROWS)

  def encode(waveforms: Iterable[Float32[np.ndarray, "samples 2"]]) -> Float32[np.ndarray, "n T C"]:
    waveforms, latents = iter(waveforms), []
    while some := list(itertools.islice(waveforms, rows)):
      batch = np.zeros((rows, *some[0].shape), np.float32)
      batch[: len(some)] = some
      posterior = encode_chunked(
        functools.partial(means, params),
        mesh.spread(devices, batch),
        hop=vae.hop,
        halo=vae.halo,
        window=WINDOW,
      )
      latents.append(np.asarray(posterior.mean)[: len(some)])
    return np.concatenate(latents)

  return encode

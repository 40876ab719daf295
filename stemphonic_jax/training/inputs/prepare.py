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

from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.data.batching.records import open_records
from stemphonic_jax.data.preparing.check import Rules, report_digest
from stemphonic_jax.data.preparing.segments import Cut, shards
from stemphonic_jax.data.preparing.shards import write_shards
from stemphonic_jax.data.sources.catalogue import Catalogue
from stemphonic_jax.errors import MismatchError, MissingError, UsageError
from stemphonic_jax.models.vae import encode_chunked
from stemphonic_jax.training.distributed import cluster, mesh
from stemphonic_jax.training.inputs import text
from stemphonic_jax.training.inputs.corpora import Corpora, checked, open_corpora
from stemphonic_jax.weights.architecture import VAE, build_vae
from stemphonic_jax.weights.autoencoder import open_vae
from stemphonic_jax.weights.bundle import Bundle
from stemphonic_jax.weights.files import digest
from stemphonic_jax.weights.known import TEXT_ENCODER
from stemphonic_jax.weights.tensors import materialize

WINDOW = 128  # latent frames encoded at once, as in generation
ROWS = 8  # waveforms at once on an accelerator; a CPU gains nothing from more than one
STEMS = "4.6 ± 1.3 of MoisesDB, 3.5 ± 0.7 of MUSDB"
NEWER_NOTES = "mixes", "corpus"  # which records of older versions lack
AUDIBLE_SHARE = 0.5  # of a test segment, in which a stem sounds that counts there (Sec. 4.2)


def prepare(config: ConfigDict, workdir: Path) -> None:
  """Fills `workdir/records/{train,held_out,test}`, then makes the text side (text.py).

  What is there already is left as it is, and what was cut off goes on. Several hosts share the
  encoding. MissingError without a trained autoencoder; DataError, after the report, where too many
  mixes are bad.
  """
  vae, d, records = build_vae(config.vae), config.data, records_of(config, workdir)
  path = workdir / "vae.safetensors"
  params = load_vae(config, path)
  if d.records:
    check_autoencoder(records, path)
  elif not cluster.one_by_one((records / "train").exists):
    corpora = cluster.one_by_one(functools.partial(open_corpora, config, records, vae.hop))
    cut = Cut(
      config.seconds, vae.hop, d.submixes, d.whole_mixes, every=not corpora.composed,
      submix=d.submix, posterior=d.posterior,
    )  # fmt: skip
    write_corpora(
      records, corpora, encoder(vae, params), cut,
      rate=config.sample_rate, size=d.shard, seed=config.seed, notes={"vae": digest(path)},
      host=cluster.host(), hosts=cluster.hosts(),
    )  # fmt: skip
    cluster.wait("records")
  text.prepare(config, workdir, records)


def prepare_set(
  model: Bundle | None,
  catalogue: Catalogue,
  out: Path,
  *,
  encode: bool = True,
  estimate_tempo: bool = True,
  tolerance: float = 1.0,
  submixes: int,
  submix: str = "cached",
  posterior: str = "mean",
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
  last finishes; then all of it is there, except for embedded prompts: these are found in whole
  records, so every host is run twice for them.
  """
  rate, hop = (model.config["sample_rate"], model.vae.hop) if model else (44_100, 3584)
  rules = Rules(rate, hop, tolerance, estimate_tempo=estimate_tempo)
  corpora = checked(catalogue, out, rules, alone=hosts == 1, **options)
  if not encode:
    return
  vae, config = model.vae, model.config
  cut = Cut(config["seconds"], vae.hop, submixes, whole_mixes, submix=submix, posterior=posterior)
  write_corpora(
    out, corpora, encoder(vae, materialize(model.vae_params)), cut,
    rate=rate, size=shard, seed=seed, host=host, hosts=hosts,
    notes={"vae": digest(model.directory / "vae.safetensors")},
  )  # fmt: skip
  if not model.text_encoder or "train" not in corpora.parts:
    return
  if not all((out / name).exists() for name in corpora.parts):
    logging.info("%s: once all hosts are through, run them again to embed the prompts", out)
    return
  text.embed_prompts(
    out, model.directory / TEXT_ENCODER, model.tokenizer, config["text"]["length"], host, hosts
  )


def records_of(config: ConfigDict, workdir: Path) -> Path:
  """The folder of a run's records: its own, or one that was prepared apart (`data.records`)."""
  return Path(config.data.records) if config.data.records else workdir / "records"


def check_records(config: ConfigDict, hop: int) -> None:
  """Refuses `data.records` that the config does not go with, before anything is trained.

  UsageError without a model to start from, or where a part of an autoencoder is to be trained,
  which takes waveforms; MismatchError where they were prepared otherwise.
  """
  if not config.data.records:
    return
  if not config.init_from:
    raise UsageError(
      "data.records: name the model they were prepared with, --config.init_from=DIR, because its"
      " autoencoder has to decode what is learned from them"
    )
  if part := config.train_vae.only:
    raise UsageError(
      f"train_vae.only={part}: records have no waveforms; name their data set instead of"
      " data.records, as data.source and data.root"
    )
  index = open_records(Path(config.data.records) / "train").index
  cut, d = index.notes.get("cut", {}), config.data
  frames = frames_of(config.seconds, config.sample_rate, hop)
  ours = {"frames": frames, "sample_rate": config.sample_rate}
  ours |= {name: d[name] for name in ("whole_mixes", "submix", "posterior")}
  found = {"frames": index.frames, "sample_rate": index.rate, **cut}
  for name, value in ours.items():
    if found.get(name) != value:
      raise MismatchError(
        f"{d.records}: was prepared with {name} = {found.get(name)!r}, the config has {value!r}"
      )


def check_autoencoder(records: Path, vae: Path) -> None:
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
  audible: float = AUDIBLE_SHARE,
) -> None:
  """Records of each part in `folder`, those to train on last: where they are, all is there.

  Of a test part only stems count that sound in the share `audible` of a segment or more, in half of
  it in the paper.
  MismatchError where a part is there that was made in another way, or of other mixes.
  """
  notes = {
    "licence": corpora.licence,
    "seed": seed,
    "mixes_to_a_file": size,
    "types": corpora.free_types,
    "report": report_digest(folder),
    **({"corpus": corpora.edition.described()} if corpora.edition else {}),
    **notes,
  }
  if (
    "train" in corpora.parts and "held_out" not in corpora.parts and (folder / "held_out").exists()
  ):
    raise MismatchError(
      f"{folder / 'held_out'}: mixes were held out, now none are; remove {folder}, or prepare into"
      f" another folder"
    )
  cuts = {
    name: replace(cut, min_activity=audible) if name == "test" else cut
    for name in reversed(corpora.parts)
  }
  asked = {
    name: notes | {"cut": asdict(own), "mixes": len(corpora.parts[name])}
    for name, own in cuts.items()
  }
  for name in cuts:  # all of them before anything is written
    _check_notes(folder / name, asked[name])
  for name in cuts:
    if (folder / name).exists():  # or by now, by another host
      _check_notes(folder / name, asked[name])
      continue
    records = write_shards(
      folder / name,
      shards(corpora.parts[name], encode, cuts[name], size=size, seed=seed),
      hop=cut.hop,
      rate=rate,
      notes=asked[name],
      host=host,
      hosts=hosts,
    )
    if records and name == "test":
      stems = np.array([len(segment.names) for segment in records])
      logging.info(
        "test: %.1f ± %.1f stems a segment (in the paper %s)", stems.mean(), stems.std(), STEMS
      )


def _check_notes(records: Path, asked: Mapping[str, Any]) -> None:
  """MismatchError where records are there that were made in another way than is asked for."""
  if not records.exists():
    return
  found = open_records(records).index.notes
  asked = {name: value for name, value in asked.items() if name in found or name not in NEWER_NOTES}
  if different := [name for name, value in asked.items() if found.get(name) != value]:
    name = different[0]
    raise MismatchError(
      f"{records}: was prepared with {name} = {found.get(name)!r}, now it is {asked[name]!r};"
      f" remove it, or prepare into another folder"
    )


def load_vae(config: ConfigDict, path: Path) -> Any:
  """Parameters of the config's autoencoder from `path`; MissingError where there are none."""
  if not path.is_file():
    raise MissingError(f"{path}: no trained autoencoder; run --mode=train_vae first")
  _, params = open_vae(build_vae(config.vae), path)
  return materialize(params)


def encoder(vae: VAE, params: Any) -> Callable:
  """What maps waveforms of equal length, one after the other, to means and deviations [n, T, C].

  On all devices of this host, a fixed number at once: it compiles once, and memory does not grow
  with n.
  """
  devices = mesh.local_mesh()
  params = mesh.replicate(devices, params)
  posteriors = jax.jit(lambda params, x: vae.apply({"params": params}, x, method="encode"))
  rows = devices.size * (1 if jax.default_backend() == "cpu" else ROWS)

  def encode(waveforms: Iterable[Float32[np.ndarray, "samples 2"]]) -> tuple[np.ndarray, ...]:
    waveforms, found = iter(waveforms), []
    while some := list(itertools.islice(waveforms, rows)):
      batch = np.zeros((rows, *some[0].shape), np.float32)
      batch[: len(some)] = some
      posterior = encode_chunked(
        functools.partial(posteriors, params),
        mesh.spread(devices, batch),
        hop=vae.hop,
        halo=vae.halo,
        window=WINDOW,
      )
      found.append(jax.device_get((posterior.mean, posterior.deviation)))
      found[-1] = tuple(part[: len(some)] for part in found[-1])
    return tuple(map(np.concatenate, zip(*found, strict=True)))

  return encode

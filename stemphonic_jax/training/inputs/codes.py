"""Records of codes: mixes through the codecs of a run.

WORKDIR/codecs/NAME    what --mode=train_vae leaves, a folder of weights/codec.py each
WORKDIR/records        as of latents, with codes in their place; the index names the codecs
"""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.data.batching.records import Records, open_records
from stemphonic_jax.data.preparing.segments import Cut, Encode
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.errors import MismatchError, MissingError, UsageError
from stemphonic_jax.training.distributed import cluster
from stemphonic_jax.training.inputs.corpora import open_corpora
from stemphonic_jax.training.inputs.prepare import records_of, write_corpora
from stemphonic_jax.training.inputs.start import start_codes
from stemphonic_jax.weights.architecture import CODEC, build_codec
from stemphonic_jax.weights.codec import CONFIG, Codec, CodecWeights, open_codec

MOST_ENTRIES = 1 << 16  # that 16 bits hold


def codec_folder(workdir: Path, name: str) -> Path:
  """Where a run has a codec."""
  return workdir / "codecs" / name


def codecs_of(config: ConfigDict) -> dict[str, CODEC]:
  """The codecs of a config, by name, without weights.

  UsageError for one that cannot be built, or that records have no room for; or where they differ in
  the length of a frame.
  """
  found = {}
  for name, section in config.codec.items():
    fields = {key: value for key, value in section.to_dict().items() if key != "path"}
    try:
      codec = found[name] = build_codec(fields)
      hop, entries = codec.hop, codec.entries
    except (UsageError, ValueError) as error:
      raise UsageError(f"codec.{name}: {str(error).removeprefix('codec.')}") from None
    if entries > MOST_ENTRIES:
      raise UsageError(
        f"codec.{name}.entries: got {entries}, expected at most {MOST_ENTRIES}, which 16 bits hold"
      )
    if hop != next(iter(found.values())).hop:
      raise UsageError(f"codec.{name}: a frame is {hop} samples, of others it is another number")
  return found


def load_codecs(config: ConfigDict, workdir: Path) -> dict[str, Codec]:
  """The codecs of a run; MissingError where they are not there, MismatchError where they differ."""
  found = {}
  for name, model in codecs_of(config).items():
    folder = codec_folder(workdir, name)
    if not folder.is_dir():
      raise MissingError(f"{folder}: no codec; run --mode=train_vae first")
    weights = open_codec(folder)
    _check_codec(config, name, model, weights, str(folder))
    found[name] = Codec(weights)
  return found


def codecs_at_hand(config: ConfigDict, workdir: Path) -> dict[str, CodecWeights]:
  """The codecs that a run has, or takes from elsewhere, by name; not those that it is to make.

  One with a `path` is the codec there, and with `init_from` the others are that model's.
  MissingError where one is not there, MismatchError where it is not what the config says of it.
  """
  models, found = codecs_of(config), {}
  start = functools.cache(functools.partial(start_codes, config))
  for name, model in models.items():
    own, path = codec_folder(workdir, name), config.codec[name].path
    if (own / CONFIG).is_file():
      where, weights = str(own), open_codec(own)
    elif path:
      where, weights = f"codec.{name}.path: {path}", open_codec(Path(path))
    elif start() is None:
      continue
    elif name in start().codecs:
      where, weights = f"init_from: {config.init_from}", start().codecs[name]
    else:
      raise MismatchError(f"init_from: {config.init_from} has no codec {name!r}")
    _check_codec(config, name, model, weights, where)
    found[name] = weights
  return found


def _check_codec(
  config: ConfigDict, name: str, model: CODEC, weights: CodecWeights, where: str
) -> None:
  """MismatchError where a codec is not what the config says of it; `where` is said before that."""
  if weights.rate != config.sample_rate:
    raise MismatchError(
      f"{where}: codec {name!r} hears {weights.rate} Hz, sample_rate is {config.sample_rate}; take"
      f" a codec of that rate, or --config.sample_rate={weights.rate}"
    )
  for what in ("hop", "levels", "entries"):
    ours, theirs = getattr(model, what), getattr(weights.model, what)
    if ours != theirs:
      raise MismatchError(
        f"{where}: codec {name!r} has {what} {theirs}, codec.{name} says {ours}; name a codec"
        f" like that, or say of codec.{name} what this one is"
      )


def in_segments(config: ConfigDict) -> ConfigDict:
  """The config with the length of the stretches that crops are drawn from as its length."""
  if config.data.segment < config.seconds:
    raise UsageError(
      f"data.segment: got {config.data.segment:g} s, expected as long as a crop, {config.seconds:g}"
      f" s (seconds), or longer"
    )
  longer = config.copy_and_resolve_references()
  longer.seconds = config.data.segment
  return longer


def fingerprints(codecs: Mapping[str, Codec | CodecWeights]) -> dict[str, str]:
  """What codes are only worth something together with, as the notes of records have it."""
  return {name: codec.fingerprint for name, codec in codecs.items()}


def check_records(config: ConfigDict, codecs: Mapping[str, CodecWeights]) -> None:
  """Refuses `data.records` that the config does not go with, before anything is made.

  `codecs` are those at hand. UsageError where one is to be made anew, which codes of another are
  worth nothing with; errors as of `open_coded`.
  """
  if not config.data.records:
    return
  folder = Path(config.data.records) / "train"
  _noted(open_records(folder), config.codec)
  if absent := [name for name in config.codec if name not in codecs]:
    raise UsageError(
      f"data.records: name the codec that they were coded with,"
      f" --config.codec.{absent[0]}.path=DIR, or a model that has it, --config.init_from=DIR"
    )
  hop = next(iter(codecs.values())).model.hop
  open_coded(folder, codecs, frames_of(config.data.segment, config.sample_rate, hop))


def _noted(records: Records, names: Collection[str]) -> Mapping[str, str]:
  """Fingerprints of the codecs that records are of; MismatchError where these have other names."""
  theirs = records.index.notes.get("codecs")
  if theirs is None:
    raise MismatchError(
      f"{records.directory}: holds latents, expected codes; prepare with this config"
    )
  if set(theirs) != set(names):
    raise MismatchError(
      f"{records.directory}: holds codes of {', '.join(theirs)}, expected {', '.join(names)}; it is"
      f" of another system, so prepare with this config"
    )
  return theirs


def open_coded(folder: Path, codecs: Mapping[str, Codec | CodecWeights], frames: int) -> Records:
  """Records of codes of these codecs, in segments of so many frames; MismatchError for others."""
  records = open_records(folder)
  theirs = _noted(records, codecs)
  for name, ours in fingerprints(codecs).items():
    if theirs.get(name) != ours:
      raise MismatchError(
        f"{folder}: was coded by another codec of {name!r} than this run has; give the run that one"
        f" (--config.codec.{name}.path), or prepare again"
      )
  if records.index.frames != frames:
    raise MismatchError(f"{folder}: segments have {records.index.frames} frames, expected {frames}")
  return records


def prepare(
  config: ConfigDict,
  workdir: Path,
  codecs: Mapping[str, Codec],
  encode: Encode,
  arranged: Callable[[Sequence[Mix]], Sequence[Mix]] = lambda mixes: mixes,
  submixes: int = 0,
  **options: float,
) -> None:
  """Fills the run's folder of records, as inputs/prepare.py does with latents.

  `encode` maps waveforms to codes [n, T, levels], `arranged` mixes to those that are cut, of which
  so many `submixes` are coded at most; `options` are those of `write_corpora`. Records that were
  prepared apart are left to `open_coded`.
  """
  records, d = records_of(config, workdir), config.data
  if d.records or cluster.one_by_one((records / "train").exists):
    return
  hop = next(iter(codecs.values())).hop
  corpora = cluster.one_by_one(functools.partial(open_corpora, config, records, hop))
  parts = {name: arranged(mixes) for name, mixes in corpora.parts.items()}
  cut = Cut(config.seconds, hop, submixes, every=not corpora.composed)
  write_corpora(
    records, replace(corpora, parts=parts), encode, cut,
    rate=config.sample_rate, size=d.shard, seed=config.seed,
    notes={"codecs": fingerprints(codecs)}, host=cluster.host(), hosts=cluster.hosts(), **options,
  )  # fmt: skip
  cluster.wait("records")


def encoder(codec: Codec) -> Encode:
  """What maps waveforms to codes of one codec, [n, T, levels]."""

  def encode(waveforms: Iterable[np.ndarray]) -> tuple[np.ndarray, None]:
    return np.stack([codes_of(codec, audio) for audio in waveforms]), None

  return encode


def codes_of(codec: Codec, audio: np.ndarray) -> np.ndarray:
  """Codes [T, levels] of a waveform [samples, 2], of which the codec hears the mean."""
  return codec.encode(np.ascontiguousarray(audio.mean(1)), codec.rate).T

"""The text side of a run: its tokenizer and, where a frozen T5 reads the prompts, their embeddings.

learned   WORKDIR/tokenizer.model, trained on the prompts of the records, or that of `init_from`
t5        WORKDIR/{tokenizer.model, text_encoder.safetensors}, taken as they are, and
          RECORDS/texts, an embedding of every prompt that can be drawn
"""

import functools
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.data.batching.pipeline import EncodeText
from stemphonic_jax.data.batching.records import Records, Segment, open_records, open_unseen
from stemphonic_jax.data.preparing.segments import training_texts
from stemphonic_jax.data.preparing.shards import bytes_done, is_whole
from stemphonic_jax.data.preparing.texts import open_texts, segment_texts, write_texts
from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.errors import MismatchError, MissingError, OutputError
from stemphonic_jax.training.distributed import cluster
from stemphonic_jax.training.inputs.start import start_file, take_file
from stemphonic_jax.weights import t5
from stemphonic_jax.weights.embedder import Embedder
from stemphonic_jax.weights.files import digest
from stemphonic_jax.weights.known import TEXT_ENCODER
from stemphonic_jax.weights.tensors import materialize

T5_OF = {768: "google-t5/t5-base", 4096: "google/t5-v1_1-xxl"}  # as wide as configs ask for


def prepare(
  config: ConfigDict,
  workdir: Path,
  records: Path,
  training: Callable[[Records], Iterable[str]] = training_texts,
  every: Callable[[Segment], Iterable[str]] = segment_texts,
) -> None:
  """Makes what of the text side is not there yet, for the folders of records in `records`.

  `training` texts are what a tokenizer is trained on, and `every` text of a segment is embedded
  where T5 reads. Several hosts share the embedding.
  MissingError where there is no T5; OutputError where its embeddings would not fit on the disk.
  """
  cluster.one_by_one(functools.partial(_prepare_reader, config, workdir, records, training))
  if config.text.encoder == "t5":
    encoder, tokenizer = workdir / TEXT_ENCODER, Tokenizer.load(workdir / "tokenizer.model")
    host, hosts = cluster.host(), cluster.hosts()
    embed_prompts(records, encoder, tokenizer, config.text.length, host, hosts, every)
    cluster.wait("texts")


def _prepare_reader(
  config: ConfigDict,
  workdir: Path,
  records: Path,
  training: Callable[[Records], Iterable[str]],
) -> None:
  """The tokenizer, and the T5 where one reads."""
  path = workdir / "tokenizer.model"
  if config.text.encoder == "t5":
    _take_t5(config, workdir)
  elif (start := start_file(config, "tokenizer.model")) and not config.text.get("own_tokenizer"):
    take_file(start, path)
  elif not path.exists():
    texts = training(open_records(records / "train"))
    Tokenizer.train(texts, path, config.text.vocabulary)


def reader(config: ConfigDict, workdir: Path, records: Path) -> tuple[Tokenizer, EncodeText]:
  """The tokenizer of a prepared run, and what maps its prompts to ids or embeddings."""
  tokenizer = Tokenizer.load(workdir / "tokenizer.model")
  if config.text.encoder == "t5":
    texts = open_texts(records / "texts")
    ours = digest(workdir / TEXT_ENCODER), config.text.length
    if (texts.encoder, texts.length) != ours:
      raise MismatchError(
        f"{texts.directory}: was embedded by another T5, or to {texts.length} tokens instead of"
        f" {config.text.length}; remove the folder and prepare again"
      )
    return tokenizer, texts.encode
  return tokenizer, lambda texts: tokenizer.encode(texts, config.text.length)


def respell(params: dict, before: Tokenizer, now: Tokenizer) -> dict:
  """The parameters of a DiT whose text is in other tokens: they begin as what they are spelt from.

  A token's vector is the mean of those with which the tokenizer before wrote it, and what it adds
  to the sum of words is their sum.
  """
  spelling = now.spelt_by(before)
  counts = np.array([max(len(ids), 1) for ids in spelling], np.float32)[:, None]

  def spelt(table: np.ndarray) -> np.ndarray:
    return np.stack([table[ids].sum(0) for ids in spelling]).astype(np.float32)

  given = materialize(params)
  tokens = spelt(given["text_encoder"]["tokens"]["embedding"]) / counts
  given["text_encoder"] |= {"tokens": {"embedding": tokens}}
  if "words" in given:
    given["words"] = {"embedding": spelt(given["words"]["embedding"])}
  return given


def _take_t5(config: ConfigDict, workdir: Path) -> None:
  """The T5 of `init_from`, or else the one in the Hugging Face folder `config.text.path`."""
  model, tokenizer = workdir / TEXT_ENCODER, workdir / "tokenizer.model"
  if model.exists() and tokenizer.exists():
    return
  if start := start_file(config, model.name):
    take_file(start, model)
    take_file(start.with_name(tokenizer.name), tokenizer)
    return
  found, weights = _named_t5(config)
  t5.save_text_encoder(model, weights)
  with whole_file(tokenizer) as partial:
    partial.write_bytes(found.model)


def check_reader(config: ConfigDict, workdir: Path) -> None:
  """MissingError or MismatchError where a T5 that is to read is neither there nor to be had."""
  there = all((workdir / name).exists() for name in (TEXT_ENCODER, "tokenizer.model"))
  if config.text.encoder == "t5" and not (there or start_file(config, TEXT_ENCODER)):
    _named_t5(config)


def _named_t5(config: ConfigDict) -> tuple[Tokenizer, t5.TextWeights]:
  """The T5 in the folder that the config names: its tokenizer, and its weights on disk still."""
  if not config.text.path:
    raise MissingError(
      f"text.path: no T5 named; download {T5_OF.get(config.text.width, 'it')} (config.json,"
      f" safetensors, spiece.model) and give its folder, --config.text.path=DIR, or start from a"
      f" model that has one"
    )
  folder = Path(config.text.path)
  found, weights = t5.find_tokenizer(folder), t5.open_huggingface(folder)
  if weights.config["width"] != config.text.width:
    raise MismatchError(
      f"{folder}: this T5 is {weights.config['width']} wide, text.width is {config.text.width};"
      f" take the T5 that the config names, or set --config.text.width"
    )
  return found, weights


def embed_prompts(
  records: Path,
  encoder: Path,
  tokenizer: Tokenizer,
  length: int,
  host: int = 0,
  hosts: int = 1,
  every: Callable[[Segment], Iterable[str]] = segment_texts,
) -> None:
  """Fills `records/texts` with the prompts of all parts that are trained or measured on.

  Each of several hosts embeds its share, as in `write_texts`. OutputError where the disk is small.
  """
  weights, fingerprint = t5.open_text_encoder(encoder), digest(encoder)
  sets = [open_records(records / "train")]
  if (unseen := open_unseen(records)).directory != sets[0].directory:
    sets.append(unseen)
  notes = {
    "length": length,
    "tokenizer": hashlib.sha256(tokenizer.model).hexdigest(),
    "records": {part.directory.name: digest(part.directory / "index.json") for part in sets},
  }
  if is_whole(records / "texts"):
    found = open_texts(records / "texts")
    if (found.encoder, found.notes) != (fingerprint, notes):
      raise MismatchError(
        f"{found.directory}: was embedded for other records or by another T5; remove the folder and"
        f" prepare again"
      )
    return
  embedder = functools.cache(lambda: Embedder(weights, tokenizer, length))  # large; made on use
  write_texts(
    records / "texts",
    (text for segment in _segments(sets) for text in every(segment)),
    lambda texts: embedder()(texts),
    fingerprint,
    notes=notes,
    check=functools.partial(_check_space, records, tokenizer, length, weights.config["width"]),
    host=host,
    hosts=hosts,
  )


def _check_space(
  records: Path, tokenizer: Tokenizer, length: int, width: int, count: int, sample: Sequence[str]
) -> None:
  """Says how many texts there are and what they take; OutputError where the disk has less."""
  tokens = tokenizer.encode(sample, length)[1].sum() / len(sample)
  size, there = count * tokens * width * 2, bytes_done(records / "texts")
  free = shutil.disk_usage(records).free
  logging.info("texts: %d, about %.2f GB, of which %.2f are done", count, size / 1e9, there / 1e9)
  if size - there > free:
    raise OutputError(
      f"{records / 'texts'}: {count} texts take about {size / 1e9:.0f} GB, {there / 1e9:.0f} GB are"
      f" done, {free / 1e9:.0f} GB are free; lower data.submixes, which bounds the context clauses,"
      f" or take another disk"
    )


def _segments(sets: list[Records]) -> Iterator:
  return (part[i] for part in sets for i in range(len(part)))

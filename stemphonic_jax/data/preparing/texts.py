"""Embeddings of texts by a frozen encoder, made once per distinct text and kept beside the records.

The largest T5 has four times as many parameters as the model it serves; so it runs once, and no
trainer ever holds it. The work is cut into shards as in shards.py, after a pass that finds the
distinct texts of all records; it takes minutes where the rest takes days, so one that is killed
begins again, and hosts that start together each do it.

    .texts.partial/prompts/            the texts, and where each begins, once all of them are found
    texts/index.json                   width, length and encoder, and the files' sizes
    texts/keys.npy                     hashes of the texts, ascending: the order of the records
    texts/00003-of-00512.array_record  one record per text: float16 [tokens, E], without padding

Memory grows by 24 bytes per text, by twice as much for a moment.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Bool, Float16, Float32, Int64, UInt64

from stemphonic_jax.data.bar import bar
from stemphonic_jax.data.batching import grouping, prompts
from stemphonic_jax.data.batching.records import Segment, allow_open_files
from stemphonic_jax.data.preparing.shards import (
  WRITER_OPTIONS,
  Work,
  fill,
  is_whole,
  shard_name,
  unfinished,
  writing,
)
from stemphonic_jax.data.taxonomy import MIX
from stemphonic_jax.errors import DataError, MissingError, OutputError

FORMAT = "stemphonic_jax texts 2"
KEYS, PROMPTS = "keys.npy", "prompts"
ROWS = 32  # texts embedded at once
# What a killed run loses is a shard, and a trainer has every file open: so not many, nor large.
SMALLEST, MOST = 1024, 512  # texts in a shard; shards
BLOCK = 1 << 16  # texts searched for among those found
SAMPLE = 512  # texts from which the size of all is told
# A hash, by which a text is found; another, to tell a text from one that shares its first; and
# where the text begins in the file.
FOUND = np.dtype([("key", np.uint64), ("check", np.uint64), ("start", np.int64)])

Embed = Callable[[Sequence[str]], tuple[Float32[np.ndarray, "n S E"], Bool[np.ndarray, "n S"]]]


@dataclass(frozen=True, eq=False)
class Texts:
  """A folder of embedded texts; `keys` are hashes of the texts, ascending, one per record.

  `encoder` is the SHA-256 of the encoder they were embedded with, `notes` are those of
  `write_texts`.
  """

  directory: Path
  keys: np.ndarray
  width: int
  length: int
  encoder: str
  notes: Mapping[str, Any]
  source: grain.sources.ArrayRecordDataSource

  def encode(
    self, texts: Sequence[str]
  ) -> tuple[Float16[np.ndarray, "B S E"], Bool[np.ndarray, "B S"]]:
    """Embeddings, zero where padded, and the mask of what is not; DataError for an unknown text."""
    embeddings = np.zeros((len(texts), self.length, self.width), np.float16)
    mask = np.zeros((len(texts), self.length), bool)
    for row, text in enumerate(texts):
      key = _key(text)
      position = int(np.searchsorted(self.keys, np.uint64(key)))  # an int would become a float
      if position == len(self.keys) or self.keys[position] != key:
        raise DataError(
          f"{self.directory}: holds no embedding of {text!r}; remove the folder and prepare again"
        )
      found = np.frombuffer(self.source[position], np.float16).reshape(-1, self.width)
      embeddings[row, : len(found)] = found
      mask[row, : len(found)] = True
    return embeddings, mask


def segment_texts(segment: Segment) -> Iterator[str]:
  """Every prompt that data/batching/pipeline.py can draw of a segment, each once."""
  captions = (segment.caption, *segment.captions)
  if segment.types == (MIX,):
    yield from dict.fromkeys(map(prompts.mix_prompt, captions))
    return
  stems = len(segment.types)
  contexts = [0, *(1 << int(k) for k in np.flatnonzero(segment.audible)), *segment.masks]
  words = segment.words or ("",) * stems
  found = dict.fromkeys(
    prompts.stem_prompt(
      segment.types[target],
      caption,
      [segment.types[k] for k in np.flatnonzero(grouping.stems_of(context, stems))],
      told,
    )
    for target in np.flatnonzero(segment.audible)
    for context in contexts
    if not context >> target & 1
    for caption in captions
    for told in dict.fromkeys(("", words[target]))
  )
  yield from found


def write_texts(
  directory: str | Path,
  texts: Iterable[str],
  embed: Embed,
  encoder: str = "",
  *,
  notes: Mapping[str, Any] | None = None,
  check: Callable[[int, Sequence[str]], None] = lambda count, sample: None,
  host: int = 0,
  hosts: int = 1,
) -> Texts | None:
  """Embeds each distinct text into a new folder, which appears whole or not at all.

  `texts` may come in any order and are asked for only until the distinct ones are on disk;
  `embed` maps texts to embeddings and the mask of their tokens; `encoder` names what does so, and
  `notes` where the texts come from: an unfinished folder is gone on with if both are the same.
  `check` is told before anything is embedded how many texts there are, and some of them. Hosts
  share the work as in `write_shards`. OutputError where the folder cannot be written; DataError
  where there are no texts, or two have one hash.
  """
  common = {"format": FORMAT, "encoder": encoder, "notes": dict(notes or {})}
  with unfinished(directory, common, host, hosts) as work:
    _fill(work, texts, embed, common, check)
  return open_texts(Path(directory)) if is_whole(directory) else None


def _fill(
  work: Work,
  texts: Iterable[str],
  embed: Embed,
  common: Mapping[str, Any],
  check: Callable[[int, Sequence[str]], None],
) -> None:
  if work.index.is_file():  # of a run that was killed before its last renaming
    fill(work, 0, lambda number: {}, lambda summaries: {})
    return
  keys, starts = _find_all(work, texts)
  size = max(SMALLEST, math.ceil(len(keys) / MOST))
  count = math.ceil(len(keys) / size)
  with writing(work.directory):
    file = (work.partial / PROMPTS / "texts.jsonl").open("rb")
  with file:
    check(len(keys), _read(file, starts[:SAMPLE]))  # in the order of hashes: a random sample

    def write(number: int) -> dict[str, Any]:
      return _write_shard(work, number, count, file, starts[number * size :][:size], embed)

    def index(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
      files = {name: size for summary in summaries for name, size in summary["files"].items()}
      files[KEYS] = (work.partial / KEYS).stat().st_size
      shape = {name: summaries[0][name] for name in ("width", "length")}
      return {**common, **shape, "count": len(keys), "files": files}

    fill(work, count, write, index)


def _find_all(
  work: Work, texts: Iterable[str]
) -> tuple[UInt64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
  """The keys of all distinct texts, ascending, and where each begins in the file of texts."""
  folder = work.partial / PROMPTS
  with writing(work.directory):
    for path in work.partial.glob(f".{PROMPTS}.{work.host}.*"):  # from a run that was killed
      shutil.rmtree(path, ignore_errors=True)
  if not folder.is_dir():
    own = work.partial / f".{PROMPTS}.{work.host}.{work.token}"
    with writing(work.directory):
      own.mkdir()
    try:
      _write_prompts(own, texts)
      with writing(work.directory):
        os.rename(own, folder)
    except OutputError:
      if not folder.is_dir():  # else another host was faster
        raise
    finally:
      shutil.rmtree(own, ignore_errors=True)
  with writing(work.directory):
    keys, starts = (np.load(folder / name, allow_pickle=False) for name in (KEYS, "starts.npy"))
  if not (work.partial / KEYS).is_file():
    with work.own_file(KEYS) as path:
      shutil.copyfile(folder / KEYS, path)
  return keys, starts


def _write_prompts(folder: Path, texts: Iterable[str]) -> None:
  """Writes each distinct text on a line, as JSON, and the arrays that `_find_all` returns."""
  texts = iter(bar(texts, "prompts", None, "texts"))
  found = np.zeros(0, FOUND)
  with writing(folder):
    file = (folder / "texts.jsonl").open("wb")
  with file:
    while block := {_hashes(text): text for text in itertools.islice(texts, BLOCK)}:
      found = _add(found, block, file)
  if not len(found):
    raise DataError(f"{folder.parent}: no texts to embed; prepare records that have some")
  for name, array in ((KEYS, found["key"]), ("starts.npy", found["start"])):
    with writing(folder), (folder / name).open("wb") as file:
      np.save(file, np.ascontiguousarray(array))


def _add(found: np.ndarray, block: Mapping[tuple[int, int], str], file: BinaryIO) -> np.ndarray:
  """`found` and what of `block` is not in it, in the order of keys; the latter goes to `file`."""
  hashes = sorted(block)
  new = np.zeros(len(hashes), FOUND)
  new["key"], new["check"] = np.array(hashes, np.uint64).T
  places = np.searchsorted(found["key"], new["key"])
  known = np.zeros(len(new), bool)
  inside = places < len(found)
  known[inside] = found["key"][places[inside]] == new["key"][inside]
  others = known.copy()
  others[known] = found["check"][places[known]] != new["check"][known]
  others[1:] |= new["key"][1:] == new["key"][:-1]
  if others.any():
    text = block[hashes[int(np.argmax(others))]]
    raise DataError(f"{text!r} and another text have one hash; change a letter of a caption")
  for row in np.flatnonzero(~known):
    new["start"][row] = file.tell()
    with writing(Path(file.name)):
      file.write(json.dumps(block[hashes[row]]).encode() + b"\n")
  return np.insert(found, places[~known], new[~known])


def _read(file: BinaryIO, starts: Int64[np.ndarray, "n"]) -> list[str]:
  """The texts that begin at `starts`."""
  lines = []
  for start in starts:
    file.seek(start)
    lines.append(json.loads(file.readline()))
  return lines


def _write_shard(
  work: Work,
  number: int,
  count: int,
  file: BinaryIO,
  starts: Int64[np.ndarray, "n"],
  embed: Embed,
) -> dict[str, Any]:
  """One file of embeddings of the texts at `starts`, and its summary."""
  name = shard_name(number, count)
  with work.own_file(name) as path:
    with writing(work.directory):
      writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
    try:
      for first in range(0, len(starts), ROWS):
        embeddings, mask = embed(_read(file, starts[first : first + ROWS]))
        for embedding, given in zip(embeddings, mask, strict=True):
          with writing(work.directory):
            writer.write(embedding[given].astype(np.float16).tobytes())
    finally:
      with writing(work.directory):
        writer.close()
  _, length, width = embeddings.shape
  return {"files": {name: (work.partial / name).stat().st_size}, "length": length, "width": width}


def open_texts(directory: Path) -> Texts:
  """Opens a folder of embedded texts; MissingError or DataError where it is none, or damaged."""
  path = directory / "index.json"
  if not path.is_file():
    raise MissingError(f"{directory}: no embedded texts here; make them with --mode=prepare")
  try:
    content = json.loads(path.read_text())
    if content["format"] != FORMAT:
      raise ValueError(f"format {content['format']!r}, expected {FORMAT!r}")
    for name, size in content["files"].items():
      if (found := (directory / name).stat().st_size) != size:
        raise ValueError(f"{name} has {found} bytes, expected {size}")
    keys = np.load(directory / KEYS, allow_pickle=False)
    files = [directory / name for name in content["files"] if name != KEYS]
    allow_open_files(len(files))
    source = grain.sources.ArrayRecordDataSource(files)
    if len(source) != len(keys):
      raise ValueError(f"{len(source)} records, expected {len(keys)}")
    width, length, encoder = (content[name] for name in ("width", "length", "encoder"))
    notes = dict(content["notes"])
    return Texts(directory, keys, int(width), int(length), str(encoder), notes, source)
  except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
    reason = str(error).splitlines()[0]
    raise DataError(
      f"{directory}: damaged, or of another version ({reason}); remove it and prepare again"
    ) from None


def _key(text: str) -> int:
  return _hashes(text)[0]


def _hashes(text: str) -> tuple[int, int]:
  digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
  return int.from_bytes(digest[:8]), int.from_bytes(digest[8:])

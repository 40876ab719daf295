"""Embeddings of texts by a frozen encoder, made once and kept beside the records.

One record per distinct text: float16 [tokens, E], without padding. The largest T5 has four times as
many parameters as the model it serves; so it runs once, and no trainer ever holds it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Bool, Float16, Float32
from tqdm import tqdm

from stemphonic_jax.audio.files import whole_folder
from stemphonic_jax.data import grouping, prompts
from stemphonic_jax.data.records import MIX, Segment
from stemphonic_jax.data.shards import WRITER_OPTIONS, writing
from stemphonic_jax.errors import DataError, MissingError

FORMAT = "stemphonic_jax texts 1"
RECORDS, KEYS = "texts.array_record", "keys.npy"
ROWS = 32  # texts embedded between two looks at the progress

Embed = Callable[[Sequence[str]], tuple[Float32[np.ndarray, "n S E"], Bool[np.ndarray, "n S"]]]


@dataclass(frozen=True, eq=False)
class Texts:
  """A folder of embedded texts; `keys` are hashes of the texts, ascending, one per record.

  `encoder` is the SHA-256 of the encoder they were embedded with.
  """

  directory: Path
  keys: np.ndarray
  width: int
  length: int
  encoder: str
  source: grain.sources.ArrayRecordDataSource

  def encode(
    self, texts: Sequence[str]
  ) -> tuple[Float16[np.ndarray, "B S E"], Bool[np.ndarray, "B S"]]:
    """Embeddings, zero where padded, and the mask of what is not; DataError for an unknown text."""
    embeddings = np.zeros((len(texts), self.length, self.width), np.float16)
    mask = np.zeros((len(texts), self.length), bool)
    for row, text in enumerate(texts):
      key = _key(text)
      position = int(np.searchsorted(self.keys, key))
      if position == len(self.keys) or self.keys[position] != key:
        raise DataError(
          f"{self.directory}: holds no embedding of {text!r}; remove the folder and prepare again"
        )
      found = np.frombuffer(self.source[position], np.float16).reshape(-1, self.width)
      embeddings[row, : len(found)] = found
      mask[row, : len(found)] = True
    return embeddings, mask


def segment_texts(segment: Segment) -> Iterator[str]:
  """Every prompt that data/pipeline.py can draw of a segment, each once."""
  if segment.types == (MIX,):
    yield prompts.mix_prompt(segment.caption)
    return
  stems = len(segment.types)
  contexts = [0, *(1 << int(k) for k in np.flatnonzero(segment.audible)), *segment.submixes]
  found = dict.fromkeys(
    prompts.stem_prompt(
      segment.types[target],
      segment.caption,
      [segment.types[k] for k in np.flatnonzero(grouping.stems_of(context, stems))],
    )
    for target in np.flatnonzero(segment.audible)
    for context in contexts
    if not context >> target & 1
  )
  yield from found


def write_texts(directory: Path, texts: Iterable[str], embed: Embed, encoder: str = "") -> Texts:
  """Embeds each distinct text into a new folder, which appears whole or not at all.

  `embed` maps texts to embeddings and the mask of their tokens; `encoder` names what does so.
  OutputError where the folder cannot be written.
  """
  by_key: dict[int, str] = {}
  for text in texts:
    if by_key.setdefault(key := _key(text), text) != text:
      raise DataError(f"{text!r} and {by_key[key]!r} have one hash; change a letter of a caption")
  keys = sorted(by_key)  # so that a text is found by bisection of one array
  with whole_folder(directory) as folder:
    with writing(directory):
      writer = ArrayRecordWriter(str(folder / RECORDS), WRITER_OPTIONS)
    starts = range(0, len(keys), ROWS)
    for start in tqdm(starts, desc="texts", unit=f" x {ROWS}", disable=None):
      rows = keys[start : start + ROWS]
      embeddings, mask = embed([by_key[key] for key in rows])
      for embedding, given in zip(embeddings, mask, strict=True):
        with writing(directory):
          writer.write(embedding[given].astype(np.float16).tobytes())
    with writing(directory):
      writer.close()
    np.save(folder / KEYS, np.array(keys, np.uint64))
    _, length, width = embeddings.shape
    content = {
      "format": FORMAT,
      "width": width,
      "length": length,
      "encoder": encoder,
      "files": {name: (folder / name).stat().st_size for name in (RECORDS, KEYS)},
    }
    (folder / "index.json").write_text(json.dumps(content, indent=2) + "\n")
  return open_texts(directory)


def open_texts(directory: Path) -> Texts:
  """Opens a folder of embedded texts; MissingError or DataError where it is none, or damaged."""
  path = directory / "index.json"
  if not path.is_file():
    raise MissingError(f"{directory}: no embedded texts here; make them with --mode=prepare")
  try:
    content = json.loads(path.read_text())
    if content["format"] != FORMAT:
      raise ValueError(f"format {content['format']!r}, expected {FORMAT!r}")
    for name in (RECORDS, KEYS):
      if (found := (directory / name).stat().st_size) != content["files"][name]:
        raise ValueError(f"{name} has {found} bytes, expected {content['files'][name]}")
    keys = np.load(directory / KEYS, allow_pickle=False)
    source = grain.sources.ArrayRecordDataSource([directory / RECORDS])
    width, length, encoder = (content[name] for name in ("width", "length", "encoder"))
    return Texts(directory, keys, int(width), int(length), str(encoder), source)
  except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
    reason = str(error).splitlines()[0]
    raise DataError(f"{directory}: damaged ({reason}); remove it and prepare again") from None


def _key(text: str) -> int:
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())

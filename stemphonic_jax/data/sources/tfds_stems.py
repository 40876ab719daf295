"""A tensorflow-datasets builder over all sources, without TensorFlow: mixes as examples on disk.

    config = StemsConfig(source="musdb", root="/data/musdb18hq", rate=44_100)
    Stems(data_dir=OUT, config=config).download_and_prepare()       # nothing is downloaded
    mixes(tfds.data_source("stems/musdb_44100", data_dir=OUT, split="train"))[0]   # a Mix

An example is one mix; its stems, of equal length, are audio files in bytes, which take the least
room and which any library decodes. What reads them needs none of this project. Building takes a
few times the memory of the longest mix, however many there are.

A set that one machine cannot build is built by Apache Beam: `StemsConfig(…, beam=True)`, and a
`tfds.download.DownloadConfig` that names the runner.
"""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import tensorflow_datasets as tfds
from absl import logging
from array_record.python.array_record_module import ArrayRecordWriter
from jaxtyping import Float32
from scipy.io import wavfile

from stemphonic_jax.data.bar import bar
from stemphonic_jax.data.sources import folder, moisesdb, musdb, slakh
from stemphonic_jax.data.sources import mixes as whole_mixes
from stemphonic_jax.data.sources.catalogue import Entry, scan
from stemphonic_jax.data.sources.reader import read_entry
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.errors import (
  DataError,
  MissingError,
  OutputError,
  StemphonicError,
  UsageError,
  first_line,
)

SPLITS = {"": "train", "valid": "validation"}  # as tensorflow-datasets calls them
SHARD = 128 << 20  # bytes of a file, which are in memory before they are written
MOST = (1 << 31) - (1 << 20)  # bytes of an example, which is one protocol buffer of 2 GiB at most

Example = dict[str, Any]
Item = tuple[int, Entry]  # with its position in the catalogue
Read = Callable[[Item], list[tuple[int, Example]]]


class Origin(NamedTuple):
  """Where a set is from, for whoever meets what was built of it."""

  licence: str
  homepage: str = ""
  citation: str = ""


ORIGINS = {
  "musdb": Origin(
    musdb.LICENCE,
    "https://sigsep.github.io/datasets/musdb.html",
    "Z. Rafii, A. Liutkus, F.-R. Stöter, S. I. Mimilakis, R. Bittner. MUSDB18-HQ - an uncompressed"
    " version of MUSDB18. 2019. doi:10.5281/zenodo.3338373",
  ),
  "moisesdb": Origin(
    moisesdb.LICENCE,
    "https://github.com/moises-ai/moises-db",
    "I. Pereira, F. Araújo, F. Korzeniowski, R. Vogl. MoisesDB: A Dataset for Source Separation"
    " Beyond 4-Stems. ISMIR 2023. arXiv:2307.15913",
  ),
  "slakh": Origin(
    slakh.LICENCE,
    "http://www.slakh.com",
    "E. Manilow, G. Wichern, P. Seetharaman, J. Le Roux. Cutting Music Source Separation Some"
    " Slakh: A Dataset to Study the Impact of Training Data Quality and Quantity. WASPAA 2019."
    " arXiv:1909.08494",
  ),
  "folder": Origin(folder.LICENCE),
  "mixes": Origin(whole_mixes.LICENCE),
}


@dataclass(eq=False, kw_only=True)
class StemsConfig(tfds.core.BuilderConfig):
  """What is built: the set at `root`, read at `rate` Hz with stems `tolerance` seconds apart.

  `name` becomes a folder, "SOURCE_RATE" by default: two folders of one source need two names.
  With `beam`, Apache Beam builds it. UsageError for an unknown source.
  """

  source: str
  root: str | Path
  rate: int = 44_100
  tolerance: float = 1.0
  beam: bool = False
  name: str = ""

  def __post_init__(self):
    if self.source not in ORIGINS:
      raise UsageError(f"unknown source {self.source!r}; sources: {', '.join(ORIGINS)}")
    self.name = self.name or f"{self.source}_{self.rate}"


class _Info(tfds.core.DatasetInfo):
  def initialize_from_bucket(self) -> None:
    """Asks nobody: the public bucket does not have what was built here, and need not know of it.

    tfds also leaves an empty folder among temporary files each time it asks.
    """


class Stems(tfds.core.GeneratorBasedBuilder):
  """One example per mix, in the order of the catalogue; a mix that cannot be used is left out."""

  VERSION = tfds.core.Version("1.0.0")
  RELEASE_NOTES = {"1.0.0": "First one."}  # noqa: RUF012 (tfds declares it)
  # Where checksums of downloads are, of which there are none; to find it out takes a package that
  # tfds does not declare (importlib_resources).
  code_path = None

  def __init__(self, *, file_format: str = "array_record", **options):
    """As the base class, but not in TFRecord, which needs TensorFlow and has no random access.

    UsageError where what is built there already was made of another folder.
    """
    super().__init__(file_format=file_format, **options)
    built = (self.info.metadata or {}).get("root")
    if self.is_prepared() and built not in (None, _digest(self.builder_config.root)):
      raise UsageError(
        f"{self.data_dir}: was built of another folder than {self.builder_config.root}; give the"
        f" config another name, or remove it"
      )

  def _info(self) -> tfds.core.DatasetInfo:
    config = self.builder_config
    if not isinstance(config, StemsConfig):
      raise UsageError(
        "no StemsConfig was given; what is built already is opened by name"
        ' ("stems/musdb_44100") or by tfds.builder_from_directory'
      )
    origin = ORIGINS[config.source]
    text, texts = tfds.features.Text, tfds.features.Sequence(tfds.features.Text())
    return _Info(
      builder=self,
      description=f"Mixes of {config.source} as synchronised stereo stems at {config.rate} Hz.",
      features=tfds.features.FeaturesDict(
        {
          "id": text(),
          "caption": text(doc="Of the whole mix, or empty."),
          "genre": text(),
          "bpm": tfds.features.Scalar(np.float32, doc="Beats per minute, or NaN."),
          "rate": tfds.features.Scalar(np.int32, doc="In Hz, of all stems."),
          "names": texts,
          "types": texts,
          "labels": texts,
          "bleed": tfds.features.Sequence(np.bool_),
          # Bytes are a scalar of objects: numpy's own type for them drops zeros at the end.
          "audio": tfds.features.Sequence(
            tfds.features.Tensor(shape=(), dtype=np.object_), doc="A FLAC or WAV file per stem."
          ),
        }
      ),
      disable_shuffling=True,
      homepage=origin.homepage or None,
      citation=origin.citation or None,
      license=origin.licence,
      metadata=tfds.core.MetadataDict(root=_digest(config.root), source=config.source),
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    """Examples by split; DataError where no mix is left.

    A split begins with a mix that can be read, because tfds does not allow for an empty one.
    """
    config, parts = self.builder_config, {}
    for position, entry in enumerate(scan(config.source, config.root).entries):
      parts.setdefault(SPLITS.get(entry.split, entry.split), []).append((position, entry))
    read = functools.partial(_read, rate=config.rate, tolerance=config.tolerance)
    splits = {}
    for name, items in parts.items():
      usable = list(itertools.dropwhile(lambda item: not read(item), items))
      if usable:
        splits[name] = self._generate_examples(usable, read)
      else:
        logging.warning("no mix of the split %s can be used", name)
    if not splits:
      raise DataError(f"{config.root}: no usable mix; the log says why")
    return splits

  def _generate_examples(self, items: Sequence[Item], read: Read) -> Any:
    """An iterator of (position, example), or what Beam makes of it; MissingError without Beam."""
    if not self.builder_config.beam:
      told = bar(items, "mixes", len(items), "mixes")
      return itertools.chain.from_iterable(map(read, told))
    try:
      import apache_beam as beam
    except ImportError:
      raise MissingError(
        'Apache Beam is not installed: pip install "stemphonic-jax[beam]"'
      ) from None
    return beam.Create(items) | beam.FlatMap(read)

  def _generate_splits(self, dl_manager: Any, download_config: Any) -> list[tfds.core.SplitInfo]:
    """As the base class, but file after file.

    To bring examples in order, that one keeps up to 1 GB of them, and needs TensorFlow for more.
    """
    if self.builder_config.beam:
      return super()._generate_splits(dl_manager, download_config)
    most = download_config.max_examples_per_split
    return [
      # No generator expression, which would hold an example while the next one is made.
      self._write_split(name, map(operator.itemgetter(1), itertools.islice(examples, most)))
      for name, examples in self._split_generators(dl_manager).items()
    ]

  def _write_split(self, name: str, examples: Iterable[Example]) -> tfds.core.SplitInfo:
    """Writes the files of a split, whose names hold their number, which is known in the end."""
    template = self._get_filename_template(split_name=name)
    paths, lengths, size = [], [], 0
    for records in _files(map(self.info.features.serialize_example, examples)):
      paths.append(template.data_dir / f"{name}-{len(paths):05d}.partial")
      _write(Path(paths[-1]), records)
      lengths.append(len(records))
      size += sum(map(len, records))
    for number, path in enumerate(paths):
      path.rename(template.sharded_filepath(shard_index=number, num_shards=len(paths)))
    return tfds.core.SplitInfo(
      name=name, shard_lengths=lengths, num_bytes=size, filename_template=template
    )


def mixes(source: Sequence[Mapping[str, Any]]) -> Sequence[Mix]:
  """What `tfds.data_source` gives, as mixes that are decoded when they are asked for."""
  return _Mixes(source)


def mix_of(example: Mapping[str, Any]) -> Mix:
  """The mix of an example as it was read from its files, to the sample; DataError where damaged.

  Of its tempo, float32 is left, as of every number in an example.
  """
  name = example["id"].decode()
  fields = ("names", "types", "audio", "labels", "bleed")
  stems = {
    stem.decode(): Stem(kind.decode(), from_file(audio), label.decode(), bool(bleed))
    for stem, kind, audio, label, bleed in zip(*(example[f] for f in fields), strict=True)
  }
  bpm = float(example["bpm"])
  caption = example["caption"].decode()
  return Mix(name, stems, caption, None if math.isnan(bpm) else bpm, int(example["rate"]))


def to_file(audio: Float32[np.ndarray, "samples 2"], rate: int) -> bytes:
  """The smallest audio file that holds the samples exactly.

  FLAC of 16 or 24 bits where every sample is such a number, as in files of 16 or 24 bits and most
  sums of them; else WAV of floats, which resampled or lossy audio comes to.
  """
  file = io.BytesIO()
  for bits, dtype in ((16, np.int16), (24, np.int32)):
    full = 2 ** (bits - 1)
    whole = audio * np.float32(full)  # exact, as any power of two is
    if whole.min() >= -full and whole.max() < full and (whole == np.rint(whole)).all():
      # libsndfile takes 24 bits as the upper ones of 32.
      samples = whole.astype(dtype) << (8 * np.dtype(dtype).itemsize - bits)
      soundfile.write(file, samples, rate, format="FLAC", subtype=f"PCM_{bits}")
      return file.getvalue()
  wavfile.write(file, rate, audio)
  return file.getvalue()


def from_file(content: bytes) -> Float32[np.ndarray, "samples 2"]:
  """The samples that `to_file` was given; DataError where the file is damaged."""
  try:
    return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0]
  except soundfile.LibsndfileError as error:
    raise DataError(f"a stem in the example is damaged ({error.error_string})") from None


@dataclass(frozen=True, eq=False)
class _Mixes(Sequence):
  source: Sequence[Mapping[str, Any]]

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> Mix:
    if not -len(self) <= index < len(self):
      raise IndexError(f"mix {index} of {len(self)}")
    return mix_of(self.source[index % len(self)])


def _read(item: Item, rate: int, tolerance: float) -> list[tuple[int, Example]]:
  """(position, example) of an entry, or nothing where it cannot be used, with the reason logged."""
  position, entry = item
  try:
    mix, _ = read_entry(entry, rate, tolerance=tolerance)
    return [(position, _example(mix, entry.genre))]
  except StemphonicError as error:
    logging.warning("%s is left out: %s", entry.id, error)
    return []


def _example(mix: Mix, genre: str) -> Example:
  stems = mix.stems.values()
  audio = [to_file(stem.audio, mix.rate) for stem in stems]
  if sum(map(len, audio)) > MOST:
    raise DataError(f"mix {mix.id}: {sum(map(len, audio))} bytes, expected at most {MOST}; cut it")
  return {
    "id": mix.id,
    "caption": mix.caption,
    "genre": genre,
    "bpm": math.nan if mix.bpm is None else mix.bpm,
    "rate": mix.rate,
    "names": list(mix.stems),
    "types": [stem.type for stem in stems],
    "labels": [stem.label for stem in stems],
    "bleed": [stem.bleed for stem in stems],
    "audio": audio,
  }


def _files(records: Iterable[bytes]) -> Iterator[list[bytes]]:
  """Records in order, as many at once as go into one file; the list is emptied afterwards."""
  file, size = [], 0
  for record in records:
    file.append(record)
    size += len(record)
    del record
    if size >= SHARD:
      yield file
      file.clear()
      size = 0
  if file:
    yield file


def _write(path: Path, records: Sequence[bytes]) -> None:
  """Writes one file; OutputError where it cannot, which ArrayRecord raises as RuntimeError."""
  try:
    writer = ArrayRecordWriter(str(path), "group_size:1")
    try:
      for record in records:
        writer.write(record)
    finally:
      writer.close()
  except (OSError, RuntimeError) as error:
    raise OutputError(f"{path.parent}: cannot be written ({first_line(error)})") from None


def _digest(root: str | Path) -> str:
  """What tells one folder from another without saying where either is."""
  return hashlib.sha256(str(Path(root).resolve()).encode()).hexdigest()

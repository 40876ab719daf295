"""Records: the prepared form of a dataset, latents and all, as a folder of ArrayRecord files.

One record is one *segment*: a stretch of one mix of the model's length, its stems and its stored
sub-mixes already encoded, so that training never decodes audio. A sub-mix cannot be computed from
its stems' latents, because waveforms are summed before they are encoded (Sec. 3.1). So sub-mixes
are stored encoded, or the stems' waveforms are, to be summed and encoded when they are drawn.

    FOLDER/index.json                     what all records share (`Index`), and the files' sizes
    FOLDER/00000-of-00004.array_record    records: safetensors, so nothing in them can run

A whole mix, for pre-training, is a segment with one stem of the type `MIX`.

Systems that generate codes have records of codes, which are whole numbers in the place of latents,
one for each level of a codec; of these there are no statistics.
"""

from __future__ import annotations

import json
import math
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grain
import numpy as np
from jaxtyping import Bool, Float32
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from stemphonic_jax.audio.folders import if_file
from stemphonic_jax.data.batching import grouping
from stemphonic_jax.errors import DataError, MissingError, OutputError, first_line

FORMAT = "stemphonic_jax records 2"
SPARE_FILES = 256  # that a process may open besides those of its records


@dataclass(frozen=True, eq=False)
class Waveforms:
  """The audio of a segment's K stems in 16 bits, and the `masks` of the sub-mixes to be drawn.

  A stem is samples * gain / 2^15; the gain is 1 unless the stem exceeds full scale, so that what
  was 16 bits on disk stays what it was.
  """

  samples: np.ndarray  # int16 [K, N, 2]
  gains: np.ndarray  # float32 [K]
  masks: tuple[int, ...]

  @staticmethod
  def of(stems: Sequence[Float32[np.ndarray, "N 2"]], masks: Sequence[int]) -> Waveforms:
    """Rounds stems to 16 bits."""
    most = 2.0**15 / (2**15 - 1)  # of the largest number there are 16 bits for, one step below 1
    gains = [max(1.0, float(stem.max()) * most, -float(stem.min())) for stem in stems]
    whole = [np.rint(stem * (2.0**15 / gain)) for stem, gain in zip(stems, gains, strict=True)]
    samples = np.stack([np.clip(x, -(2**15), 2**15 - 1).astype(np.int16) for x in whole])
    return Waveforms(samples, np.float32(gains), tuple(masks))

  def submix(self, mask: int) -> Float32[np.ndarray, "N 2"]:
    """The sum of the stems in `mask`."""
    stems = np.flatnonzero(grouping.stems_of(mask, len(self.samples)))
    total = np.zeros(self.samples.shape[1:], np.float32)
    for k in stems:
      total += self.samples[k] * np.float32(self.gains[k] / 2**15)
    return total


@dataclass(frozen=True, eq=False)
class Segment:
  """One stretch of a mix, encoded: K stems of T frames with C channels, or with codes of C levels.

  `id` names the mix and the place in it; `bpm` is NaN where unknown; what follows after `seconds`
  is appended silence (None: nothing is). Latents are posterior means, not standardised, and
  `deviations` the posterior's standard deviations, where they are kept. Sets of two stems or more
  are in `submixes`, latents by mask (bit k is stem k), or can be summed from `waveforms`. What
  `caption` says, `captions` say in other words; `words` are each stem's own, "" where there are
  none, and () where no stem has any. DataError where the parts do not fit together.
  """

  id: str
  names: tuple[str, ...]
  types: tuple[str, ...]
  caption: str
  bpm: float
  latents: np.ndarray  # float16 [K, T, C], or uint16 where they are codes
  activity: np.ndarray  # int8 [K, T] in {0, 1}
  submixes: Mapping[int, np.ndarray] = field(default_factory=dict)  # [T, C] each, as `latents`
  seconds: float | None = None
  deviations: np.ndarray | None = None  # float16 [K, T, C]
  waveforms: Waveforms | None = None
  captions: tuple[str, ...] = ()
  words: tuple[str, ...] = ()

  def __post_init__(self):
    stems = len(self.names)
    if not 1 <= stems <= grouping.MAX_STEMS:
      raise DataError(f"segment {self.id}: {stems} stems, expected 1 to {grouping.MAX_STEMS}")
    shape = self.latents.shape
    expect(self.id, "types", (len(self.types),), (stems,))
    if self.words:
      expect(self.id, "words", (len(self.words),), (stems,))
    kind = "uint16" if self.latents.dtype == np.uint16 else "float16"
    expect(self.id, "latents", (*shape, self.latents.dtype.name), (stems, *shape[1:3], kind))
    expect(
      self.id, "activity", (*self.activity.shape, self.activity.dtype.name), (*shape[:2], "int8")
    )
    if self.deviations is not None:
      found = (*self.deviations.shape, self.deviations.dtype.name, kind)
      expect(self.id, "deviations", found, (*shape, "float16", "float16"))
    if self.waveforms is not None:
      expect(self.id, "waveforms", self.waveforms.samples.shape[::2], (stems, 2))
      expect(self.id, "gains", self.waveforms.gains.shape, (stems,))
    for mask in self.masks:
      if mask >> stems or mask.bit_count() < 2:
        raise DataError(
          f"segment {self.id}: sub-mix {mask:b}, expected a set of 2 to {stems} stems"
        )
    for mask, latents in self.submixes.items():
      name = f"sub-mix {mask:b}"
      expect(self.id, name, (*latents.shape, latents.dtype.name), (*shape[1:], kind))

  @property
  def audible(self) -> Bool[np.ndarray, "K"]:
    """The stems that sound in this segment, in one frame at least."""
    return self.activity.any(axis=1)

  @property
  def masks(self) -> tuple[int, ...]:
    """The sub-mixes of two stems or more that can be drawn."""
    return self.waveforms.masks if self.waveforms else tuple(self.submixes)

  def submix(self, mask: int) -> np.ndarray:
    """The latents [T, C] of the stems in `mask` together: one stem's own, or a stored sub-mix."""
    return self.latents[mask.bit_length() - 1] if mask.bit_count() == 1 else self.submixes[mask]


@dataclass(frozen=True, eq=False)
class Statistics:
  """Mean and standard deviation of each latent channel over every frame of every audible stem.

  These are the frames the model learns to generate, rests included; standardised, they have the
  variance of the noise they are mixed with. Where deviations are kept, they are those of draws from
  the posteriors. A model keeps the statistics it was trained with.
  """

  mean: Float32[np.ndarray, "C"]
  std: Float32[np.ndarray, "C"]

  def standardize(self, latents):
    """Latents [..., C] as encoded -> as the DiT sees them."""
    return (latents - self.mean) / self.std

  def restore(self, latents):
    """Latents [..., C] as the DiT makes them -> as the decoder takes them."""
    return latents * self.std + self.mean


@dataclass(frozen=True)
class Index:
  """What all records of a folder share; `hop` in samples per latent frame, `rate` in Hz.

  `audible` has the mask of the stems that sound in each record, from which batches are planned
  without reading any. `notes` say where the records come from: the licence of the audio, the
  SHA-256 of the autoencoder, or fingerprints of the codecs. Of codes there are no `statistics`.
  """

  count: int
  frames: int
  channels: int
  hop: int
  rate: int
  statistics: Statistics | None
  audible: Sequence[int]
  notes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Records:
  """A folder of records, as a sequence of segments with random access."""

  directory: Path
  index: Index
  source: grain.sources.ArrayRecordDataSource

  def __len__(self) -> int:
    return self.index.count

  def __getitem__(self, position: int) -> Segment:
    if not 0 <= position < len(self):
      raise IndexError(f"{self.directory}: record {position} of {len(self)}")
    try:
      return from_bytes(self.source[position])
    except (RuntimeError, SafetensorError, KeyError, json.JSONDecodeError) as error:
      # ArrayRecord checks a hash of what it reads, so a damaged disk ends here and not in a loss.
      reason = first_line(error)
      raise DataError(
        f"{self.directory}: record {position} is damaged ({reason}); prepare the folder again"
      ) from None


def to_bytes(segment: Segment) -> bytes:
  """Serialises a segment as one safetensors file; its text is JSON in an array of uint8."""
  text = {name: getattr(segment, name) for name in ("id", "names", "types", "caption")}
  text["bpm"] = None if math.isnan(segment.bpm) else segment.bpm
  text["seconds"] = segment.seconds
  text |= {n: getattr(segment, n) for n in ("captions", "words") if any(getattr(segment, n))}
  arrays = {
    "text": np.frombuffer(json.dumps(text).encode(), np.uint8),
    "latents": segment.latents,
    "activity": segment.activity,
  }
  if segment.masks:
    arrays["masks"] = np.array(segment.masks, np.int64)
  if segment.submixes:
    arrays["submixes"] = np.stack(list(segment.submixes.values()))
  if segment.deviations is not None:
    arrays["deviations"] = segment.deviations
  if segment.waveforms:
    arrays["waveforms"], arrays["gains"] = segment.waveforms.samples, segment.waveforms.gains
  return safetensors.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def from_bytes(record: bytes) -> Segment:
  """The segment that `to_bytes` serialised."""
  arrays = safetensors.load(record)
  text = json.loads(arrays["text"].tobytes())
  masks = arrays["masks"].tolist() if "masks" in arrays else []
  waveforms = None
  if "waveforms" in arrays:
    waveforms, masks = Waveforms(arrays["waveforms"], arrays["gains"], tuple(masks)), []
  return Segment(
    id=text["id"],
    names=tuple(text["names"]),
    types=tuple(text["types"]),
    caption=text["caption"],
    bpm=math.nan if text["bpm"] is None else text["bpm"],
    latents=arrays["latents"],
    activity=arrays["activity"],
    submixes=dict(zip(masks, arrays.get("submixes", ()), strict=True)),
    seconds=text["seconds"],
    deviations=arrays.get("deviations"),
    waveforms=waveforms,
    captions=tuple(text.get("captions", ())),
    words=tuple(text.get("words", ())),
  )


def open_unseen(folder: Path) -> Records:
  """The records that a run on `folder` is measured on: those held out, if any are, else its own."""
  return open_records(folder / ("held_out" if (folder / "held_out").exists() else "train"))


def open_records(directory: str | Path) -> Records:
  """Opens a folder of records: `records[i]` is a Segment, in the order written if in one file.

  MissingError where the folder or a file of it is missing; DataError where it is not a folder of
  records, or a file is not as long as it was written.
  """
  directory = Path(directory)
  path = directory / "index.json"
  if not path.is_file():
    what = "no index.json in this folder" if directory.is_dir() else "no such folder of records"
    hint = if_file(directory) or "; make one with --mode=prepare"
    raise MissingError(f"{directory}: {what}{hint}")
  try:
    content = json.loads(path.read_text())
    if content["format"] != FORMAT:
      raise ValueError(f"format {content['format']!r}, expected {FORMAT!r}")
    files = {str(name): int(size) for name, size in content["files"].items()}
    notes = dict(content.get("notes", {}))
    moments = [
      np.array(content[n], np.float32) for n in ("mean", "std") if not content.get("codes")
    ]
    statistics = Statistics(*moments) if moments else None
    sizes = {name: int(content[name]) for name in ("count", "frames", "channels", "hop", "rate")}
    audible = [int(mask) for mask in content["audible"]]
    if len(audible) != sizes["count"]:
      raise ValueError(f"audible stems of {len(audible)} records, expected {sizes['count']}")
  except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
    raise DataError(
      f"{path}: not an index of records ({first_line(error)}); remove the folder and prepare again"
    ) from None
  for name, size in files.items():
    if not (directory / name).is_file():
      raise MissingError(f"{directory}: {name} is missing; copy or prepare the folder again")
    if (found := (directory / name).stat().st_size) != size:
      raise DataError(f"{directory / name}: {found} bytes, expected {size}; copy the folder again")
  allow_open_files(len(files))
  try:
    source = grain.sources.ArrayRecordDataSource([directory / name for name in files])
  except RuntimeError as error:
    raise DataError(f"{directory}: damaged ({first_line(error)}); prepare it again") from None
  return Records(
    directory, Index(**sizes, statistics=statistics, audible=audible, notes=notes), source
  )


def allow_open_files(count: int) -> None:
  """Lets the process have `count` more files open, as readers of records do, if the system does.

  OutputError where it does not.
  """
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  needed = len(os.listdir("/dev/fd")) + count + SPARE_FILES
  if needed <= soft:
    return
  if hard not in (resource.RLIM_INFINITY, -1) and needed > hard:
    raise OutputError(
      f"{count} files are to be open at once, and the system allows {hard}: raise it (ulimit -Hn),"
      f" or prepare with more mixes to a file (--shard)"
    )
  resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def expect(segment: str, name: str, got: tuple, expected: tuple) -> None:
  """DataError where a part of a segment is not as expected."""
  if got != expected:
    raise DataError(f"segment {segment}: {name} {list(got)}, expected {list(expected)}")

"""What the header of an audio file promises, beside what the file holds.

A decoder takes a file that was cut off for a shorter one, plays the first of several that were
joined, and believes a recorder that died before it could write how much there is. Here the first is
refused before it is decoded, the second is read link by link where its format allows that (Ogg) and
else refused, and the third is read to its end.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stemphonic_jax.audio import mpeg, ogg
from stemphonic_jax.audio.view import View
from stemphonic_jax.errors import DataError

# By their first four bytes: the byte order of sizes in files made of chunks (WAV, AIFF).
CHUNKED = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}
MAX_CHUNKS = 10_000  # a file of zeros has a chunk in every eight bytes
ELSEWHERE = 0xFFFFFFFF  # the size of the samples in an RF64, which has another place for it
# Sizes of samples that programs write which cannot go back and fill them in: all bits set, or those
# that a header leaves of them; in a WAV ALSA's; and SoX's, which is a whole number of samples.
ALL_BITS = range(0xFFFFFF00, 1 << 32)
UNSAID = {
  b"data": (ALL_BITS, range(0x7FFFFFFF, 0x80000001), range(0x7FFFEFC0, 0x7FFFF001)),
  b"SSND": (ALL_BITS, range(0x7EFFFFC0, 0x7F000009)),
}
MP3_IN_WAV = 0x55  # the format tag
REST = 1 << 12  # bytes of whatever that may follow the samples of a WAV
TAIL = 1 << 16  # bytes that a decoder may have read ahead
FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")


def streams(path: Path, file: BinaryIO) -> list[BinaryIO]:
  """What to decode, one after the other: mostly `file` itself, else stretches of it.

  DataError where a WAV, AIFF, OGG or MP3 ends before it should, or goes on with what no decoder
  would reach. An MP3 says how long it is in a first frame that not every encoder writes; FLAC has
  no size in bytes, and shows a loss when it is decoded.
  """
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  magic = file.read(4)
  if magic in CHUNKED:
    return [_chunked(path, file, size, CHUNKED[magic])]
  if magic == b"OggS":
    starts = ogg.links(path, file)
    if len(starts) < 2:
      return [file]
    return [View(file, a, b, {}) for a, b in zip(starts, [*starts[1:], size], strict=True)]
  if mpeg.is_mpeg(magic) or magic == mpeg.APE[:4]:
    start, end = mpeg.without_tags(file)
    found = file if (start, end) == (0, size) else View(file, start, end, {})
    mpeg.check(path, found)
    return [mpeg.counted(found)]
  return [file]


def has_second_flac(file: BinaryIO, decoded: int | None) -> bool:
  """Whether another FLAC follows in one of which about `decoded` bytes were read; None for any."""
  first, _ = mpeg.bytes_of(file)  # after tags, which may be a picture
  file.seek(first + 8 if decoded is None else max(first + 8, decoded - TAIL))
  rest = file.read()
  return any(mark in rest for mark in FLAC_STARTS)


@dataclass
class _Samples:
  """Where the samples of a file of chunks are, as far as its headers say; bytes."""

  name: bytes  # of their chunk
  start: int
  length: int
  size_at: int  # where the length is written
  tag: int | None  # of the format, in a WAV


def _chunked(path: Path, file: BinaryIO, size: int, order: str) -> BinaryIO:
  samples = _samples(file, order)
  if samples is None:
    return file  # its decoder will say so
  promised = samples.start + samples.length
  untold = _is_untold(file, samples, size)
  if not untold and promised > size:
    raise DataError(
      f"{path}: cut off: {size} bytes, and its header says {promised}; copy or export it again"
    )
  if samples.tag == MP3_IN_WAV:
    found = View(file, samples.start, size if untold else promised, {})
    mpeg.check(path, found)
    return mpeg.counted(found)
  if untold:
    patches = {samples.size_at: struct.pack(order + "I", size - samples.start)}
    file.seek(0)
    if file.read(4) == b"RF64":  # whose own places for sizes are not filled in either
      patches[0] = b"RIFF"
    return View(file, 0, size, patches)
  _check_rest(path, file, promised, size)
  return file


def _is_untold(file: BinaryIO, samples: _Samples, size: int) -> bool:
  """Whether a header does not say how many samples there are, though there are some."""
  there = size - samples.start
  if samples.length in (0, 8):  # 8: of an AIFF, what stands before its samples
    return there > samples.length and not _is_chunk(file, samples.start + samples.length)
  return samples.length > there and any(samples.length in known for known in UNSAID[samples.name])


def _samples(file: BinaryIO, order: str) -> _Samples | None:
  position, long, tag = 12, 0, None
  for _ in range(MAX_CHUNKS):
    file.seek(position)
    head = file.read(24)
    if len(head) < 8:
      return None
    name, length = struct.unpack_from(order + "4sI", head)
    if name == b"ds64" and len(head) == 24:  # the sizes of a WAV of more than 4 GB
      (long,) = struct.unpack_from("<Q", head, 16)
    if name == b"fmt " and len(head) >= 10:
      (tag,) = struct.unpack_from(order + "H", head, 8)
    if name in (b"data", b"SSND"):
      length = (long or length) if length == ELSEWHERE else length
      return _Samples(name, position + 8, length, position + 4, tag)
    position += 8 + length + length % 2
  return None


def _check_rest(path: Path, file: BinaryIO, end: int, size: int) -> None:
  """DataError where what follows the samples is audio again, and no chunk, tag or little of any."""
  places = (end, end + 1) if end % 2 else (end,)  # not every program pads to an even number
  for place in places:
    file.seek(place)
    head = file.read(12)
    if head[:4] in CHUNKED and head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
      raise DataError(
        f"{path}: another file begins at byte {place} of {size}: files were joined; export them as"
        f" one"
      )
  if (
    size - end > REST and not any(_is_chunk(file, place) for place in places) and _sounds(file, end)
  ):
    raise DataError(
      f"{path}: {size - end} bytes follow the samples that its header tells of, as if its recording"
      f" was interrupted; open it as raw audio, or export it again"
    )


def _is_chunk(file: BinaryIO, position: int) -> bool:
  """Whether a chunk's name is there, four printable characters, or an ID3 tag."""
  file.seek(position)
  name = file.read(4)
  return name[:3] == b"ID3" or (len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name))


def _sounds(file: BinaryIO, position: int) -> bool:
  """Whether anything but zeros follows."""
  file.seek(position)
  return any(any(block) for block in iter(lambda: file.read(TAIL), b""))

"""What the header of an audio file promises, beside what the file holds.

A decoder takes a file that was cut off for a shorter one and says nothing, or prints to the
terminal; here it is refused before it is decoded.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from stemphonic_jax.errors import DataError

# By their first four bytes: the byte order of sizes in files made of chunks (WAV, AIFF).
CHUNKED = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}
MAX_CHUNKS = 10_000  # a file of zeros has a chunk in every eight bytes
UNKNOWN = 0xFFFFFFFF  # the size written by programs that cannot go back and fill it in
OGG_PAGE = 27 + 255 + 255 * 255  # bytes, the longest there is
MPEG_FRAME = 1441  # bytes; whether the first frame counts itself differs between encoders
MPEG_SEARCH = 4096  # bytes after the tags in which the first frame is


def check_size(path: Path, file: BinaryIO) -> bytes:
  """The first four bytes; DataError where a WAV, AIFF, OGG or MP3 `file` ends before it should.

  An MP3 says how long it is in a first frame that not every encoder writes; FLAC has no size in
  bytes, and shows a loss when it is decoded.
  """
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  magic = file.read(4)
  if magic in CHUNKED:
    promised = _audio_end(file, CHUNKED[magic])
    if promised > size:
      raise DataError(
        f"{path}: cut off: {size} bytes, and its header says {promised}; copy or export it again"
      )
  elif magic == b"OggS" and not _ends_with_last_page(file, size):
    raise DataError(f"{path}: cut off: ends without a last page; copy or export it again")
  elif is_mpeg(magic):
    _check_mpeg(path, file, size)
  return magic


def is_mpeg(magic: bytes) -> bool:
  """Whether a file that begins with these four bytes is an MP3, as far as they can say."""
  return magic[:3] == b"ID3" or (len(magic) == 4 and magic[0] == 0xFF and magic[1] >= 0xE0)


def mpeg_bytes(file: BinaryIO) -> tuple[int, int | None]:
  """Where the first frame of an MP3 begins, and how many bytes it says follow from there."""
  file.seek(0)
  start, tag = 0, file.read(10)
  if tag[:3] == b"ID3" and len(tag) == 10:
    # Seven bits in each byte; a tag may end with a copy of its header.
    length = sum(
      (byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True)
    )
    start = 10 + length + (10 if tag[5] & 0x10 else 0)
  file.seek(start)
  head = file.read(MPEG_SEARCH)
  for name in (b"Xing", b"Info"):
    found = head.find(name)
    if found >= 0 and found + 16 <= len(head):
      flags, _, second = struct.unpack_from(">III", head, found + 4)
      if flags & 3 == 3:  # the number of frames, then the number of bytes
        return start, second
  return start, None


def _check_mpeg(path: Path, file: BinaryIO, size: int) -> None:
  start, promised = mpeg_bytes(file)
  if promised is None:
    return
  found = size - start
  if found < promised - MPEG_FRAME:
    raise DataError(
      f"{path}: cut off: {found} bytes of MP3, and its header says {promised}; copy or export it"
      f" again"
    )
  if found > 1.01 * promised + MPEG_FRAME:  # two files in one: the second would never be heard
    raise DataError(
      f"{path}: {found} bytes of MP3, and its header says {promised}: files were joined, or it is"
      f" damaged; convert it to FLAC"
    )


def _audio_end(file: BinaryIO, order: str) -> int:
  """The byte after the samples of a file of chunks, as far as its headers say; else 0."""
  position, long = 12, 0
  for _ in range(MAX_CHUNKS):
    file.seek(position)
    head = file.read(24)
    if len(head) < 8:
      break
    name, length = struct.unpack_from(order + "4sI", head)
    if name == b"ds64" and len(head) == 24:  # the sizes of a WAV of more than 4 GB
      (long,) = struct.unpack_from("<Q", head, 16)
    if name in (b"data", b"SSND"):
      return position + 8 + (long if length == UNKNOWN else length)
    position += 8 + length + length % 2
  return 0


def _ends_with_last_page(file: BinaryIO, size: int) -> bool:
  """Whether the last page of an OGG is complete and says that it is the last."""
  file.seek(max(0, size - 2 * OGG_PAGE))
  tail = file.read(2 * OGG_PAGE)
  page = tail[tail.rfind(b"OggS") :]
  if len(page) < 27 or len(page) < 27 + page[26]:
    return False
  lengths = page[27 : 27 + page[26]]
  return bool(page[5] & 4) and len(page) >= 27 + len(lengths) + sum(lengths)

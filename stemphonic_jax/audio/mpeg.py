"""MP3 files: what their first frame promises, and the tags around them that are no audio."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stemphonic_jax.errors import DataError

FRAME = 1441  # bytes; whether the first frame counts itself differs between encoders
SEARCH = 4096  # bytes after the tags in which the first frame is
APE, APE_HEADER = b"APETAGEX", 1 << 31  # a tag's ends, and the flag of one that begins so
LYRICS = b"LYRICS200"
# Of layer III: kbit/s by four bits, of MPEG 2 and of 1; Hz by version (2.5, none, 2, 1), two bits.
LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
HIGH = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
RATES = ((11_025, 12_000, 8_000), (), (22_050, 24_000, 16_000), (44_100, 48_000, 32_000))


def is_mpeg(magic: bytes) -> bool:
  """Whether a file that begins with these four bytes is an MP3, as far as they can say."""
  return magic[:3] == b"ID3" or (len(magic) == 4 and magic[0] == 0xFF and magic[1] >= 0xE0)


def without_tags(file: BinaryIO) -> tuple[int, int]:
  """Where a file begins, and ends, without APEv2, Lyrics3 and ID3v1 tags; ID3v2 counts as its own.

  A picture in an APEv2 tag is larger than many a song.
  """
  end = file.seek(0, os.SEEK_END)
  start = _ape(file, 0) or 0
  while start < (shorter := _last_tag(file, end)) < end:
    end = shorter
  return start, end


def bytes_of(file: BinaryIO) -> tuple[int, int | None]:
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
  head = file.read(SEARCH)
  for name in (b"Xing", b"Info"):
    found = head.find(name)
    if found >= 0 and found + 16 <= len(head):
      flags, _, second = struct.unpack_from(">III", head, found + 4)
      if flags & 3 == 3:  # the number of frames, then the number of bytes
        return start, second
  return start, None


def counted(file: BinaryIO) -> BinaryIO:
  """An MP3 that says how many frames it has: `file` itself, or a copy with such a first frame.

  Without one, libsndfile takes the bit rate of the beginning for that of all, and stops there.
  """
  start, promised = bytes_of(file)
  file.seek(start)
  if promised is not None or any(name in file.read(SEARCH) for name in (b"Xing", b"Info")):
    return file
  file.seek(start)
  data = file.read()
  sizes = list(_frames(data))
  if not sizes or sum(sizes) < len(data) - FRAME:
    return file  # damaged, or of another layer: its decoder will say so
  if max(sizes) - min(sizes) <= 1:
    return file  # of one bit rate, but for padding: the guess is right
  version, mono = data[1] >> 3 & 3, data[3] >> 6 == 3
  side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
  fields = bytes(side) + b"Info" + struct.pack(">III", 3, len(sizes), len(data))
  heads = (
    bytes((data[0], data[1] | 1, row << 4 | data[2] & 0x0C, data[3])) for row in range(1, 15)
  )
  head = next(head for head in heads if _size(head) >= 4 + len(fields))
  return io.BytesIO(head + fields.ljust(_size(head) - 4, b"\0") + data)


def check(path: Path, file: BinaryIO) -> None:
  """DataError where an MP3 has fewer bytes than its first frame says, or many more."""
  start, promised = bytes_of(file)
  if promised is None:
    return
  found = file.seek(0, os.SEEK_END) - start
  if found < promised - FRAME:
    raise DataError(
      f"{path}: cut off: {found} bytes of MP3, and its header says {promised}; copy or export it"
      f" again"
    )
  if found > 1.01 * promised + FRAME:  # two files in one: the second would never be heard
    raise DataError(
      f"{path}: {found} bytes of MP3, and its header says {promised}: files were joined, or it is"
      f" damaged; convert it to FLAC"
    )


def _frames(data: bytes) -> Iterator[int]:
  """The sizes of the frames of an MP3 from its first byte on, as far as they follow each other."""
  position = 0
  while size := _size(data[position : position + 4]):
    if position + size > len(data):
      return
    yield size
    position += size


def _size(head: bytes) -> int:
  """Bytes of the frame of layer III that begins so; 0 where none does, or it does not tell."""
  if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
    return 0
  version, row, column = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
  if version == 1 or row == 15 or column == 3 or not row:
    return 0
  rate = (HIGH if version == 3 else LOW)[row]
  return (144_000 if version == 3 else 72_000) * rate // RATES[version][column] + (head[2] >> 1 & 1)


def _last_tag(file: BinaryIO, end: int) -> int:
  """Where the tag begins that ends at `end`; `end` itself where none does."""
  if _read(file, end - 128, 3) == b"TAG":  # ID3v1
    return end - 128
  if _read(file, end - len(LYRICS), len(LYRICS)) == LYRICS:
    digits = _read(file, end - 15, 6)
    start = end - 15 - int(digits) if digits.isdigit() else end
    return start if _read(file, start, 11) == b"LYRICSBEGIN" else end
  return _ape_before(file, end)


def _ape(file: BinaryIO, position: int) -> int | None:
  """Where the APEv2 tag ends that begins at `position`."""
  head = _read(file, position, 32)
  if len(head) < 32 or head[:8] != APE:
    return None
  return position + 32 + struct.unpack_from("<I", head, 12)[0]  # which leaves the header out


def _ape_before(file: BinaryIO, end: int) -> int:
  foot = _read(file, end - 32, 32)
  if len(foot) < 32 or foot[:8] != APE:
    return end
  _, size, _, flags = struct.unpack_from("<4I", foot, 8)
  start = end - size - (32 if flags & APE_HEADER else 0)
  return start if 0 <= start < end else end


def _read(file: BinaryIO, position: int, count: int) -> bytes:
  if position < 0:
    return b""
  file.seek(position)
  return file.read(count)

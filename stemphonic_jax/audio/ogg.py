"""Ogg files: the links of a chain, and whether the last is whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from stemphonic_jax.errors import DataError

HEAD = 27  # bytes of a page, before the lengths of its segments
PAGE = HEAD + 255 + 255 * 255  # bytes, the longest there is
FIRST, LAST = 2, 4  # flags of a page: of a logical stream


def links(path: Path, file: BinaryIO) -> list[int]:
  """Where each link of a chained stream begins: only the first is ever decoded by libsndfile.

  Files that are joined byte by byte are a chain, which the format allows (RFC 3533, section 4).
  DataError where the file ends without a last page.
  """
  size = file.seek(0, os.SEEK_END)
  if not _ends_with_last_page(file, size):
    raise DataError(f"{path}: cut off: ends without a last page; copy or export it again")
  starts, position, first = [], 0, False
  while position < size:
    file.seek(position)
    head = file.read(HEAD + 255)
    if len(head) < HEAD or head[:4] != b"OggS":
      break  # damaged: its decoder will say so
    if head[5] & FIRST and file.seek(position + HEAD + head[26]) and file.read(5) == b"\x7fFLAC":
      raise DataError(f"{path}: is FLAC inside of OGG, expected FLAC alone; convert it")
    if head[5] & FIRST and not first:
      starts.append(position)
    first = bool(head[5] & FIRST)  # streams that are heard together all begin at the same place
    position += HEAD + head[26] + sum(head[HEAD : HEAD + head[26]])
  return starts


def _ends_with_last_page(file: BinaryIO, size: int) -> bool:
  """Whether the last page of an OGG is complete and says that it is the last."""
  file.seek(max(0, size - 2 * PAGE))
  tail = file.read(2 * PAGE)
  page = tail[tail.rfind(b"OggS") :]
  if len(page) < HEAD or len(page) < HEAD + page[26]:
    return False
  lengths = page[HEAD : HEAD + page[26]]
  return bool(page[5] & LAST) and len(page) >= HEAD + len(lengths) + sum(lengths)

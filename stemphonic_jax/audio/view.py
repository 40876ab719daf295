"""A stretch of a file as a file of its own, some of its bytes replaced."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import BinaryIO


class View(io.RawIOBase):
  """Reads bytes `start` to `end` of `file`; `patches` are bytes by their place in the view."""

  def __init__(self, file: BinaryIO, start: int, end: int, patches: Mapping[int, bytes]):
    self._file, self._start, self._size = file, start, max(0, end - start)
    self._patches, self._position = patches, 0

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return True

  def tell(self) -> int:
    return self._position

  def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
    base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
    self._position = max(0, base + offset)
    return self._position

  def readinto(self, buffer) -> int:
    target = memoryview(buffer).cast("B")
    wanted = max(0, min(len(target), self._size - self._position))
    self._file.seek(self._start + self._position)
    data = bytearray(self._file.read(wanted))
    for place, content in self._patches.items():
      for index, byte in enumerate(content, place - self._position):
        if 0 <= index < len(data):
          data[index] = byte
    target[: len(data)] = data
    self._position += len(data)
    return len(data)

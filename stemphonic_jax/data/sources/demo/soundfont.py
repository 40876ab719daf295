"""A SoundFont file: whether it is one and whole, and which programs it has; nothing is played here.

    RIFF sfbk: LIST INFO · LIST sdta (smpl: 16-bit samples) · LIST pdta (phdr: presets, ...)

SoundFont 2.04 specification, sections 3 to 7. Bank 128 has the drum kits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stemphonic_jax.errors import DataError, MissingError

DRUMS = 128  # bank
HEADER = struct.Struct("<20sHHHIII")  # name, program, bank, bag, library, genre, morphology
SIZES = {b"phdr": 38, b"pbag": 4, b"pmod": 10, b"pgen": 4, b"inst": 22, b"ibag": 4, b"imod": 10,
         b"igen": 4, b"shdr": 46}  # fmt: skip


def programs(path: Path) -> set[tuple[int, int]]:
  """(bank, program) of all presets; MissingError or DataError where it is no whole SoundFont."""
  if not path.is_file():
    what = "is a folder" if path.is_dir() else "no such file"
    raise MissingError(f"{path}: {what}; expected a SoundFont, as FluidR3_GM.sf2")
  try:
    with path.open("rb") as file:
      return _programs(file, path)
  except OSError as error:
    raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _programs(file: BinaryIO, path: Path) -> set[tuple[int, int]]:
  start = file.read(12)
  if len(start) < 12 or start[:4] != b"RIFF" or start[8:] != b"sfbk":
    raise DataError(f"{path}: not a SoundFont; expected a .sf2 file, which begins with RIFF … sfbk")
  size, expected = path.stat().st_size, 8 + int.from_bytes(start[4:8], "little")
  if size < expected:
    raise DataError(f"{path}: is cut off: {size} bytes, expected {expected}; copy it again")
  lists = dict(_chunks(file, expected, path))
  damaged = DataError(f"{path}: a damaged SoundFont; copy it again, or take another")
  if not {b"sdta", b"pdta"} <= lists.keys():
    raise damaged
  file.seek(lists[b"sdta"][0])
  samples = {name: end - first for name, (first, end) in _chunks(file, lists[b"sdta"][1], path)}
  file.seek(lists[b"pdta"][0])
  tables = dict(_chunks(file, lists[b"pdta"][1], path))
  if not samples.get(b"smpl") or tables.keys() != SIZES.keys():
    raise damaged
  if any((end - first) % SIZES[name] or end == first for name, (first, end) in tables.items()):
    raise damaged
  first, end = tables[b"phdr"]
  file.seek(first)
  rows = list(HEADER.iter_unpack(file.read(end - first)))[:-1]  # the last marks the end
  bags = [row[3] for row in rows]
  if not rows or bags != sorted(bags) or bags[-1] >= (tables[b"pbag"][1] - tables[b"pbag"][0]) // 4:
    raise damaged
  return {(bank, program) for _, program, bank, *_ in rows}


def _chunks(file: BinaryIO, end: int, path: Path) -> Iterator[tuple[bytes, tuple[int, int]]]:
  """Name and (first byte, end) of each chunk from here on; of a LIST what is in it."""
  while file.tell() + 8 <= end:
    name, size = struct.unpack("<4sI", file.read(8))
    first = file.tell()
    stop = first + size
    if stop > end:
      raise DataError(f"{path}: a damaged SoundFont: a part of it ends after it; copy it again")
    if name == b"LIST":
      name, first = file.read(4), first + 4
    yield name, (first, stop)
    file.seek(stop + size % 2)

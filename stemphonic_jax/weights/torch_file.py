"""PyTorch files read without PyTorch, one tensor at a time; nothing in them is run.

zip      PyTorch 1.6 and newer: NAME/data.pkl, and every storage as NAME/data/KEY, uncompressed
stream   before: four pickles (a magic number, a version, facts of the machine, the object), the
         keys of the storages, then of each its count and its bytes; there are no checksums
"""

import io
import mmap
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from stemphonic_jax.errors import DataError, MissingError
from stemphonic_jax.weights.torch_program import Damaged, Foreign, Program, Storage, shown

MAGIC = 0x1950A86A20F9469CFC6C
STREAM = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little")  # how a stream begins
VERSION = 1001  # of streams


def open_torch(path: Path) -> Any:
  """What a PyTorch file holds: containers, numbers and texts, with a `Lazy` for each tensor.

  The file is mapped, not loaded. What it claims of its tensors is compared with what there is: now,
  and in an archive when a tensor is read, by its checksum. MissingError where there is no file;
  DataError where it is damaged, of another kind, or asks for more than tensors and plain containers
  (none of it is run).
  """
  if not path.is_file():
    raise MissingError(f"{path}: no such checkpoint")
  try:
    with path.open("rb") as file:
      data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    opened = _open_stream if data[: len(STREAM)] == STREAM else _open_zip
    return opened(path, data)
  except Foreign as error:
    raise DataError(
      f"{path}: holds more than tensors and plain containers ({error}); none of it was run; save"
      f" its state_dict() alone and take that"
    ) from None
  except Exception as error:  # whatever damaged bytes make of zipfile, pickletools and struct
    what = f" ({error})" if isinstance(error, Damaged) else ""
    raise DataError(f"{path}: damaged, or not a checkpoint of PyTorch{what}") from None


def _open_zip(path: Path, data: mmap.mmap) -> Any:
  with zipfile.ZipFile(path) as archive:
    entries = {entry.filename: entry for entry in archive.infolist()}
  (program,) = (name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl"))
  root = program.removesuffix("data.pkl")
  order = entries.get(f"{root}byteorder")
  if order and _whole(data, order) != b"little":
    raise Damaged("its numbers are not little-endian")
  intact: set[str] = set()

  def read(storage: Storage) -> memoryview:
    if storage.key in intact:
      return _place(data, entries[f"{root}data/{storage.key}"])
    try:
      found = _whole(data, entries[f"{root}data/{storage.key}"])
    except Damaged as error:
      raise DataError(f"{path}: {error}; copy the file again") from None
    intact.add(storage.key)
    return found

  made = Program(len(data), read)
  content = made.follow(io.BytesIO(_whole(data, entries[program])))
  for storage in made.storages.values():
    entry = entries.get(f"{root}data/{storage.key}")
    if entry is None or len(_place(data, entry)) != storage.nbytes:
      raise Damaged(f"storage {shown(storage.key)} is missing or of another size")
  return content


def _place(data: mmap.mmap, entry: zipfile.ZipInfo) -> memoryview:
  """The bytes of an entry of an archive, which lie there as they are."""
  start = entry.header_offset
  head = data[start : start + 30]
  if head[:4] != b"PK\3\4" or entry.compress_type or entry.file_size != entry.compress_size:
    raise Damaged(f"{shown(entry.filename)} is compressed, or not where it should be")
  start += 30 + sum(struct.unpack("<2H", head[26:]))
  found = memoryview(data)[start : start + entry.file_size]
  if len(found) != entry.file_size:
    raise Damaged(f"{shown(entry.filename)} is cut off")
  return found


def _whole(data: mmap.mmap, entry: zipfile.ZipInfo) -> memoryview:
  """The same, compared with their checksum."""
  found = _place(data, entry)
  if zlib.crc32(found) != entry.CRC:
    raise Damaged(f"{shown(entry.filename)} in it is damaged")
  return found


def _open_stream(path: Path, data: mmap.mmap) -> Any:
  places: dict[str, int] = {}

  def read(storage: Storage) -> memoryview:
    start = places[storage.key]
    return memoryview(data)[start : start + storage.nbytes]

  made = Program(len(data), read)
  magic, version, machine, content, keys = (made.follow(data) for _ in range(5))
  if (magic, version) != (MAGIC, VERSION) or machine.get("little_endian") is not True:
    raise Damaged("of another version, or its numbers are not little-endian")
  place = data.tell()
  for key in keys:
    (count,), place = struct.unpack("<q", data[place : place + 8]), place + 8
    storage = made.storages[key]
    if count != storage.count:
      raise Damaged(f"storage {shown(key)} is of another size than its tensors say")
    places[key], place = place, place + storage.nbytes
  if place > len(data) or places.keys() != made.storages.keys():
    raise Damaged("some of its storages are cut off")
  return content

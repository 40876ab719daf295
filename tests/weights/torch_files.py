"""PyTorch files written by hand, whole and hostile, where there is no PyTorch."""

import io
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

MAGIC = bytes.fromhex("80028a0a6cfc9c46f920 6aa850192e")
END = b"."
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
KINDS = {"float32": "FloatStorage", "int64": "LongStorage", "float64": "DoubleStorage"}


def text(letters: str) -> bytes:
  return b"X" + struct.pack("<I", len(letters.encode())) + letters.encode()


def number(value: int) -> bytes:
  whole = value.to_bytes(9, "little", signed=True)
  return b"\x8a" + bytes([len(whole)]) + whole


def numbers(values: tuple[int, ...]) -> bytes:
  return b"(" + b"".join(map(number, values)) + b"t"


def tensor(key: str, kind: str, count: int, offset: int, shape: tuple, strides: tuple) -> bytes:
  """The operations that make one view of a storage, as PyTorch writes them."""
  storage = text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count)
  view = number(offset) + numbers(shape) + numbers(strides)
  return TENSOR + b"((" + storage + b"tQ" + view + b"\x89ccollections\nOrderedDict\n)RtR"


def mapping(items: Mapping[str, bytes]) -> bytes:
  return b"}(" + b"".join(text(name) + made for name, made in items.items()) + b"u"


def whole(arrays: Mapping[str, np.ndarray]) -> bytes:
  """The program that makes these arrays, each of a storage of its own."""
  return mapping(
    {
      name: tensor(
        str(i), KINDS[str(a.dtype)], a.size, 0, a.shape, tuple(s // a.itemsize for s in a.strides)
      )
      for i, (name, a) in enumerate(arrays.items())
    }
  )


def stream(program: bytes, storages: Mapping[str, np.ndarray], little: bool = True) -> bytes:
  """The container before PyTorch 1.6."""
  facts = b"\x80\2}" + text("little_endian") + (b"\x88" if little else b"\x89") + b"s" + END
  keys = b"\x80\2](" + b"".join(map(text, storages)) + b"e" + END
  data = b"".join(struct.pack("<q", a.size) + a.tobytes() for a in storages.values())
  return MAGIC + b"\x80\2" + number(1001) + END + facts + b"\x80\2" + program + END + keys + data


def archive(program: bytes, storages: Mapping[str, np.ndarray], compression: int = 0) -> bytes:
  """The container since."""
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", compression) as written:
    written.writestr("model/data.pkl", b"\x80\2" + program + END)
    written.writestr("model/byteorder", "little")
    for key, array in storages.items():
      written.writestr(f"model/data/{key}", array.tobytes())
  return file.getvalue()

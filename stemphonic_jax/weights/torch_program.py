"""The program in a PyTorch file, followed without being run.

A pickle is a program for a machine with a stack. The machine here knows 46 of its operations, which
build plain containers, and a few names. A name is never looked up, imported or called: a tensor
becomes a `Lazy`, what another known name would make becomes `Other`, and an unknown name ends the
reading, as does any other operation.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from stemphonic_jax.weights.lazy import Lazy

TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
ORDERED = "collections.OrderedDict"
# PyTorch's storages; what safetensors cannot hold is here too, to be passed over.
STORAGES = {
  "torch.FloatStorage": np.dtype(np.float32),
  "torch.HalfStorage": np.dtype(np.float16),
  "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
  "torch.DoubleStorage": np.dtype(np.float64),
  "torch.LongStorage": np.dtype(np.int64),
  "torch.IntStorage": np.dtype(np.int32),
  "torch.ShortStorage": np.dtype(np.int16),
  "torch.CharStorage": np.dtype(np.int8),
  "torch.ByteStorage": np.dtype(np.uint8),
  "torch.BoolStorage": np.dtype(np.bool_),
  "torch.ComplexFloatStorage": np.dtype(np.complex64),
  "torch.ComplexDoubleStorage": np.dtype(np.complex128),
}
# What trainings put beside tensors: numpy's numbers, shapes, types and devices.
TYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "bool")
OTHERS = {
  *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"),
  *("_codecs.encode", "torch.Size", "torch.device", *(f"torch.{kind}" for kind in TYPES)),
}
NAMES = {TENSOR, PARAMETER, ORDERED, *STORAGES, *OTHERS}
# Operations that bring their value along.
VALUES = {
  *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
  *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# An operation is a byte of the file and may be a hundred of memory; less where it brings a value.
# A program may take as many as its file has, and this many more.
GRANTED, BYTES, BYTES_OF_VALUE = 1 << 26, 100, 40
LARGEST, AXES = 1 << 62, 32  # of a size, and how many of them


class Damaged(Exception):
  """What is wrong with a file, in a few words."""


class Foreign(Exception):
  """The name or operation that a program asks for besides tensors and plain containers."""


@dataclass(frozen=True)
class Name:
  """A name in a program; that is all that is known of it."""

  text: str


@dataclass(frozen=True)
class Other:
  """An object that is neither tensor nor plain: what it is made by, and no more."""

  name: str


@dataclass(frozen=True)
class Storage:
  """Numbers that tensors are views of, as a program claims them to be in the file."""

  key: str
  dtype: np.dtype
  count: int

  @property
  def nbytes(self) -> int:
    return self.count * self.dtype.itemsize


Read = Callable[[Storage], memoryview]


def shown(text: Any) -> str:
  """A text out of a file as part of one line."""
  text = str(text)[:80]
  return text if text.isprintable() else ascii(text)


class Program:
  """Follows programs of one file of `size` bytes; `read` is how tensors fetch their storage.

  `storages` are those that have been claimed, by key, for the caller to compare with the file.
  """

  def __init__(self, size: int, read: Read):
    self.storages: dict[str, Storage] = {}
    self._left = GRANTED + size  # bytes
    self._read = read

  def follow(self, file: BinaryIO) -> Any:
    """What the program at the position of `file` makes, to its end.

    Raises Foreign, Damaged, or whatever damaged bytes make of pickletools and of this.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
      start = marks.pop()
      items = stack[start:]
      del stack[start:]
      return items

    for operation, argument, _ in pickletools.genops(file):
      self._left -= BYTES_OF_VALUE if operation.name in VALUES else BYTES
      if self._left < 0:
        raise Damaged("its program is longer than that of a checkpoint of its size")
      name = operation.name
      if name in VALUES:
        if isinstance(argument, str):
          argument.encode()  # half a letter is no name
        stack.append(argument)
      elif name in CONSTANTS:
        stack.append(CONSTANTS[name])
      elif name in ("PROTO", "FRAME"):
        pass
      elif name == "MARK":
        marks.append(len(stack))
      elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
        memo[argument] = stack[-1]
      elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
      elif name in ("BINGET", "LONG_BINGET", "GET"):
        stack.append(memo[argument])
      elif name in ("EMPTY_DICT", "EMPTY_LIST"):
        stack.append({} if name == "EMPTY_DICT" else [])
      elif name in TUPLES:
        size = TUPLES[name]
        stack[-size:] = [tuple(stack[-size:])]
      elif name in ("TUPLE", "LIST"):
        stack.append(tuple(since_mark()) if name == "TUPLE" else since_mark())
      elif name == "DICT":
        stack.append(_updated({}, since_mark()))
      elif name in ("APPEND", "APPENDS"):
        items = [stack.pop()] if name == "APPEND" else since_mark()
        _of(list, stack[-1]).extend(items)
      elif name in ("SETITEM", "SETITEMS"):
        items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else since_mark()
        _updated(_of(dict, stack[-1]), items)
      elif name == "GLOBAL":
        stack.append(_name(argument.replace(" ", ".", 1)))
      elif name == "STACK_GLOBAL":
        last, within = stack.pop(), stack.pop()
        stack.append(_name(f"{within}.{last}"))
      elif name == "BINPERSID":
        stack.append(self._storage(stack.pop()))
      elif name == "REDUCE":
        arguments = _of(tuple, stack.pop())
        stack.append(self._made(_of(Name, stack.pop()).text, arguments))
      elif name == "BUILD":  # attributes, as of an ordered dictionary: the versions of its modules
        stack.pop()
        _of((dict, Other, Lazy), stack[-1])
      elif name == "STOP":
        return stack.pop()
      else:
        raise Foreign(f"it asks for the operation {name}")
    raise Damaged("its program has no end")

  def _storage(self, claim: Any) -> Storage:
    kind, dtype, key, _, count, *view = _of(tuple, claim)
    if kind != "storage" or not isinstance(key, str) or view not in ([], [None]):
      raise Damaged("a storage of another kind")
    if (dtype := STORAGES.get(_of(Name, dtype).text)) is None:
      raise Damaged("a storage of no type")
    storage = Storage(key, dtype, *_sizes((count,)))
    if self.storages.setdefault(key, storage) != storage:
      raise Damaged(f"storage {shown(key)} is claimed in two ways")
    return storage

  def _made(self, name: str, arguments: tuple[Any, ...]) -> Any:
    """What a call would make of its arguments."""
    if name == TENSOR:
      return self._tensor(*arguments)
    if name == PARAMETER:
      return _of(Lazy, arguments[0])
    if name == ORDERED:
      pairs = _of(list, arguments[0]) if arguments else []
      self._left -= BYTES * len(pairs)
      return _updated({}, [item for pair in pairs for item in _of((list, tuple), pair)[:2]])
    if name in OTHERS:
      return Other(name)
    raise Damaged(f"a call of {name}")

  def _tensor(
    self, storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, bits: Any = ()
  ) -> Lazy:
    """A view of a storage that lies in it; `bits` say that its numbers are to be negated."""
    storage, (offset,) = _of(Storage, storage), _sizes((offset,))
    shape, strides = _sizes(shape), _sizes(strides)
    if len(shape) != len(strides) or bits:
      raise Damaged("a tensor of no shape")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # A few bytes in a file can claim to be a tensor of any size by repeating themselves.
    if math.prod(shape) > storage.count or (math.prod(shape) and last >= storage.count):
      raise Damaged(f"a tensor of shape {shape} is larger than its storage")

    def read() -> np.ndarray:
      if not math.prod(shape):
        return np.zeros(shape, storage.dtype)
      flat = np.frombuffer(self._read(storage), storage.dtype)
      steps = [step * storage.dtype.itemsize for step in strides]
      return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)

    return Lazy(shape, storage.dtype, read)


def _name(text: str) -> Name:
  if text not in NAMES:
    raise Foreign(f"it asks for {shown(text)}")
  return Name(text)


def _of(kind: Any, value: Any) -> Any:
  if not isinstance(value, kind):
    raise Damaged(f"a {type(value).__name__} where another kind of object should be")
  return value


def _updated(mapping: dict, items: list[Any]) -> dict:
  """The mapping with keys and values that stand in turns added; keys are of a simple type."""
  for key, value in zip(items[::2], items[1::2], strict=True):
    # A tuple can refer to itself so often that its hash takes years.
    if key is not None and not isinstance(key, str | int | float | bytes):
      raise Damaged(f"a {type(key).__name__} as a name")
    mapping[key] = value
  return mapping


def _sizes(values: Any) -> tuple[int, ...]:
  if len(_of(tuple, values)) > AXES:
    raise Damaged("a tensor of too many axes")
  for value in values:
    if type(value) is not int or not 0 <= value < LARGEST:
      raise Damaged(f"a {type(value).__name__} that is no size")
  return values

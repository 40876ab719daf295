"""Trees of arrays as safetensors files, one tensor in memory at a time.

A tree is read and written through `Lazy` leaves, which know their shape and type and fetch their
content when asked. So a model of any size is checked against an architecture before a byte of it is
loaded, and is converted from one layout to another in the memory of its largest tensor.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from flax import traverse_util

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.errors import DataError, MismatchError, MissingError, OutputError
from stemphonic_jax.weights.files import ROWS
from stemphonic_jax.weights.lazy import Lazy

DTYPES = {
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "F64": np.dtype(np.float64),
  "I64": np.dtype(np.int64),
  "I32": np.dtype(np.int32),
  "U16": np.dtype(np.uint16),
  "BOOL": np.dtype(np.bool_),
}
HALVES = (DTYPES["F16"], DTYPES["BF16"])
NAMES = {dtype: name for name, dtype in DTYPES.items()}
INDEX = ".safetensors.index.json"  # how the name of a list of shards ends (Hugging Face)


def open_tensors(path: Path) -> dict[str, Lazy]:
  """All tensors of a safetensors file, or of the shards that `path`, an index, names.

  MissingError where there is no `path`; DataError where a file is cut off, damaged or not
  safetensors, and where an index does not fit the shards beside it.
  """
  if not path.is_file():
    raise MissingError(f"{path}: no such file of weights")
  if not path.name.endswith(INDEX):
    return _open_file(path)
  try:
    shard_of = {str(k): str(v) for k, v in json.loads(path.read_text())["weight_map"].items()}
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    raise DataError(f"{path}: not an index of safetensors shards") from None
  # Looked up in the folder, never joined to its path: an index says nothing of other folders.
  beside = {entry.name for entry in path.parent.iterdir() if entry.is_file()}
  if absent := sorted(set(shard_of.values()) - beside):
    raise DataError(
      f"{path}: {len(absent)} of its shards are not beside it, first {absent[0]!r}; copy the whole"
      f" folder again"
    )
  shards = {name: _open_file(path.with_name(name)) for name in sorted(set(shard_of.values()))}
  if absent := sorted(name for name, shard in shard_of.items() if name not in shards[shard]):
    raise DataError(f"{path}: names {len(absent)} tensors its shards lack, first {absent[0]}")
  found = {name: tensor for shard in shards.values() for name, tensor in shard.items()}
  return found | {name: shards[shard][name] for name, shard in shard_of.items()}


def _open_file(path: Path) -> dict[str, Lazy]:
  found = {}
  with _reading(path), safetensors.safe_open(path, "numpy") as file:
    for name in file.keys():  # noqa: SIM118  not a mapping
      part = file.get_slice(name)
      if (dtype := DTYPES.get(part.get_dtype())) is None:
        raise DataError(f"{path}: {name} is {part.get_dtype()}, expected {', '.join(DTYPES)}")
      found[name] = Lazy(tuple(part.get_shape()), dtype, lambda name=name: _read(path, name))
  return found


def _read(path: Path, name: str) -> np.ndarray:
  # The mapping ends here: pages of what was read before are not held while the next is read.
  with _reading(path), safetensors.safe_open(path, "numpy") as file:
    return file.get_tensor(name)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
  """What safetensors and the disk raise, in one line."""
  try:
    yield
  except (safetensors.SafetensorError, OSError) as error:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise DataError(f"{path}: cannot be read ({reason})") from None


def read_metadata(path: Path) -> dict[str, str]:
  """The texts kept in a safetensors file's header; errors as in `open_tensors`."""
  if not path.is_file():
    raise MissingError(f"{path}: no such file of weights")
  with _reading(path), safetensors.safe_open(path, "numpy") as file:
    return file.metadata() or {}


def save_params(path: Path, params: Any, metadata: Mapping[str, str] | None = None) -> None:
  """Writes a tree of arrays or `Lazy` leaves, named by their path: blocks/feed_forward/in/kernel.

  Safetensors' own writer wants all of them in memory at once.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  # Wide types first, so that every tensor is aligned to its type.
  names = sorted(flat, key=lambda name: (-np.dtype(flat[name].dtype).itemsize, name))
  header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
  end = 0
  for name in names:
    dtype, shape = np.dtype(flat[name].dtype), flat[name].shape
    start, end = end, end + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)
  with whole_file(path) as partial, partial.open("wb") as file:
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
      leaf = flat[name]
      array = np.asarray(leaf.read() if isinstance(leaf, Lazy) else leaf)
      if array.shape != tuple(leaf.shape) or array.dtype != leaf.dtype:
        raise ValueError(f"{name}: {array.shape} {array.dtype}, not {leaf.shape} {leaf.dtype}")
      file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def load_params(path: Path, shapes: Any) -> Any:
  """Reads the tree of arrays that `shapes` describes; errors as in `open_params`."""
  return materialize(open_params(path, shapes))


def open_params(path: Path, shapes: Any) -> Any:
  """The tree that `shapes` describes with `Lazy` leaves, checked but not yet read.

  Where it wants 32 bits, a file may hold 16 (`halved`). DataError where the file is damaged;
  MismatchError, with the first differences, where a tensor is missing, left over, or of another
  shape or type.
  """
  wanted = traverse_util.flatten_dict(shapes, sep="/")
  found = {
    name: _cast(leaf, np.float32)
    if leaf.dtype in HALVES and name in wanted and wanted[name].dtype == np.float32
    else leaf
    for name, leaf in open_tensors(path).items()
  }
  check_params(path, found, shapes)
  return traverse_util.unflatten_dict(found, sep="/")  # a tree, because that of `shapes` is one


def check_params(source: Path, params: Any, shapes: Any) -> None:
  """MismatchError where `params` have other names, shapes or types than `shapes`."""
  found, wanted = (
    {name: f"{tuple(leaf.shape)} {leaf.dtype}" for name, leaf in flat.items()}
    for flat in (traverse_util.flatten_dict(tree, sep="/") for tree in (params, shapes))
  )
  rows = [
    f"{name}: file {found.get(name, 'lacks it')}, model {wanted.get(name, 'lacks it')}"
    for name in sorted(found.keys() | wanted.keys())
    if found.get(name) != wanted.get(name)
  ]
  if rows:
    raise MismatchError(f"{source}: {len(rows)} tensors do not fit; " + "; ".join(rows[:ROWS]))


def halved(params: Any) -> Any:
  """The tree of `Lazy` leaves with its 32-bit floats in 16 bits, converted when they are read.

  Not bfloat16: weights need no range, and float16 rounds them eight times less. OutputError, when
  it is read, for a number that float16 does not hold.
  """
  flat = traverse_util.flatten_dict(params)
  return traverse_util.unflatten_dict(
    {
      name: _cast(leaf, np.float16) if leaf.dtype == np.float32 else leaf
      for name, leaf in flat.items()
    }
  )


def _cast(leaf: Lazy, dtype: type) -> Lazy:
  def read() -> np.ndarray:
    array = leaf.read()
    with np.errstate(over="ignore"):
      cast = array.astype(dtype)
    if not np.array_equal(np.isfinite(cast), np.isfinite(array)):
      raise OutputError(f"{np.abs(array).max():g} is a weight that {dtype.__name__} does not hold")
    return cast

  return Lazy(leaf.shape, np.dtype(dtype), read)


def mean(params: Any, others: Any) -> Any:
  """Half of each `Lazy` leaf and half of the same of another tree, taken when they are read."""

  def half_of_both(ours: Lazy, theirs: Lazy) -> Lazy:
    def read() -> np.ndarray:
      return ((ours.read().astype(np.float32) + theirs.read()) / 2).astype(ours.dtype)

    return Lazy(ours.shape, ours.dtype, read)

  flat, theirs = traverse_util.flatten_dict(params), traverse_util.flatten_dict(others)
  return traverse_util.unflatten_dict(
    {name: half_of_both(leaf, theirs[name]) for name, leaf in flat.items()}
  )


def materialize(params: Any, place: Callable[[np.ndarray], Any] = lambda array: array) -> Any:
  """The tree with every `Lazy` leaf read; each goes through `place` before the next is read."""
  flat = traverse_util.flatten_dict(params)
  return traverse_util.unflatten_dict(
    {name: place(leaf.read() if isinstance(leaf, Lazy) else leaf) for name, leaf in flat.items()}
  )

"""Where arrays live: one mesh over all devices, and one table from a parameter's path to its place.

    data     rows of a batch; parameters are whole on each of its slices
    fsdp     rows of a batch, and parameters cut up, gathered for the moment they are needed
    tensor   parameters cut up by attention heads and hidden columns; sees the same rows

Every number comes out the same on every mesh, up to rounding. What follows from the parameters
(their average, the optimiser's moments) lies where they lie.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.layers import ROW_AXES, TENSOR_AXIS

AXES = (*ROW_AXES, TENSOR_AXIS)

# End of a parameter's path → axis of the mesh for each of its last dimensions, those before being
# whole: the blocks of a DiT are stacked on a leading one. `tensor` is on the columns of a layer
# that opens a branch and on the rows of the one that closes it, so that between the two nothing
# moves; `fsdp` is on the other dimension. The first rule that fits holds.
_OPENS = r"(qkv|query|key_value|query_key|value|in|feed_in|hidden|time_hidden|modulation)"
_CLOSES = r"(out|self_out|cross_out|feed_out|time_out)"
RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
  (rf"{_OPENS}/kernel", ("fsdp", "tensor")),
  (rf"{_OPENS}/lora_in", ("fsdp", None)),
  (rf"{_OPENS}/lora_out", (None, "tensor")),
  (rf"{_CLOSES}/kernel", ("tensor", "fsdp")),
  (rf"{_CLOSES}/lora_in", ("tensor", None)),
  (rf"{_CLOSES}/lora_out", (None, "fsdp")),
  (r"conv(1|2|_t1)/kernel", (None, "fsdp")),
)
SMALL = 2**18  # elements below which an array is whole everywhere: gathering it would take longer


def make_mesh(
  data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[jax.Device] | None = None
) -> Mesh:
  """The mesh of AXES over `devices`, by default all of all hosts; −1 is what the other axes leave.

  The devices of a host are neighbours, so each host holds one run of a batch's rows. UsageError
  where the sizes do not fit the devices, or where devices that see the same rows would be on two
  hosts, of which each reads its own rows only.
  """
  devices = jax.devices() if devices is None else devices
  sizes, count = [data, fsdp, tensor], len(devices)
  asked = " x ".join(f"{axis} {size}" for axis, size in zip(AXES, sizes, strict=True))
  if sizes.count(-1) == 1:
    sizes[sizes.index(-1)] = count // max(1, -math.prod(sizes))
  if min(sizes) < 1 or math.prod(sizes) != count:
    raise UsageError(
      f"mesh: got {asked}, expected sizes whose product is the number of devices, {count}"
      " (or -1 for one of them, which is then what the others leave)"
    )
  types = (AxisType.Auto,) * len(AXES)
  hosts = Counter(device.process_index for device in devices)
  if len(hosts) == 1:
    return jax.make_mesh(tuple(sizes), AXES, axis_types=types, devices=devices)
  # In the order of hosts, which jax.make_mesh, following the wires of a TPU pod, does not keep.
  devices = np.array(sorted(devices, key=lambda d: (d.process_index, d.id))).reshape(sizes)
  host_of = np.vectorize(lambda device: device.process_index)(devices)
  if (host_of != host_of[..., :1]).any():
    raise UsageError(
      f"mesh: got {asked}, expected a tensor size that divides the devices of one host,"
      f" {min(hosts.values())}; cut parameters further by fsdp"
    )
  return Mesh(devices, AXES, axis_types=types)


def local_mesh() -> Mesh:
  """One axis, "data", over the devices of this host, for what each host does by itself."""
  devices = jax.local_devices()
  return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def shardings(mesh: Mesh, tree: Any) -> Any:
  """The place of every array of `tree` by RULES: parameters, their average, optimiser state.

  A dimension that does not divide by its axis is whole on each of the devices, and so is an array
  of fewer than SMALL elements, or one that no rule is about. `tree` may hold shapes only.
  """

  def place(path: tuple, leaf: Any) -> NamedSharding:
    spec = _spec(mesh, "/".join(_name(entry) for entry in path), leaf.shape)
    return NamedSharding(mesh, PartitionSpec(*spec))

  return jax.tree_util.tree_map_with_path(place, tree)


def _spec(mesh: Mesh, path: str, shape: tuple[int, ...]) -> tuple[str | None, ...]:
  for pattern, axes in RULES:
    if re.search(rf"(^|/){pattern}$", path) and len(shape) >= len(axes):
      break
  else:
    return ()
  if math.prod(shape) < SMALL:
    return ()
  whole = (None,) * (len(shape) - len(axes))
  cut = (
    axis if axis in mesh.shape and size % mesh.shape[axis] == 0 else None
    for axis, size in zip(axes, shape[len(whole) :], strict=True)
  )
  return (*whole, *cut)


def _name(entry: Any) -> str:
  """A step of a path: the key of a dict, the name of a field, the place in a tuple."""
  return str(next(getattr(entry, a) for a in ("key", "name", "idx") if hasattr(entry, a)))


def check_rows(mesh: Mesh, rows: int, micro_batches: int, block: int = 1) -> None:
  """UsageError where a batch of `rows` does not divide into micro-batches and parts of the mesh.

  Each of them has whole blocks of `block` rows.
  """
  parts = math.prod(mesh.shape[axis] for axis in _row_axes(mesh))
  if rows % (parts * micro_batches * block):
    blocks = f" x blocks of {block} rows" if block > 1 else ""
    raise UsageError(
      f"batch_size {rows} does not divide by {micro_batches} micro-batches x {parts} parts"
      f" (data x fsdp){blocks}; choose a multiple of {parts * micro_batches * block}"
    )


def row_sharding(mesh: Mesh) -> NamedSharding:
  """The place of a batch's arrays: rows split, the rest whole."""
  return NamedSharding(mesh, PartitionSpec(_row_axes(mesh)))


def spread(mesh: Mesh, batch: Any) -> Any:
  """A batch on the devices of all hosts, rows split between them, from the rows of this host."""
  sharding = row_sharding(mesh)
  with jax.transfer_guard_host_to_device("allow"):  # of several hosts it would count as an accident
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def replicate(mesh: Mesh, tree: Any) -> Any:
  """Puts the same arrays on every device."""
  return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def _row_axes(mesh: Mesh) -> tuple[str, ...]:
  return tuple(axis for axis in ROW_AXES if axis in mesh.shape)

"""Where arrays live: one mesh over all devices, rows of a batch spread, parameters everywhere."""

from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from stemphonic_jax.errors import UsageError


def data_mesh() -> jax.sharding.Mesh:
  """One axis, "data", over every device of the run."""
  return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def check_rows(mesh: jax.sharding.Mesh, rows: int, micro_batches: int) -> None:
  """UsageError where a batch of `rows` does not divide into micro-batches and devices."""
  parts = mesh.size * micro_batches
  if rows % parts:
    raise UsageError(
      f"batch_size {rows} does not divide by {micro_batches} micro-batches x {mesh.size} devices;"
      f" choose a multiple of {parts}"
    )


def spread(mesh: jax.sharding.Mesh, batch: Any) -> Any:
  """Puts each array of a batch on the devices, rows split between them."""
  return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))


def replicate(mesh: jax.sharding.Mesh, tree: Any) -> Any:
  """Puts the same arrays on every device."""
  return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))

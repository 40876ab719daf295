"""Low-rank adaptation: a kernel W becomes W + A·B, of which only A and B are trained.

An adapter is data: two more leaves beside a kernel, `lora_in` [..., I, r] and `lora_out`
[..., r, O]. `layers.Dense` adds their product where it finds them, and merging makes them part of
the kernel. B starts at zero, so that an adapted model starts as the model it adapts.
"""

import math
import zlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Key


def add_lora(params: Any, key: Key[Array, ""], rank: int, kernels: Sequence[str]) -> Any:
  """The parameters with adapters of `rank` beside each kernel whose path fits a pattern.

  Patterns are those of a shell, on paths such as blocks/feed_forward/in/kernel. ValueError where
  one fits no kernel of a `Dense`.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  paths = [path for path in flat if path.rpartition("/")[2] == "kernel"]
  for pattern in kernels:
    if not any(fnmatchcase(path, pattern) for path in paths):
      raise ValueError(f"LoRA: no kernel fits {pattern!r}; kernels are {', '.join(paths)}")
  for path in paths:
    if any(fnmatchcase(path, pattern) for pattern in kernels):
      *stack, inputs, outputs = flat[path].shape
      own = jax.random.fold_in(key, zlib.crc32(path.encode()))
      low = jax.random.normal(own, (*stack, inputs, rank)) / math.sqrt(inputs)
      layer = path.removesuffix("kernel")
      flat[layer + "lora_in"] = low
      flat[layer + "lora_out"] = jnp.zeros((*stack, rank, outputs))
  return traverse_util.unflatten_dict(flat, sep="/")


def merge_lora(params: Any) -> Any:
  """The parameters with every adapter added to its kernel, in the tree of a model without any."""
  flat = traverse_util.flatten_dict(params)
  merged = {}
  for path, leaf in flat.items():
    if path[-1] == "kernel" and (*path[:-1], "lora_in") in flat:
      low, high = (flat[*path[:-1], name] for name in ("lora_in", "lora_out"))
      leaf = leaf + jnp.matmul(low, high, precision="highest")
    if path[-1] not in ("lora_in", "lora_out"):
      merged[path] = leaf
  return traverse_util.unflatten_dict(merged)

"""A tensor that need not be in memory yet."""

from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np

HALVES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


@dataclass(frozen=True, eq=False)
class Lazy:
  """A tensor that `read` fetches; an array is one that is there already."""

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[], np.ndarray]


def transposed(leaf: Lazy) -> Lazy:
  """The tensor with its axes in reverse order."""
  return Lazy(leaf.shape[::-1], leaf.dtype, lambda: leaf.read().T)


def in_float32(leaf: Lazy) -> Lazy:
  """The tensor in float32 where that loses nothing; another type stays as it is."""
  if leaf.dtype not in HALVES:
    return leaf
  return Lazy(leaf.shape, np.dtype(np.float32), lambda: leaf.read().astype(np.float32))

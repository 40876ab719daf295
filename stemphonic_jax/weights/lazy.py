"""A tensor that need not be in memory yet."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Lazy:
  """A tensor that `read` fetches; an array is one that is there already."""

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[], np.ndarray]

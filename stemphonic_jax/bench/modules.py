"""The tensors of a PyTorch module as if they had been read from a file."""

from typing import Any

import numpy as np

from stemphonic_jax.weights.lazy import Lazy


def tensors_of(module: Any) -> dict[str, Lazy]:
  """Those of its state_dict, by name."""
  return {
    name: Lazy(tuple(tensor.shape), np.dtype(str(tensor.dtype)[6:]), tensor.detach().numpy)
    for name, tensor in module.state_dict().items()
  }

"""What a step of a network over codes costs, from shapes alone; counted as in cost.py."""

import math
from typing import Any

from flax import traverse_util

from stemphonic_jax.models.musicgen import MusicGen

OF_TEXT = ("text_encoder", "text_projection", "key_value")  # kernels that meet the text's tokens


def musicgen_flops(model: MusicGen, params: Any, columns: int, tokens: int) -> float:
  """Model FLOPs of the forward pass of one row; `params` are arrays or shapes.

  A column attends to itself and those before it, and to the text.
  """
  total = 0.0
  for path, leaf in traverse_util.flatten_dict(params).items():
    if path[-1] == "kernel":
      met = tokens if any(part in OF_TEXT for part in path) else columns
      total += 2 * math.prod(leaf.shape) * met
  pairs = columns * (columns + 1) / 2 + columns * tokens
  text = model.text_encoder
  own = 4 * tokens**2 * text.features * text.depth if text else 0
  return total + 4 * pairs * model.width * model.depth + own

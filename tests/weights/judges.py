"""Small random weights of judges, as safetensors."""

import numpy as np
from safetensors.numpy import save_file

WIDTHS = (2, 3, 4, 4, 5, 6, 9, 10, 7)
NUMBERS = {"features": (0, 3, 6, 8, 11, 13), "embeddings": (0, 2, 4)}


def vggish(features="features", embeddings="embeddings"):
  """Tensors of a narrow VGGish under the names of torchvggish, or others."""
  draw, before, found = np.random.default_rng(0), 1, {}
  names = [f"{features}.{i}" for i in NUMBERS["features"]]
  names += [f"{embeddings}.{i}" for i in NUMBERS["embeddings"]]
  for i, (name, width) in enumerate(zip(names, WIDTHS, strict=True)):
    inputs = (before, 3, 3) if i < 6 else (24 * before if i == 6 else before,)
    scale = np.float32(np.sqrt(2 / np.prod(inputs)))
    found[f"{name}.weight"] = draw.standard_normal((width, *inputs), np.float32) * scale
    found[f"{name}.bias"] = draw.standard_normal(width, np.float32)
    before = width
  return found


def save(path, tensors):
  save_file(tensors, path)
  return path

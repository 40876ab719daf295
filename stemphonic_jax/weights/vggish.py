"""VGGish's public weights: one network, under four families of names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from flax import traverse_util

from stemphonic_jax.errors import DataError, MismatchError
from stemphonic_jax.models.vggish import VGGish
from stemphonic_jax.weights.checkpoint import open_weights
from stemphonic_jax.weights.files import ROWS, digest
from stemphonic_jax.weights.tensors import Lazy, check_params

# What torchvggish (whose file fadtk, frechet_audio_distance and audio-metrics take), torchaudio's
# prototype and the port of tcvrick call the two halves.
CONVOLUTIONS = ("features", "features_network")
DENSE = ("embeddings", "embedding_network", "fc")
# Their numbers, which count poolings and ReLUs too, in our order.
LAYERS = {f"conv_{i}": number for i, number in enumerate((0, 3, 6, 8, 11, 13))}
LAYERS |= {f"dense_{i}": number for i, number in enumerate((0, 2, 4))}
NAME = re.compile(rf"(?:({'|'.join(CONVOLUTIONS)})|{'|'.join(DENSE)})\.(\d+)\.(weight|bias)")
FRAMES, BANDS = 96, 64  # of a patch
HASHED = re.compile(r"-([0-9a-f]{8,64})\.pth?")  # as torch.hub names its files
TENSORFLOW = bytes.fromhex("57fb808b247547db")  # how a checkpoint of TensorFlow 1 ends
PUBLIC = "vggish-10086976.pth"


@dataclass(frozen=True, eq=False)
class VGGishWeights:
  """The network, its tensors, and the SHA-256 of their file."""

  model: VGGish
  params: Any
  sha256: str


def open_vggish(path: Path) -> VGGishWeights:
  """The network in a PyTorch checkpoint or a safetensors file; widths are those of its tensors.

  MissingError where there is no file; DataError where it is damaged, as where its checksum is not
  that in its name; MismatchError where it is another network, or TensorFlow's. What it holds
  besides, a classifier or PCA, is left out with a warning.
  """
  if path.is_file() and _end(path) == TENSORFLOW:
    raise MismatchError(f"{path}: is a checkpoint of TensorFlow; take {PUBLIC} of torchvggish")
  model, params = import_vggish(path, open_weights(path))
  sha256, named = digest(path), HASHED.search(path.name)
  if named and not sha256.startswith(named[1]):
    raise DataError(f"{path}: its SHA-256 is {sha256[:8]}…, not {named[1]}…; copy the file again")
  return VGGishWeights(model, params, sha256)


def import_vggish(source: Path, given: Mapping[str, Lazy]) -> tuple[VGGish, Any]:
  """The network and its tensors out of those of a public model; MismatchError as of `source`."""
  ours = {name: _our_name(name) for name in given}
  found = {our: given[name] for name, our in ours.items() if our}
  widths = tuple(leaf.shape[0] for name in LAYERS if (leaf := found.get(f"{name}/kernel")))
  model = VGGish(widths) if len(widths) == len(LAYERS) and min(widths) > 0 else VGGish()
  check_params(source, found, {name: _theirs(leaf) for name, leaf in _shapes(model).items()})
  if left_out := [name for name, our in ours.items() if not our]:
    logging.warning("%s: not of VGGish, left out: %s", source, ", ".join(left_out[:ROWS]))
  params = {name: _ours(leaf) for name, leaf in found.items()}
  return model, traverse_util.unflatten_dict(params, sep="/")


def _end(path: Path) -> bytes:
  with path.open("rb") as file:
    file.seek(max(0, path.stat().st_size - len(TENSORFLOW)))
    return file.read()


def _our_name(name: str) -> str:
  """Ours for one of theirs; nothing where it is of no layer."""
  if not (match := NAME.fullmatch(name)):
    return ""
  half, number, kind = match.groups()
  layers = (layer for layer in LAYERS if layer.startswith("conv" if half else "dense"))
  layer = next((layer for layer in layers if LAYERS[layer] == int(number)), None)
  return f"{layer}/{'kernel' if kind == 'weight' else 'bias'}" if layer else ""


def _shapes(model: VGGish) -> Mapping[str, jax.ShapeDtypeStruct]:
  patch = jnp.zeros((1, FRAMES, BANDS))
  shapes = jax.eval_shape(model.init, jax.random.key(0), patch)["params"]
  return traverse_util.flatten_dict(shapes, sep="/")


def _theirs(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  """Kernels are [out, in, height, width] or [out, in] there, and end with [in, out] here."""
  shape = leaf.shape if len(leaf.shape) == 1 else (*leaf.shape[:-3:-1], *leaf.shape[:-2])
  return jax.ShapeDtypeStruct(shape, leaf.dtype)


def _ours(leaf: Lazy) -> Lazy:
  order = (*range(2, len(leaf.shape)), 1, 0) if len(leaf.shape) > 1 else (0,)
  return Lazy(
    tuple(leaf.shape[axis] for axis in order), leaf.dtype, lambda: leaf.read().transpose(order)
  )

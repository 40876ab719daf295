"""PyTorch checkpoints to safetensors, apart from everything that loads a model.

A .ckpt, .pt, .pth or .bin file is a pickle: a program that builds tensors, and can do anything else
as well. It is read once, by PyTorch's restricted reader, which knows tensors and plain containers
and refuses all other calls, and only where the user says that the file is to be trusted, because a
reader of programs is no wall. From then on there is a safetensors file, which holds data alone.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from absl import logging

from stemphonic_jax.errors import DataError, MissingError, OutputError, UsageError
from stemphonic_jax.weights.tensors import NAMES, ROWS, Lazy, save_params
from stemphonic_jax.weights.wrappers import unwrap

# Where trainings keep a model in a checkpoint, and its average.
MODELS = ("state_dict", "model_state_dict", "model", "module")
AVERAGES = ("ema_state_dict", "model_ema", "ema_model", "ema")
DTYPES = {str(dtype): dtype for dtype in NAMES}


def convert_checkpoint(source: Path, out: Path, trust: bool) -> None:
  """Writes the tensors of a checkpoint, or of the model in it, to the new file `out`.

  The file is mapped, not loaded. Names are those of the model, without what a training puts around
  them (wrappers.py), and an average is taken where there is one. What is no tensor is left out. A
  warning names all of that. UsageError without `trust`; MissingError where the file or PyTorch is
  absent; OutputError where `out` exists; DataError where the file is damaged, asks for more than
  tensors, or holds tensors that safetensors cannot.
  """
  if not trust:
    raise UsageError(
      f"{source}: a PyTorch checkpoint is a program and could run code here; look for a safetensors"
      f" version of it, or, where you trust its author, say so with --trust"
    )
  if out.suffix != ".safetensors":
    raise UsageError(f"{out}: expected a name that ends in .safetensors")
  if out.exists():
    raise OutputError(f"{out}: already exists; name a new file, or remove this one")
  if not source.is_file():
    raise MissingError(f"{source}: no such checkpoint")
  save_params(out, unwrap(source, _tensors(source, _model_in(source, _load(source)))))


def _model_in(source: Path, found: Any) -> Any:
  """The tensors of the model in what a training saved, those of its average where it has one."""
  if not isinstance(found, Mapping):
    return found
  taken = next((name for name in MODELS if isinstance(found.get(name), Mapping)), None)
  if taken is None:
    return found
  for name in AVERAGES:
    if isinstance(found.get(name), Mapping) and found[name].keys() == found[taken].keys():
      logging.warning("%s: the average %r is taken, not %r", source, name, taken)
      taken = name
      break
  _warn(source, [name for name in found if name != taken])
  return found[taken]


def _load(source: Path) -> Any:
  try:
    import torch
  except ImportError:
    raise MissingError("checkpoints are read with PyTorch: pip install torch") from None
  try:
    with zipfile.ZipFile(source) as archive:
      damaged = archive.testzip()  # checksums, which a mapped file is not compared with
  except Exception:  # zipfile has a dozen types for a damaged archive
    raise DataError(
      f"{source}: damaged, or not a checkpoint of PyTorch 1.6 or newer (a zip archive)"
    ) from None
  if damaged:
    raise DataError(f"{source}: {damaged} in it is damaged; copy the file again")
  try:
    return torch.load(source, weights_only=True, mmap=True, map_location="cpu")
  except Exception as error:  # whatever a damaged or hostile program makes the reader raise
    asked = re.search(r"GLOBAL (\S+)", str(error))
    what = f"it asks for {asked[1]}" if asked else type(error).__name__
    raise DataError(
      f"{source}: holds more than tensors and plain containers, or is damaged ({what}); none of it"
      f" was run; save its state_dict() alone and convert that"
    ) from None


def _tensors(source: Path, found: Any) -> dict[str, Lazy]:
  import torch

  if not isinstance(found, Mapping):
    raise DataError(f"{source}: expected tensors by name, got a {type(found).__name__}")
  named = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
  if not named:
    what = ", ".join(f"{name} ({type(value).__name__})" for name, value in found.items())
    raise DataError(f"{source}: expected tensors by name, got {what[:300] or 'nothing'}")
  _warn(source, [name for name in found if name not in named])
  return {name: _lazy(source, name, tensor.detach()) for name, tensor in named.items()}


def _lazy(source: Path, name: str, tensor: Any) -> Lazy:
  kind = str(tensor.dtype).removeprefix("torch.")
  strided = tensor.device.type == "cpu" and str(tensor.layout) == "torch.strided"
  if kind not in DTYPES or not strided:
    raise DataError(f"{source}: {name} is {kind}, {tensor.layout} on {tensor.device}, expected one"
                    f" of {', '.join(DTYPES)}, dense")  # fmt: skip
  # A few bytes in a file can claim to be a tensor of any size by repeating themselves.
  if tensor.nbytes > tensor.untyped_storage().nbytes():
    raise DataError(f"{source}: {name} of shape {tuple(tensor.shape)} is larger than its storage")
  return Lazy(tuple(tensor.shape), DTYPES[kind], lambda: _array(tensor))


def _array(tensor: Any) -> np.ndarray:
  """The mapped tensor itself; numpy, which knows no bfloat16, is told what the bits are."""
  import torch

  if tensor.dtype == torch.bfloat16:
    return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
  return tensor.numpy()


def _warn(source: Path, left_out: list) -> None:
  if left_out:
    first = ", ".join(map(str, left_out[:ROWS]))
    logging.warning("%s: %d entries are no tensors, left out: %s", source, len(left_out), first)

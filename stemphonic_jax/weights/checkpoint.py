"""PyTorch checkpoints to safetensors, apart from everything that loads a model.

A .ckpt, .pt, .pth or .bin file is a pickle: a program that builds tensors, and can do anything else
as well. Here it is read without being run (torch_file.py), and from then on there is a safetensors
file, which any program reads and which holds data alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.errors import DataError, OutputError, UsageError
from stemphonic_jax.weights.files import ROWS
from stemphonic_jax.weights.tensors import NAMES, Lazy, open_tensors, save_params
from stemphonic_jax.weights.torch_file import open_torch
from stemphonic_jax.weights.torch_program import shown
from stemphonic_jax.weights.wrappers import CHECKPOINTS, unwrap

# Where trainings keep a model in a checkpoint, and its average.
MODELS = ("state_dict", "model_state_dict", "model", "module")
AVERAGES = ("ema_state_dict", "model_ema", "ema_model", "ema")


def convert_checkpoint(source: Path, out: Path) -> None:
  """Writes the tensors of a checkpoint, or of the model in it, to the new file `out`.

  What is taken, under which names, is that of `open_checkpoint`, as are the errors. UsageError and
  OutputError for a name that is not to be written to.
  """
  if out.suffix != ".safetensors":
    raise UsageError(f"{out}: expected a name that ends in .safetensors")
  if out.exists():
    raise OutputError(f"{out}: already exists; name a new file, or remove this one")
  save_params(out, open_checkpoint(source))


def open_checkpoint(source: Path) -> dict[str, Lazy]:
  """The tensors of a checkpoint, or of the model in it, by their names in the model.

  Names are without what a training puts around them (wrappers.py), and an average is taken where
  there is one. What is no tensor is left out. A warning names all of that. MissingError where the
  file is absent; DataError where it is damaged, asks for more than tensors, or holds tensors that
  safetensors cannot.
  """
  return unwrap(source, _tensors(source, _model_in(source, open_torch(source))))


def open_weights(path: Path) -> dict[str, Lazy]:
  """The tensors of a file as it is published: safetensors, or a checkpoint; errors are theirs."""
  return open_checkpoint(path) if path.suffix in CHECKPOINTS else open_tensors(path)


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


def _tensors(source: Path, found: Any) -> dict[str, Lazy]:
  if not isinstance(found, Mapping):
    raise DataError(f"{source}: expected tensors by name, got a {_kind(found)}")
  named = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Lazy)}
  if not named:
    what = ", ".join(f"{shown(name)} ({_kind(value)})" for name, value in found.items())
    raise DataError(f"{source}: expected tensors by name, got {what[:300] or 'nothing'}")
  _warn(source, [name for name in found if name not in named])
  for name, leaf in named.items():
    if leaf.dtype not in NAMES:
      raise DataError(
        f"{source}: {shown(name)} is {leaf.dtype}, expected one of {', '.join(map(str, NAMES))}"
      )
  return named


def _kind(value: Any) -> str:
  return "tensor" if isinstance(value, Lazy) else type(value).__name__


def _warn(source: Path, left_out: list) -> None:
  if left_out:
    first = ", ".join(map(shown, left_out[:ROWS]))
    logging.warning("%s: %d entries are no tensors, left out: %s", source, len(left_out), first)

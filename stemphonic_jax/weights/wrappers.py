"""What training tools put around a model: words before its names, and an average beside it.

module.                     DistributedDataParallel, DeepSpeed
_orig_mod.                  torch.compile, anywhere in a name
diffusion.                  the training wrapper of stable-audio-tools (or autoencoder.), with
diffusion_ema.ema_model.    the average of `diffusion.model.`, which is what is to be used
model.diffusion_model.      ComfyUI and latent diffusion: `model.model.` in stable-audio-tools
ema_model.                  ema_pytorch by itself, with online_model., initted and step
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from absl import logging

from stemphonic_jax.audio.folders import if_file
from stemphonic_jax.weights.files import ROWS

Tensor = TypeVar("Tensor")

CHECKPOINTS = (".ckpt", ".pt", ".pth", ".bin")
COMPILED = re.compile(r"(^|\.)_orig_mod\.")
AROUND = ("diffusion.", "autoencoder.", "model.diffusion_model.")  # of all names, or left
BESIDE = ("pretransform.", "conditioner.")  # the other parts of a Stable Audio
# Averages, and what each of them is the average of.
AVERAGES = {
  "diffusion_ema.ema_model.": "diffusion.model.",
  "autoencoder_ema.ema_model.": "autoencoder.",
  "ema_model.": "",
}


def unwrap(source: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
  """The tensors by their names in the model, averaged where there is an average of all of them.

  What is taken off and left out is said in the log, as of `source`.
  """
  found = {COMPILED.sub(r"\1", name): tensor for name, tensor in tensors.items()}
  _say(source, "_orig_mod." if found.keys() != tensors.keys() else "")
  found = _without(source, found, "module.")
  for prefix, of in AVERAGES.items():
    found = _averaged(source, found, prefix, of)
  for prefix in AROUND:
    found = _without(source, found, prefix)
  if any(name.startswith(BESIDE) for name in found):  # ComfyUI's names of a whole Stable Audio
    comfy, ours = "model.diffusion_model.", "model.model."
    if any(name.startswith(comfy) for name in found):
      logging.warning("%s: %r is read as %r", source, comfy, ours)
    found = {re.sub(f"^{re.escape(comfy)}", ours, name): t for name, t in found.items()}
  return found


def hint(path: Path) -> str:
  """What to do where a model folder was expected and a checkpoint, or a file, is there; or ""."""
  if path.is_file() and path.suffix in CHECKPOINTS:
    return _convert(path, "it is a PyTorch checkpoint, not a folder")
  if path.is_file():
    return if_file(path)
  if path.is_dir():
    for file in sorted(path.iterdir()):
      if file.suffix in CHECKPOINTS and file.is_file():
        return _convert(file, f"{file.name} is a PyTorch checkpoint")
  return ""


def _convert(file: Path, what: str) -> str:
  return (
    f"; {what}: `stemphonic bundle convert {file} {file.with_name('model.safetensors')}`"
    f" makes safetensors of it, to be beside its model_config.json for `stemphonic bundle import`"
  )


def _averaged(
  source: Path, tensors: Mapping[str, Tensor], prefix: str, of: str
) -> dict[str, Tensor]:
  """The tensors with those after `prefix` in place of those after `of`; else as they are."""
  averages = {
    of + name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)
  }
  wrapper = prefix.partition("ema_model.")[0]
  counters = [wrapper + name for name in ("initted", "step")]
  if not averages:
    return dict(tensors)
  around = of.partition(".")[0] + "." if of else ""
  rest = {
    name: t
    for name, t in tensors.items()
    if not name.startswith((prefix, wrapper + "online_model."))
    and name not in counters
    and name.startswith(around)
  }
  out = [name for name in tensors if name not in rest and not name.startswith(prefix)]
  logging.warning(
    "%s: %d averaged tensors (%s) are taken instead of those in training%s",
    source, len(averages), prefix, f"; left out: {', '.join(out[:ROWS])}" if out else "",
  )  # fmt: skip
  return rest | averages


def _without(source: Path, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
  """The tensors without `prefix`, where all of them have it."""
  if not tensors or not all(name.startswith(prefix) for name in tensors):
    return dict(tensors)
  _say(source, prefix)
  return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _say(source: Path, prefix: str) -> None:
  if prefix:
    logging.warning("%s: %r is taken off the names of its tensors", source, prefix)

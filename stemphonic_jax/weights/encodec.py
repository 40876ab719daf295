"""EnCodec's public weights: Hugging Face's folders, and audiocraft's compression_state_dict.bin.

In both, layers are numbered with the ELUs between them, and weight norm is not folded yet: a
kernel is weight_g · weight_v / |weight_v|, the norm being over all but the first axis, which of a
transposed convolution is the input. Names of both become these, of which ours are made:

    encoder.N.weight_g|weight_v|bias      the same of decoder, and of encoder.N.block.1|3
    encoder.N.lstm.weight_ih_l0 …         as PyTorch names them
    codebooks.K
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import yaml
from flax import traverse_util

from stemphonic_jax.audio.folders import if_file
from stemphonic_jax.errors import DataError, MismatchError, MissingError
from stemphonic_jax.models.encodec import COMPRESS, KERNEL, PADDINGS, UNIT, EnCodec
from stemphonic_jax.weights.architecture import codec_shapes
from stemphonic_jax.weights.checkpoint import open_weights
from stemphonic_jax.weights.codec import CodecWeights
from stemphonic_jax.weights.files import digest, read_json
from stemphonic_jax.weights.lazy import Lazy, in_float32, transposed
from stemphonic_jax.weights.tensors import check_params
from stemphonic_jax.weights.torch_file import open_torch
from stemphonic_jax.weights.wrappers import CHECKPOINTS

AUDIOCRAFT = "compression_state_dict.bin"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # of Hugging Face, the first that is there
# Theirs to ours; the first group is the coder, the second its layer's number.
CONVOLUTION = re.compile(
  r"(encoder|decoder)\.(?:layers|model)\.(\d+)\.(block\.\d+\.)?(?:conv\.conv|convtr\.convtr|conv)\."
  r"(weight_g|weight_v|bias|parametrizations\.weight\.original[01])"
)
RECURRENT = re.compile(r"(encoder|decoder)\.(?:layers|model)\.(\d+)\.lstm\.(\w+)")
CODEBOOK = re.compile(r"quantizer\.(?:vq\.)?layers\.(\d+)\._?codebook\.(\w+)")
TRAINING = ("embed_avg", "cluster_size", "inited")  # what only training needs of a codebook
NORMED = {"parametrizations.weight.original0": "weight_g"}
NORMED["parametrizations.weight.original1"] = "weight_v"
# What a config must say, where it says anything: what is built here is built no other way.
FIXED = {
  "audio_channels": 1,
  "use_causal_conv": False,
  "use_conv_shortcut": False,
  "norm_type": "weight_norm",
  "normalize": False,
  "chunk_length_s": None,
  "num_residual_layers": 1,
  "kernel_size": KERNEL,
  "last_kernel_size": KERNEL,
  "residual_kernel_size": UNIT,
  "compress": COMPRESS,
}
# Hugging Face's names of these in audiocraft's config, and of the sizes.
SAME = {
  "audio_channels": "channels",
  "use_causal_conv": "encodec.causal",
  "norm_type": "seanet.norm",
  "normalize": "encodec.renormalize",
  "num_residual_layers": "seanet.n_residual_layers",
  "kernel_size": "seanet.kernel_size",
  "last_kernel_size": "seanet.last_kernel_size",
  "residual_kernel_size": "seanet.residual_kernel_size",
  "compress": "seanet.compress",
  "sampling_rate": "sample_rate",
  "num_filters": "seanet.n_filters",
  "upsampling_ratios": "seanet.ratios",
  "hidden_size": "seanet.dimension",
  "num_lstm_layers": "seanet.lstm",
  "pad_mode": "seanet.pad_mode",
  "codebook_size": "rvq.bins",
  "codebooks": "rvq.n_q",  # of which Hugging Face's has the bit rate
}
SIZES = ("num_filters", "hidden_size", "num_lstm_layers", "codebook_size", "sampling_rate")
REFERENCE = re.compile(r"\$\{([\w.]+)\}")  # to another value of audiocraft's config


def open_encodec(path: Path) -> CodecWeights:
  """The codec in a folder of Hugging Face or of audiocraft, or in audiocraft's file itself.

  MissingError where a file is absent, or only points to another; DataError where one is damaged;
  MismatchError for another kind of codec, and for tensors that are missing, left over, or of
  another shape.
  """
  if path.is_dir() and not (path / "config.json").is_file() and (path / AUDIOCRAFT).is_file():
    path = path / AUDIOCRAFT
  if path.suffix in CHECKPOINTS:
    config, given = _audiocraft(path)
    source = path
  else:
    if not path.is_dir():
      raise MissingError(f"{path}: no such folder of an EnCodec{if_file(path)}")
    config = read_json(path / "config.json")
    if (kind := config.get("model_type", "encodec")) != "encodec":
      raise MismatchError(f"{path}: is a model of type {kind!r}, expected 'encodec'")
    source = next((path / name for name in WEIGHTS if (path / name).is_file()), path / WEIGHTS[0])
    given = open_weights(source)
  model, params, rate = import_encodec(source, config, given)
  return CodecWeights(model, params, rate, digest(source))


def import_encodec(
  source: Path, config: Mapping[str, Any], given: Mapping[str, Lazy]
) -> tuple[EnCodec, Any, int]:
  """The codec, its tensors and its rate out of a config and tensors, both with public names.

  The config is Hugging Face's, as that of MusicGen holds it too. Errors as of `source`.
  """
  found = {_common_name(name): in_float32(leaf) for name, leaf in given.items()}
  found.pop("", None)
  levels = sum(name.startswith("codebooks.") for name in found)
  model = _model(source, config, levels)
  wanted = _wanted(model)
  check_params(source, found, {name: leaf for part in wanted.values() for name, leaf in part})
  flat = {name: _made(name, [found[theirs] for theirs, _ in part]) for name, part in wanted.items()}
  return model, traverse_util.unflatten_dict(flat, sep="/"), config["sampling_rate"]


def _audiocraft(path: Path) -> tuple[dict[str, Any], Mapping[str, Lazy]]:
  """The config, in Hugging Face's words, and the tensors of audiocraft's file."""
  content = open_torch(path)
  if not isinstance(content, Mapping):
    raise DataError(f"{path}: expected an exported codec of audiocraft, got no mapping")
  if name := content.get("pretrained"):
    raise MissingError(
      f"{path}: holds no weights, only the name {str(name)[:80]!r}; fetch that model's folder"
      f" (config.json, {WEIGHTS[0]}) and name it instead"
    )
  tensors, text = content.get("best_state"), content.get("xp.cfg")
  if not isinstance(tensors, Mapping) or not isinstance(text, str):
    raise DataError(
      f"{path}: expected best_state and xp.cfg, as audiocraft exports a codec, got"
      f" {', '.join(map(str, content))[:200]}"
    )
  try:
    config = yaml.safe_load(text)
  except (yaml.YAMLError, ValueError, RecursionError):
    raise DataError(f"{path}: its xp.cfg is not YAML") from None
  if (kind := _value(config, "compression_model")) not in ("encodec", None):
    raise MismatchError(f"{path}: is a codec of type {kind!r}, expected 'encodec'")
  words = {name: _value(config, path) for name, path in SAME.items()}
  shortcut = _value(config, "seanet.true_skip")
  words["use_conv_shortcut"] = None if shortcut is None else not shortcut
  words = {name: value for name, value in words.items() if value is not None}
  lazy = {str(name): leaf for name, leaf in tensors.items() if isinstance(leaf, Lazy)}
  return words, lazy


def _value(config: Any, path: str, depth: int = 5) -> Any:
  """The value at a dotted path, or where that refers to; None where there is none."""
  found = config
  for key in path.split("."):
    found = found.get(key) if isinstance(found, Mapping) else None
  if isinstance(found, str) and depth and (match := REFERENCE.fullmatch(found)):
    return _value(config, match[1], depth - 1)
  return found


def _model(source: Path, config: Mapping[str, Any], levels: int) -> EnCodec:
  # Those that Hugging Face has where a config does not say it, which is another codec's.
  config = {"use_causal_conv": True, "use_conv_shortcut": True, "pad_mode": "reflect"} | config
  if other := [name for name, value in FIXED.items() if config.get(name, value) != value]:
    name = other[0]
    raise MismatchError(
      f"{source}: is another EnCodec than MusicGen's: {name} is {config[name]!r}, expected"
      f" {FIXED[name]!r}"
    )
  ratios = config.get("upsampling_ratios")
  for name in SIZES:
    least = COMPRESS if name == "num_filters" else 1
    if type(size := config.get(name)) is not int or size < least:
      raise DataError(
        f"{source}: config: {name} is {size!r}, expected a whole number from {least} on"
      )
  if not isinstance(ratios, (list, tuple)) or not all(type(r) is int and r > 0 for r in ratios):
    raise DataError(f"{source}: config: upsampling_ratios is {ratios!r}, expected whole numbers")
  if (padding := config["pad_mode"]) not in PADDINGS:
    raise MismatchError(
      f"{source}: config: pad_mode is {padding!r}, expected one of {', '.join(PADDINGS)}"
    )
  if not levels or levels != (wanted := _levels(config, math.prod(ratios)) or levels):
    raise MismatchError(
      f"{source}: has {levels} codebooks, expected {wanted if levels else 'some'}"
    )
  return EnCodec(
    config["num_filters"], tuple(ratios), config["hidden_size"], levels, config["codebook_size"],
    config["num_lstm_layers"], padding,
  )  # fmt: skip


def _levels(config: Mapping[str, Any], hop: int) -> int | None:
  """How many codebooks a config speaks of; None where it does not."""
  if "codebooks" in config:
    return config["codebooks"]
  kilobits, bits = config.get("target_bandwidths"), math.ceil(math.log2(config["codebook_size"]))
  if not kilobits or not bits or not isinstance(kilobits, (list, tuple)):
    return None
  if not all(type(k) in (int, float) and math.isfinite(k) for k in kilobits):
    return None
  return int(1000 * max(kilobits) // (-(-config["sampling_rate"] // hop) * bits))


def _common_name(name: str) -> str:
  """The name above; nothing for what only training needs; the same where it is of no layer."""
  if match := CODEBOOK.fullmatch(name):
    level, kind = match.groups()
    return f"codebooks.{level}" if kind == "embed" else "" if kind in TRAINING else name
  if match := RECURRENT.fullmatch(name):
    coder, number, leaf = match.groups()
    return f"{coder}.{number}.lstm.{leaf}"
  if match := CONVOLUTION.fullmatch(name):
    coder, number, block, leaf = match.groups()
    return f"{coder}.{number}.{block or ''}{NORMED.get(leaf, leaf)}"
  return name


Wanted = Mapping[str, list[tuple[str, jax.ShapeDtypeStruct]]]


def _wanted(model: EnCodec) -> Wanted:
  """For each of our tensors, the names and shapes of those it is made of."""
  return {
    name: [(theirs, jax.ShapeDtypeStruct(shape, np.float32)) for theirs, shape in parts]
    for name, leaf in traverse_util.flatten_dict(codec_shapes(model), sep="/").items()
    for parts in [_parts(model, name, leaf.shape)]
  }


def _parts(model: EnCodec, name: str, shape: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
  if name == "codebooks":
    return [(f"codebooks.{level}", shape[1:]) for level in range(shape[0])]
  coder, layer, *inside = name.split("/")
  layer, _, stage = layer.partition("_")
  number = 3 * int(stage) if stage.isdigit() else 0
  last = 3 * len(model.ratios)
  first = {"unit": 1, "down": 3} if coder == "encoder" else {"up": 3, "unit": 4}
  if layer == "conv":
    number = 0 if stage == "in" else last + 3
  elif layer == "lstm":
    number = last + 1 if coder == "encoder" else 1
  else:
    number += first[layer]
  around = f"{coder}.{number}"
  if layer == "lstm":
    kind, _, level = inside[0].partition("_")
    if kind == "bias":
      return [(f"{around}.lstm.bias_{of}_l{level}", shape) for of in ("ih", "hh")]
    wide = shape if kind == "recurrent" else shape[::-1]
    return [(f"{around}.lstm.weight_{'hh' if kind == 'recurrent' else 'ih'}_l{level}", wide)]
  if layer == "unit":
    around += ".block.1" if inside[0] == "conv1" else ".block.3"
  if inside[-1] == "bias":
    return [(f"{around}.bias", shape)]
  width, inputs, outputs = shape
  theirs = (inputs, outputs, width) if layer == "up" else (outputs, inputs, width)
  return [(f"{around}.weight_g", (theirs[0], 1, 1)), (f"{around}.weight_v", theirs)]


def _made(name: str, parts: list[Lazy]) -> Lazy:
  """One of our tensors of those that it is made of."""
  leaf = name.rpartition("/")[2]
  if name == "codebooks":
    shape = (len(parts), *parts[0].shape)
    return Lazy(shape, parts[0].dtype, lambda: np.stack([part.read() for part in parts]))
  if leaf.startswith("bias_"):  # of an LSTM, which has two
    return Lazy(parts[0].shape, parts[0].dtype, lambda: parts[0].read() + parts[1].read())
  if leaf == "kernel":
    return _folded(*parts, order=(2, 0, 1) if "/up_" in name else (2, 1, 0))
  return transposed(parts[0]) if leaf.startswith("kernel_") else parts[0]


def _folded(g: Lazy, v: Lazy, order: tuple[int, ...]) -> Lazy:
  """A kernel with weight norm folded into it, its axes in `order`."""

  def read() -> np.ndarray:
    direction = v.read()
    norm = np.sqrt(np.sum(np.square(direction, dtype=np.float64), (1, 2), keepdims=True))
    return (g.read() * direction / norm).astype(np.float32).transpose(order)

  return Lazy(tuple(v.shape[axis] for axis in order), np.dtype(np.float32), read)

"""Stable Audio Open as a model folder of this project.

A table says what each of our tensors is made of in diffusers' names (stable_audio_folder.py brings
both public layouts to these). Each is made when it is written, so an import takes the memory of its
largest tensor, and names and shapes are checked before anything is read or written.

What this project adds enters with zero weights: sub-mix and activity in the first two layers, tempo
in the last layer of its projection. So these conditions change nothing, bit for bit, until they are
trained. A DiT that predicts v keeps doing so (models/prediction.py); one that was trained as a
rectified flow predicts ε − x, and its last layer is imported with the opposite sign.
"""

import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from stemphonic_jax.data.batching.records import Statistics
from stemphonic_jax.errors import MismatchError, MissingError, UsageError
from stemphonic_jax.models.dit import SECONDS_RANGE, DiT
from stemphonic_jax.weights.architecture import VAE, build_dit, build_vae, dit_shapes, vae_shapes
from stemphonic_jax.weights.bundle import save_bundle
from stemphonic_jax.weights.files import ROWS
from stemphonic_jax.weights.signed import check_absent
from stemphonic_jax.weights.stable_audio_folder import Part, Peer, Tensors, expect, open_peer
from stemphonic_jax.weights.t5 import find_tokenizer, open_huggingface
from stemphonic_jax.weights.tensors import Lazy, check_params

Shapes = Mapping[str, jax.ShapeDtypeStruct]

LICENCE = "Stability AI Community License, https://stability.ai/license"
SOURCE = "stabilityai/stable-audio-open-1.0 (imported from the {} layout)"

# Our tensors of one block, and theirs that are put side by side in each.
BLOCK = {
  "self_norm/gain": ["norm1.weight"],
  "self_attention/qkv/kernel": ["attn1.to_q.weight", "attn1.to_k.weight", "attn1.to_v.weight"],
  "self_attention/out/kernel": ["attn1.to_out.0.weight"],
  "cross_norm/gain": ["norm2.weight"],
  "cross_attention/query/kernel": ["attn2.to_q.weight"],
  "cross_attention/key_value/kernel": ["attn2.to_k.weight", "attn2.to_v.weight"],
  "cross_attention/out/kernel": ["attn2.to_out.0.weight"],
  "feed_norm/gain": ["norm3.weight"],
  "feed_forward/in/kernel": ["ff.net.0.proj.weight"],
  "feed_forward/in/bias": ["ff.net.0.proj.bias"],
  "feed_forward/out/kernel": ["ff.net.2.weight"],
  "feed_forward/out/bias": ["ff.net.2.bias"],
}
NORM_BIAS = re.compile(r"transformer_blocks\.\d+\.norm\d\.bias")  # never trained, all zeros
# The rest of the DiT.
OUTSIDE = {
  "time_frequency": "time_proj.weight",
  "time_hidden/kernel": "timestep_proj.0.weight",
  "time_hidden/bias": "timestep_proj.0.bias",
  "time_out/kernel": "timestep_proj.2.weight",
  "time_out/bias": "timestep_proj.2.bias",
  "start_embedding/frequency": "start_number_conditioner.time_positional_embedding.0.weights",
  "start_embedding/out/kernel": "start_number_conditioner.time_positional_embedding.1.weight",
  "start_embedding/out/bias": "start_number_conditioner.time_positional_embedding.1.bias",
  "total_embedding/frequency": "end_number_conditioner.time_positional_embedding.0.weights",
  "total_embedding/out/kernel": "end_number_conditioner.time_positional_embedding.1.weight",
  "total_embedding/out/bias": "end_number_conditioner.time_positional_embedding.1.bias",
  "timing_projection/hidden/kernel": "global_proj.0.weight",
  "timing_projection/out/kernel": "global_proj.2.weight",
  "text_projection/hidden/kernel": "cross_attention_proj.0.weight",
  "text_projection/out/kernel": "cross_attention_proj.2.weight",
  "in_residual/kernel": "preprocess_conv.weight",
  "in_projection/kernel": "proj_in.weight",
  "out_projection/kernel": "proj_out.weight",
  "out_residual/kernel": "postprocess_conv.weight",
}
ADDED = ("tempo_embedding/", "tempo_projection/", "activity_embedding/")  # what theirs lacks
LARGEST = 1 << 18  # of any number in a config


def import_stable_audio(folder: Path, out: Path, text_encoder: Path | None = None) -> None:
  """Writes the Stable Audio Open of `folder`, in either public layout, as the model folder `out`.

  `text_encoder` is a Hugging Face folder of its T5 with spiece.model: the original layout needs
  one, that of diffusers holds its own. OutputError where `out` exists; MissingError, DataError or
  MismatchError where `folder` is not what it should be, and then nothing is written.
  """
  check_absent(out)
  peer = open_peer(folder)
  if text_encoder is None and peer.text_encoder is None:
    raise MissingError(
      f"{folder}: the original layout holds no text encoder; name a folder of its T5 (config.json,"
      f" model.safetensors, spiece.model) as the text encoder"
    )
  text = open_huggingface(text_encoder or peer.text_encoder)
  tokenizer = find_tokenizer(text_encoder or peer.tokenizer)
  config = _config(peer, text.config["width"])
  try:
    vae = build_vae(config["vae"])
    dit = build_dit(config["dit"], config["text"], vae.latent, config["sample_rate"] / vae.hop)
  except UsageError as error:
    raise MismatchError(f"{folder}: {error}") from None
  save_bundle(
    out,
    config,
    dit_params=import_dit(folder, peer, dit),
    vae_params=import_vae(peer, vae),
    tokenizer=tokenizer,
    statistics=Statistics(
      mean=np.zeros(vae.latent, np.float32), std=np.full(vae.latent, peer.scale, np.float32)
    ),
    text_encoder=text,
  )


def _config(peer: Peer, text_width: int) -> dict[str, Any]:
  """Config of the model folder; MismatchError where the parts are not a Stable Audio Open's."""
  dit, vae = partial(_size, peer.transformer), partial(_size, peer.vae)
  numbers = peer.projection.config
  heads, head_width = dit("num_attention_heads"), dit("attention_head_dim")
  memory_heads = dit("num_key_value_attention_heads")
  channels, latent = vae("encoder_hidden_size"), vae("decoder_input_channels")
  multiples = _sizes(peer.vae, "channel_multiples")
  strides = _sizes(peer.vae, "downsampling_ratios")
  hop = _whole_number(peer.vae, "the product of downsampling_ratios", math.prod(strides))
  rate, depth = vae("sampling_rate"), dit("num_layers")
  expect(
    peer.transformer.source,
    {
      "num_layers": (depth, min(depth, len(peer.transformer.tensors))),
      "in_channels": (dit("in_channels"), latent),
      "out_channels": (dit("out_channels"), latent),
      "time_proj_dim": (dit("time_proj_dim"), 256),
      "cross_attention_input_dim": (dit("cross_attention_input_dim"), text_width),
      "global_states_input_dim": (dit("global_states_input_dim"), 2 * text_width),
      # Of narrower heads, the two public implementations rotate different widths.
      "attention_head_dim": (head_width, max(64, head_width)),
      f"remainder of {heads} heads in groups of {memory_heads}": (heads % memory_heads, 0),
    },
  )
  expect(
    peer.projection.source,
    {
      "text_encoder_dim": (numbers.get("text_encoder_dim"), text_width),
      "conditioning_dim": (numbers.get("conditioning_dim"), text_width),
      "range of seconds": ((numbers.get("min_value"), numbers.get("max_value")), SECONDS_RANGE),
    },
  )
  expect(
    peer.vae.source,
    {
      "audio_channels": (vae("audio_channels"), 2),
      "decoder_channels": (vae("decoder_channels"), channels),
      "number of channel_multiples": (len(multiples), len(strides)),
    },
  )
  return {
    "sample_rate": rate,
    "seconds": dit("sample_size") * hop / rate,
    "vae": {
      "architecture": "oobleck",
      "channels": channels,
      "multiples": multiples,
      "strides": strides,
      "latent": latent,
    },
    "dit": {
      "width": heads * head_width,
      "depth": depth,
      "heads": heads,
      "activity_channels": 16,
      "dtype": "float32",
      "remat": "none",
      "memory_width": dit("cross_attention_dim"),
      "memory_heads": memory_heads,
      "timing": True,
      "prediction": peer.prediction,
    },
    "text": {"encoder": "t5", "width": text_width, "length": peer.text_length},
    "dropout": {"text": 0.1, "bpm": 1.0, "context": 1.0, "activity": 1.0},
    "sample": {"steps": 100, "guidance": 7.0, "interval": (1, 100), "share_noise": True},
    "whole_mixes": False,
    "prompts": "captions",
    "licence": LICENCE,
    "source": SOURCE.format(peer.layout),
  }


def _size(part: Part, name: str) -> int:
  return _whole_number(part, name, part.config.get(name))


def _sizes(part: Part, name: str) -> tuple[int, ...]:
  values = part.config.get(name)
  values = values if isinstance(values, list | tuple) else [values]
  return tuple(_whole_number(part, name, value) for value in values)


def _whole_number(part: Part, name: str, value: Any) -> int:
  # Some public configs say 1024.0.
  if not isinstance(value, int | float) or value != value // 1 or not 1 <= value <= LARGEST:
    raise MismatchError(
      f"{part.source}: {name} is {value!r} in the config, expected 1 to {LARGEST}; copy it again"
    )
  return int(value)


def import_vae(peer: Peer, vae: VAE) -> Any:
  """Their autoencoder in our names, which differ by the word for a kernel and by block_0."""
  shapes = _flat(vae_shapes(vae))
  theirs = {
    ours: re.sub(r"block_(\d+)", r"block.\1", ours).replace("kernel", "weight").replace("/", ".")
    for ours in shapes
  }
  _check_names(peer.vae.source, peer.vae.tensors, theirs.values())
  leaves = {ours: _leaf(ours, peer.vae.tensors[name]) for ours, name in theirs.items()}
  return _tree(peer.vae.source, leaves, shapes)


def import_dit(folder: Path, peer: Peer, dit: DiT) -> Any:
  """Their transformer and number conditioners as our DiT, with what is added to it."""
  shapes, channels = _flat(dit_shapes(dit)), dit.channels
  tensors = peer.transformer.tensors | peer.projection.tensors
  depth, width = shapes["blocks/self_norm/gain"].shape
  blocks = {
    ours: [[f"transformer_blocks.{i}.{name}" for name in names] for i in range(depth)]
    for ours, names in BLOCK.items()
  }
  in_blocks = [name for rows in blocks.values() for names in rows for name in names]
  biases = [name for name in tensors if NORM_BIAS.fullmatch(name)]
  _check_names(folder, tensors, [*OUTSIDE.values(), *in_blocks, *biases])
  for name in biases:
    if tensors[name].read().any():
      raise MismatchError(f"{folder}: {name} is not all zeros, and the norms here have no bias")

  leaves = {ours: _leaf(ours, tensors[name]) for ours, name in OUTSIDE.items()}
  for ours, rows in blocks.items():
    parts = [[_leaf(ours, tensors[name]) for name in names] for names in rows]
    leaves[f"blocks/{ours}"] = _stack(folder, ours, [_join(folder, ours, row) for row in parts])
  for ours, outputs in (("in_residual/kernel", channels), ("in_projection/kernel", width)):
    # One of any other shape stays as it is, to be refused below.
    if leaves[ours].shape == (channels, outputs):
      leaves[ours] = _lazy(shapes[ours].shape, partial(_widen, leaves[ours], shapes[ours].shape))
  if peer.prediction == "velocity":
    last = leaves["out_projection/kernel"]
    leaves["out_projection/kernel"] = _lazy(last.shape, lambda: -last.read())
  for ours in shapes:
    if ours.startswith(ADDED):
      leaves[ours] = _lazy(shapes[ours].shape, partial(_fresh, ours, shapes[ours].shape))
  return _tree(folder, leaves, shapes)


def _flat(shapes: Any) -> Shapes:
  return traverse_util.flatten_dict(shapes, sep="/")


def _tree(source: Path, leaves: Mapping[str, Any], shapes: Shapes) -> Any:
  params, wanted = (traverse_util.unflatten_dict(flat, sep="/") for flat in (leaves, shapes))
  check_params(source, params, wanted)
  return params


def _check_names(source: Path, tensors: Tensors, wanted: Iterable[str]) -> None:
  """MismatchError, in their names, where one is missing or left over."""
  wanted = set(wanted)
  # First what is left over, which tells an adapter or another network by its names.
  rows = [f"{name} is left over" for name in sorted(tensors.keys() - wanted)]
  count = len(rows) + len(wanted - tensors.keys())
  rows = rows[: ROWS // 2] + [f"{name} is missing" for name in sorted(wanted - tensors.keys())]
  if rows:
    raise MismatchError(f"{source}: {count} tensors do not fit; " + "; ".join(rows[:ROWS]))


def _lazy(shape: Sequence[int], read: Callable[[], np.ndarray]) -> Lazy:
  return Lazy(tuple(shape), np.dtype(np.float32), read)


def _leaf(ours: str, tensor: Lazy) -> Lazy:
  """Their tensor as ours: kernels [K, in, out], or [in, out] where K is 1; all else a vector."""
  if not ours.endswith("kernel"):
    shape = [math.prod(tensor.shape)]
    return _lazy(shape, lambda: tensor.read().reshape(shape))
  axes = range(len(tensor.shape))[::-1]
  if "conv_t1" in ours and len(axes) == 3:  # [in, out, K] there, and [out, in, K] elsewhere
    axes = (2, 0, 1)
  shape = [tensor.shape[axis] for axis in axes]
  shape = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
  return _lazy(shape, lambda: tensor.read().transpose(axes).reshape(shape))


def _join(source: Path, ours: str, parts: Sequence[Lazy]) -> Lazy:
  """Side by side: the outputs of one after those of another."""
  if len(parts) == 1:
    return parts[0]
  shapes = [part.shape for part in parts]
  if len(set(shapes)) > 1:
    raise MismatchError(f"{source}: parts of {ours} are {shapes}, expected one shape")
  shape = (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
  return _lazy(shape, lambda: np.concatenate([part.read() for part in parts], -1))


def _stack(source: Path, ours: str, rows: Sequence[Lazy]) -> Lazy:
  """One on another, blocks on a leading axis; no more than one is in memory beside the result."""
  for i, row in enumerate(rows):
    if row.shape != rows[0].shape:
      raise MismatchError(
        f"{source}: {ours} of block {i} is {row.shape}, of block 0 it is {rows[0].shape}"
      )

  def read() -> np.ndarray:
    stack = np.empty((len(rows), *rows[0].shape), np.float32)
    for place, row in zip(stack, rows, strict=True):
      place[...] = row.read()
    return stack

  return _lazy((len(rows), *rows[0].shape), read)


def _widen(kernel: Lazy, shape: Sequence[int]) -> np.ndarray:
  """The kernel in the corner of zeros."""
  wide = np.zeros(shape, np.float32)
  wide[tuple(slice(size) for size in kernel.shape)] = kernel.read()
  return wide


def _fresh(name: str, shape: Sequence[int]) -> np.ndarray:
  """Parameters that theirs lacks: tempo ends in zeros, which is what keeps it silent."""
  if name == "tempo_projection/out/kernel" or name.endswith("bias"):
    return np.zeros(shape, np.float32)
  scale = 1 / math.sqrt(shape[0]) if len(shape) > 1 else 1.0
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  return np.float32(scale) * rng.standard_normal(shape, np.float32)

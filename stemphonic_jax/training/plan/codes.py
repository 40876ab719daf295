"""What a step of a network over codes costs, from shapes alone; counted as in cost.py."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from ml_collections import ConfigDict

from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.models.musicgen import MusicGen
from stemphonic_jax.models.stemgen import StemGen
from stemphonic_jax.training.inputs.codes import codecs_of
from stemphonic_jax.training.losses.codes import loss_of
from stemphonic_jax.training.losses.unmasking import unmasking_loss_of
from stemphonic_jax.training.plan.cost import GB, tree_bytes
from stemphonic_jax.training.plan.describe import parameters
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.optimizer import build_optimizer
from stemphonic_jax.weights.architecture import CODEC, codec_shapes
from stemphonic_jax.weights.networks import (
  build_musicgen,
  build_stemgen,
  categories,
  musicgen_shapes,
  stemgen_shapes,
)

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


def stemgen_flops(model: StemGen, params: Any, frames: int) -> float:
  """The same: all frames attend to each other, and the codes of one level are predicted."""
  kernels = traverse_util.flatten_dict(params["blocks"])
  products = sum(math.prod(leaf.shape) for path, leaf in kernels.items() if path[-1] == "kernel")
  head = model.width * model.vocabulary
  return 2 * frames * (products + head) + 4 * frames**2 * model.width * model.depth


def musicgen_of(config: ConfigDict) -> MusicGen:
  """The network of a config; UsageError where its parts do not fit."""
  return build_musicgen(config.network, config.text.to_dict(), codecs_of(config))


def stemgen_of(config: ConfigDict) -> StemGen:
  """The same of StemGen, which tells the eleven types apart."""
  (codec,) = codecs_of(config).values()
  return build_stemgen(config.network, codec, len(categories(())))


def describe_musicgen(config: ConfigDict) -> str:
  """The table of parameters, and what a training step of MusicGen-Stem takes."""
  codecs, model = codecs_of(config), musicgen_of(config)
  frames = frames_of(config.seconds, config.sample_rate, next(iter(codecs.values())).hop)
  loss, columns = loss_of(config, model, codecs, frames)
  tokens, shapes = config.text.length, musicgen_shapes(model)

  def batch(rows: int) -> dict[str, jax.ShapeDtypeStruct]:
    array, learned = jax.ShapeDtypeStruct, model.text_encoder is not None
    text = array((rows, tokens), jnp.int32)
    return {
      "codes": array((rows, model.streams, frames), jnp.int32),
      "frames": array((rows,), jnp.int32),
      "text": text if learned else array((*text.shape, model.text_width), jnp.float16),
      "mask": array((rows, tokens), bool),
      "row": array((rows,), jnp.int32),
    }

  flops = musicgen_flops(model, shapes, columns, tokens)
  return describe(config, codecs, shapes, loss, batch, columns, flops)


def describe_stemgen(config: ConfigDict) -> str:
  """The table of parameters, and what a training step of StemGen takes."""
  codecs, model = codecs_of(config), stemgen_of(config)
  frames = frames_of(config.seconds, config.sample_rate, next(iter(codecs.values())).hop)
  shapes = stemgen_shapes(model)

  def batch(rows: int) -> dict[str, jax.ShapeDtypeStruct]:
    array, codes = jax.ShapeDtypeStruct, (rows, model.levels, frames)
    kinds = {"hears": bool, "instrument": jnp.int32, "row": jnp.int32}
    numbers = {name: array((rows,), kind) for name, kind in kinds.items()}
    return {name: array(codes, jnp.int32) for name in ("codes", "context")} | numbers

  loss = unmasking_loss_of(config, model)
  flops = stemgen_flops(model, shapes, frames)
  return describe(config, codecs, shapes, loss, batch, frames, flops)


def describe(
  config: ConfigDict,
  codecs: Mapping[str, CODEC],
  shapes: Any,
  loss: state.Loss,
  batch: Callable[[int], Mapping[str, jax.ShapeDtypeStruct]],
  columns: int,
  flops: float,
) -> str:
  """What a config of codes takes, by the `shapes` of its network's parameters.

  `batch` has the shapes of so many rows of `columns`, and a row takes `flops` forward.
  """
  rows, hop = config.train.batch_size, next(iter(codecs.values())).hop
  frames = frames_of(config.seconds, config.sample_rate, hop)
  streams = sum(codec.levels for codec in codecs.values())
  books = ", ".join(f"{n} {codec.levels} of {codec.entries}" for n, codec in codecs.items())
  models = {f"codec {name}": codec_shapes(codec) for name, codec in codecs.items()}
  optimizer = build_optimizer(config.train)
  current = jax.eval_shape(lambda p: state.create(p, {}, optimizer), shapes)
  kept = tree_bytes(current)
  gradients = tree_bytes(current.params)
  row = row_bytes(loss, shapes, batch) * -(-rows // config.train.micro_batches)
  total = kept + gradients + row
  lines = [
    f"{config.seconds:g} s of {config.sample_rate} Hz: {frames} frames of {hop} samples;"
    f" levels and entries: {books}",
    *parameters(models | {"network": shapes}),
    "",
    f"{frames * streams:,} tokens a song; a training step: {rows} rows of {columns} columns and"
    f" {config.text.length if 'text' in config else 0} text tokens,"
    f" {rows * frames * streams:,} tokens",
    f"{3 * flops / 1e12:.3g} TFLOP a row, {3 * flops * rows / 1e12:.4g} TFLOP a step;"
    " what is computed twice is not counted",
    f"memory of a step on one device: {kept / GB:.2f} GB parameters, average and optimiser,"
    f" {gradients / GB:.2f} GB gradients, {row / GB:.2f} GB handed from forward to backward",
    f"together {total / GB:.2f} GB; micro-batches and a mesh of devices take less on each",
  ]
  return "\n".join(lines)


def row_bytes(
  loss: state.Loss, params: Any, batch: Callable[[int], Mapping[str, jax.ShapeDtypeStruct]]
) -> float:
  """Bytes that the forward pass of a loss hands to its backward pass, for each row."""

  def backward(params: Any, batch: Any) -> Any:
    return jax.vjp(lambda p: loss(p, batch, jax.random.key(0))[0], params)[1]

  one, two = (tree_bytes(jax.eval_shape(backward, params, batch(rows))) for rows in (1, 2))
  return two - one

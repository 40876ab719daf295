"""What a training step costs, from shapes alone: arithmetic, memory per device, and time.

Arithmetic is counted in model FLOPs, as the field does: two for each weight and token it meets, in
the forward pass; as many again for the gradient to the tokens, and to the weight if it is trained.
What rematerialisation computes twice is not counted, nor is anything that is no product. The
model FLOPs of a second as a share of what the devices could do (`peak`) are the MFU.

Memory of what a run keeps is that of its arrays under their shardings. What one gradient needs
besides is read off the trace of its backward pass: the arrays that JAX hands from forward to
backward, so it follows the model's code and its rematerialisation without a formula of its own.
Of what XLA says (compile.py), which takes minutes, it is within 5 % on every slice tried.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.sharding import AbstractMesh, AxisType, Mesh
from jax.typing import DTypeLike

from stemphonic_jax.models.conditioning import Conditions
from stemphonic_jax.models.dit import DiT, for_machine
from stemphonic_jax.models.machine import Machine
from stemphonic_jax.training.distributed import mesh as places
from stemphonic_jax.training.run.state import TrainState, join

GB = 1e9
USABLE = 0.9  # of a device's memory; the rest is the runtime's, the compiler's, and fragments
# Of the peak, in predicting a time. Well-tuned language models of larger width reach 0.5 and more
# (MaxText on TPU v5e: 0.50 to 0.67); ours is narrow and its sequences are short.
ASSUMED_MFU = 0.35
# Besides what the forward pass hands over, the backward pass of a block holds its gradients; where
# the block is computed again, together with what that makes. In multiples of what one block hands
# over, measured on XLA's CPU backend over widths 128 to 512.
WORKING = {"none": 1.0, "blocks": 1.25, "products": 0.9}
# Of all kernels, the share that is there twice at that moment: as parameters, and cast to the type
# of the products ahead of its use. Measured on what XLA compiles for TPUs (tests/training/plan).
CAST_AHEAD = 0.6


@dataclass(frozen=True)
class Chip:
  """A device: bf16 FLOP/s of dense products and bytes of memory, as its maker states them."""

  name: str
  kinds: tuple[str, ...]  # what jax calls it: how `device_kind` begins
  flops: float
  memory: float
  source: str

  def flash(self, dtype: DTypeLike) -> bool:
    """Whether attention on it is cuDNN's (models/layers.py)."""
    return self.kinds[0].startswith("NVIDIA") and dtype == jnp.bfloat16


# The order matters: the first whose kind fits is taken.
CHIPS = (
  Chip("A100-80G", ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB"), 312e12, 80 * GB,
       "NVIDIA A100 80GB data sheet, BF16 tensor core without sparsity"),
  Chip("A100-40G", ("NVIDIA A100",), 312e12, 40 * GB,
       "NVIDIA A100 data sheet, BF16 tensor core without sparsity"),
  Chip("H100", ("NVIDIA H100 80GB HBM3",), 989e12, 80 * GB,
       "NVIDIA H100 data sheet, SXM, half of BF16 with sparsity"),
  Chip("H200", ("NVIDIA H200",), 989e12, 141 * GB,
       "NVIDIA H200 data sheet, SXM, half of BF16 with sparsity"),
  Chip("v4", ("TPU v4",), 275e12, 32 * GB, "Google Cloud TPU documentation, TPU v4"),
  Chip("v5e", ("TPU v5 lite", "TPU v5e"), 197e12, 16 * GB,
       "Google Cloud TPU documentation, TPU v5e"),
  Chip("v5p", ("TPU v5",), 459e12, 95 * GB, "Google Cloud TPU documentation, TPU v5p"),
  Chip("v6e", ("TPU v6",), 918e12, 32 * GB, "Google Cloud TPU documentation, TPU v6e"),
)  # fmt: skip


def chip_of(kind: str) -> Chip | None:
  """The chip that jax calls `kind`; None where it is not in the table, as a CPU."""
  return next((chip for chip in CHIPS if kind.startswith(chip.kinds)), None)


def peak(devices: Sequence[jax.Device]) -> float | None:
  """FLOP/s that the devices have together by their data sheets; None where one is unknown."""
  chips = [chip_of(device.device_kind) for device in devices]
  return None if None in chips else sum(chip.flops for chip in chips)


def forward_flops(dit: DiT, params: Any, frames: int, tokens: int, prepared: bool = False) -> float:
  """Model FLOPs of one velocity of one row; of the network alone where conditions are `prepared`.

  `params` are arrays or shapes, with adapters or without; `tokens` are those of the text.
  """
  if not prepared:
    return _products(dit, params, frames, tokens) + _attention(dit, frames, tokens)
  network = {
    path: leaf
    for path, leaf in traverse_util.flatten_dict(params).items()
    if path[0].startswith(("blocks", "in_", "out_", "time_")) and "key_value" not in path
  }
  products = _products(dit, traverse_util.unflatten_dict(network), frames, tokens)
  text = dit.clone(text_encoder=None)  # whose attention is over
  return products + _attention(text, frames, tokens)


def step_flops(dit: DiT, state: TrainState, *, rows: int, frames: int, tokens: int) -> float:
  """Model FLOPs of a training step of `rows` rows, all devices together.

  `state` may hold shapes only. A frozen weight has no gradient, but what lies before it has.
  """
  trained, frozen = (_products(dit, part, frames, tokens) for part in (state.params, state.frozen))
  return rows * (3 * trained + 2 * frozen + 3 * _attention(dit, frames, tokens))


def _products(dit: DiT, params: Any, frames: int, tokens: int) -> float:
  """FLOPs of one row meeting every kernel once."""
  total = 0
  for path, leaf in traverse_util.flatten_dict(params).items():
    if path[-1] in ("kernel", "lora_in", "lora_out"):
      total += 2 * math.prod(leaf.shape) * _met(dit, path, frames, tokens)
  return total


def _met(dit: DiT, path: tuple[str, ...], frames: int, tokens: int) -> int:
  """How many tokens of a row a kernel meets."""
  if path[0] == "text_encoder":
    return tokens
  if path[0] == "text_projection" or path[-2] == "key_value":
    return _memory_tokens(dit, tokens)
  if path[0] == "blocks" and "modulation" not in path:
    return frames + 1  # with the token of time and conditions
  return frames if path[0].startswith(("in_", "out_")) else 1


def _memory_tokens(dit: DiT, tokens: int) -> int:
  """What a frame can attend to: the text and the tempo, or the two numbers of timing."""
  return tokens + (2 if dit.timing else 1)


def _attention(dit: DiT, frames: int, tokens: int) -> float:
  """FLOPs of queries meeting keys, and weights meeting values, for one row."""
  length = frames + 1
  per_block = 4 * length * (length + _memory_tokens(dit, tokens)) * dit.width
  if dit.ensemble:  # queries and keys are half as wide there
    per_block += 3 * length * max(dit.rows, 1) * dit.width
  text = dit.text_encoder
  return dit.depth * per_block + (4 * tokens**2 * text.features * text.depth if text else 0)


def abstract_mesh(data: int, fsdp: int = 1, tensor: int = 1) -> AbstractMesh:
  """A mesh of devices that need not be there, to predict on."""
  sizes = (data, fsdp, tensor)
  return AbstractMesh(sizes, places.AXES, axis_types=(AxisType.Auto,) * len(sizes))


@dataclass(frozen=True)
class Activations:
  """Bytes of one row at the height of a gradient: inputs of blocks, what is inside them, logits.

  The last are there where attention makes them whole: with XLA's, except head by head on a CPU.
  """

  inputs: float
  inside: float
  logits: float


def activations(dit: DiT, params: Any, frames: int, tokens: int) -> Activations:
  """What a row needs beside parameters and gradients, under the model's rematerialisation.

  Traced as for an accelerator, whatever machine this is.
  """
  dit = for_machine(dit, Machine("tpu")).clone(rows=0)  # of one row, and of two
  saved, _ = _handed_over(dit, params, frames, tokens)
  inputs, _ = _handed_over(dit.clone(remat="blocks"), params, frames, tokens)
  _, block = _handed_over(dit.clone(remat="none"), params, frames, tokens)
  # Of each logit its exponential, in float32 and in the type of the products.
  pairs = (frames + 1) * (frames + 1 + _memory_tokens(dit, tokens))
  logits = dit.heads * pairs * (4 + jnp.dtype(dit.dtype).itemsize)
  blocks = WORKING[dit.remat] + (dit.depth if dit.remat == "none" else 0)
  return Activations(inputs, saved - inputs + WORKING[dit.remat] * block, blocks * logits)


def memory(
  dit: DiT,
  state: TrainState,
  row: Activations,
  mesh: Mesh | AbstractMesh,
  *,
  rows: int,
  frames: int,
  tokens: int,
  micro_batches: int = 1,
  flash: bool = False,
) -> dict[str, float]:
  """Bytes on each device at the height of a step of `rows` rows, by what they are for.

  `state` may hold shapes only; `flash` says that attention never makes its logits whole.
  """
  fsdp, tensor = mesh.shape["fsdp"], mesh.shape["tensor"]
  parts = mesh.shape["data"] * fsdp
  # The gradients of a micro-batch are added to those of the micro-batches before it. A block's
  # weights are whole while it is computed, and the next one's arrive meanwhile.
  model = join(state.params, state.frozen)
  size = jnp.dtype(dit.dtype).itemsize / 4  # of a cast kernel, in sizes of a parameter
  cast = CAST_AHEAD * tree_bytes(model, mesh) if size < 1 else 0
  block = tree_bytes(model["blocks"]) / dit.depth / tensor
  gradients = tree_bytes(state.params, mesh) * min(micro_batches, 2)
  # Devices that share a row all have the inputs of its blocks, and a part of what is inside them.
  inside = row.inside + (0 if flash else row.logits)
  return {
    "parameters": tree_bytes(state.params, mesh) + tree_bytes(state.frozen, mesh),
    "average": tree_bytes(state.ema, mesh),
    "optimizer": tree_bytes(state.opt_state, mesh),
    "gradients": gradients + size * (block * min(fsdp, 2) + cast),
    "batch": tree_bytes(inputs(dit, rows, frames, tokens)) / parts,
    "activations": (row.inputs + inside / tensor) * rows / (parts * micro_batches),
  }


def _handed_over(dit: DiT, params: Any, frames: int, tokens: int) -> tuple[float, float]:
  """Bytes that forward hands to backward: for each row, and for each row and block of them."""

  def backward(params: Any, *inputs: Any) -> Any:
    return jax.vjp(lambda p: dit.apply({"params": p}, *inputs), params)[1]

  one, two = (
    jax.tree.leaves(jax.eval_shape(backward, params, *inputs(dit, rows, frames, tokens)))
    for rows in (1, 2)
  )
  # Weights are handed over too, but are there anyway; only what rows bring differs from one to two.
  # Logits are left to `activations`: whether they are here depends on who computes attention.
  length = frames + 1
  logits = [(dit.heads, length, n) for n in (length, _memory_tokens(dit, tokens))]
  pairs = [(a, b) for a, b in zip(one, two, strict=True) if a.shape[-3:] not in logits]
  stacked = [pair for pair in pairs if pair[0].shape[:1] == pair[1].shape[:1] == (dit.depth,)]
  row, blocks = (sum(tree_bytes(b) - tree_bytes(a) for a, b in part) for part in (pairs, stacked))
  return row, blocks / dit.depth


def inputs(dit: DiT, rows: int, frames: int, tokens: int) -> tuple[Any, Any, Conditions]:
  """Shapes of x(t), t and the conditions; stored embeddings are of 16 bits."""
  array, learned = jax.ShapeDtypeStruct, dit.text_encoder is not None
  text = (rows, tokens) if learned else (rows, tokens, dit.text_width)
  latents = array((rows, frames, dit.channels), jnp.float32)
  row = array((rows,), jnp.float32)
  conditions = Conditions(
    text=array(text, jnp.int32 if learned else jnp.float16),
    text_mask=array((rows, tokens), bool),
    bpm=row,
    context=latents,
    activity=array((rows, frames), jnp.int8),
    seconds=array((rows, 2), jnp.float32) if dit.timing else None,
    group=array((rows,), jnp.int32) if dit.ensemble else None,
    known=array((rows, frames), bool) if dit.ensemble else None,
    clean=latents if dit.ensemble else None,
  )
  return latents, row, conditions


def tree_bytes(tree: Any, mesh: Mesh | AbstractMesh | None = None) -> float:
  """Bytes of the arrays or shapes of a tree, on one device where there is a mesh."""
  leaves = jax.tree.leaves(tree)
  shapes = [leaf.shape for leaf in leaves]
  if mesh is not None:
    cut = jax.tree.leaves(places.shardings(mesh, tree))
    shapes = [place.shard_shape(shape) for place, shape in zip(cut, shapes, strict=True)]
  return sum(
    math.prod(shape) * leaf.dtype.itemsize for shape, leaf in zip(shapes, leaves, strict=True)
  )


@dataclass(frozen=True)
class Forecast:
  """A step on a number of chips: their mesh, bytes on each device by part, seconds."""

  chip: Chip
  mesh: AbstractMesh
  memory: dict[str, float]
  seconds: float

  @property
  def total(self) -> float:
    """Bytes on each device."""
    return sum(self.memory.values())

  @property
  def fits(self) -> bool:
    """Whether that leaves enough of the chip's memory to the rest."""
    return self.total <= USABLE * self.chip.memory


def forecast(
  dit: DiT,
  state: TrainState,
  row: Activations,
  chip: Chip,
  count: int,
  *,
  rows: int,
  frames: int,
  tokens: int,
  micro_batches: int,
) -> Forecast:
  """A step on `count` chips, parameters cut by fsdp no further than it takes to fit.

  ValueError where the rows do not divide by devices and micro-batches.
  """
  if rows % (count * micro_batches):
    raise ValueError(f"{rows} rows do not divide by {micro_batches} micro-batches x {count} chips")
  size = dict(rows=rows, frames=frames, tokens=tokens)
  seconds = step_flops(dit, state, **size) / (count * chip.flops * ASSUMED_MFU)
  for fsdp in (n for n in range(1, count + 1) if count % n == 0):
    mesh = abstract_mesh(count // fsdp, fsdp)
    needed = memory(
      dit, state, row, mesh, micro_batches=micro_batches, flash=chip.flash(dit.dtype), **size
    )
    found = Forecast(chip, mesh, needed, seconds)
    if found.fits:
      break
  return found

"""What a training step takes on this machine, part by part, beside what its products can reach.

Weights are random and the batch stays in memory, so that no data set is needed. FLOPs are counted
from the model (training/plan/cost.py): a share of the ceiling is that of a large product of the
same type on the same device in the same round, and a share of the data sheet is the MFU.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.bench import ceiling
from stemphonic_jax.bench.generation import FULL
from stemphonic_jax.flow import named_key
from stemphonic_jax.models import layers
from stemphonic_jax.models.conditioning import drop_conditions
from stemphonic_jax.models.dit import DiT, for_this_machine
from stemphonic_jax.training.losses.velocity import conditions_of, velocity_loss
from stemphonic_jax.training.plan import cost
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.optimizer import adamw
from stemphonic_jax.weights.architecture import build_dit, build_vae, init_dit, parameter_count
from stemphonic_jax.weights.hub import DEMO as PACKAGED
from stemphonic_jax.weights.signed import read_config

DROPOUT = dict.fromkeys(("text", "bpm", "context", "activity"), 1 / 3)


@dataclass(frozen=True)
class Size:
  """A model and the batch that one device gets of it."""

  name: str
  dit: DiT
  rows: int
  frames: int
  tokens: int


# Of the packaged model, and of configs/c_ii.py on one of its eight devices, one micro-batch.
CONFIG = read_config(PACKAGED)
VAE = build_vae(CONFIG["vae"])
RATE = CONFIG["sample_rate"] / VAE.hop
DEMO = Size("demo", build_dit(CONFIG["dit"], CONFIG["text"], VAE.latent, RATE), 16, 394, 80)
C_II = Size("c_ii", FULL.clone(dtype=jnp.bfloat16, remat="blocks"), 32, 394, 128)


def run(full: bool = False, repeats: int = 5, size: Size | None = None) -> None:
  """Prints the table of the demo's model, or with `full` of that of configs/c_ii.py.

  The latter needs 30 GB of memory on one device.
  """
  size = size or (C_II if full else DEMO)
  size = replace(size, dit=for_this_machine(size.dit))
  ceiling.report(repeats)
  measure(size, repeats)
  if layers.attention_by(jnp.zeros((1, 1, 1, 64)), size.dit.dtype, None) == "cudnn":
    layers.FLASH = False
    try:
      print("the same without cuDNN's attention:")
      measure(size, repeats)
    finally:
      layers.FLASH = True


def measure(size: Size, repeats: int) -> None:
  """Prints a row for each part of a step."""
  dit = size.dit
  optimizer = adamw(1e-4, clip=1.0)
  loss = velocity_loss(dit, dropout=DROPOUT, time_mean=0.0, time_std=1.0)
  key = jax.random.key(1)
  host = host_batch(size)
  batch = jax.device_put(host)

  @jax.jit
  def create(key: jax.Array) -> state.TrainState:
    return state.create(init_dit(dit, key), {}, optimizer)

  current = create(jax.random.key(0))
  shapes = jax.eval_shape(create, key)

  @jax.jit
  def conditions(params: Any, batch: Any) -> Any:
    rows = drop_conditions(named_key(key, "dropout"), batch["row"], conditions_of(batch), DROPOUT)
    return dit.apply({"params": params}, rows, method="prepare")

  forward = jax.jit(lambda params, batch: loss(params, batch, key)[0])
  gradient = jax.jit(jax.grad(lambda params, batch: loss(params, batch, key)[0]))
  whole = state.train_step(loss, optimizer, ema_decay=0.999)
  # The step of a loss whose gradient is nothing to compute: what is left is the update.
  update = state.train_step(_nothing, optimizer, ema_decay=0.999)

  work = dict(frames=size.frames, tokens=size.tokens)
  one = cost.forward_flops(dit, shapes.params, **work)
  network = cost.forward_flops(dit, shapes.params, **work, prepared=True)
  step = cost.step_flops(dit, shapes, rows=size.rows, **work)
  print(
    f"{size.name}: {parameter_count(shapes.params) / 1e6:.1f} M parameters,"
    f" {size.rows} rows of {size.frames} frames, {np.dtype(dit.dtype).name},"
    f" rematerialisation {dit.remat}; {step / 1e12:.4g} TFLOP a step"
  )
  compiled = whole.lower(current, batch, key).compile()
  donated = _Donated(current)
  flops = {
    "conditions": size.rows * (one - network),
    "forward": size.rows * one,
    "forward, backward": step,
    "whole step": step,
  }
  product, products = ceiling.product(dit.dtype)
  seconds = ceiling.in_turns(
    {
      "ceiling": product,
      "batch to device": lambda: jax.device_put(host),
      "conditions": lambda: conditions(donated.state.params, batch),
      "forward": lambda: forward(donated.state.params, batch),
      "forward, backward": lambda: gradient(donated.state.params, batch),
      "optimiser, average": lambda: donated.step(update, batch, key),
      "whole step": lambda: donated.step(compiled, batch, key),
    },
    repeats,
  )
  largest, whole_seconds = seconds.pop("ceiling"), np.median(seconds["whole step"])
  print(f"{'':22}{'s':>10}{'of step':>9}{ceiling.HEAD}")
  for name, spent in seconds.items():
    share = float(np.median(spent / seconds["whole step"]))
    row = f"  {name:20}{np.median(spent):10.4f}{share:9.0%}"
    if name in flops:
      row += ceiling.columns(flops[name], spent, products, largest)
    print(row)
  print(f"  {size.rows / whole_seconds:.1f} stems/s")
  _print_memory(size, shapes, compiled)


class _Donated:
  """A state that every step takes away and gives back."""

  def __init__(self, current: state.TrainState):
    self.state = current

  def step(self, step: Callable, batch: Any, key: jax.Array) -> state.TrainState:
    self.state, _ = step(self.state, batch, key)
    return self.state


def _nothing(params: Any, batch: Any, key: jax.Array) -> tuple[jax.Array, dict]:
  return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)) * 1e-6, {}


def host_batch(size: Size) -> dict[str, np.ndarray]:
  """Random rows of a size, on the host."""
  rng, dit, rows = np.random.default_rng(0), size.dit, size.rows
  shape, words = (rows, size.frames, dit.channels), (rows, size.tokens)
  learned = dit.text_encoder is not None
  embeddings = functools.partial(rng.standard_normal, (*words, dit.text_width), np.float32)
  return {
    "latents": rng.standard_normal(shape, np.float32),
    "context": rng.standard_normal(shape, np.float32),
    "activity": np.ones(shape[:2], np.int8),
    "text": np.ones(words, np.int32) if learned else embeddings().astype(np.float16),
    "mask": np.ones(words, bool),
    "bpm": np.full(rows, 96, np.float32),
    "group": np.arange(rows, dtype=np.int32) // 4,
    "row": np.arange(rows, dtype=np.int32),
  }


def _print_memory(size: Size, shapes: state.TrainState, compiled: jax.stages.Compiled) -> None:
  """Memory of the step as the compiler laid it out, and as training/plan/cost.py predicts it."""
  laid = compiled.memory_analysis()
  if laid is None:
    return
  bytes_laid = laid.argument_size_in_bytes + laid.output_size_in_bytes + laid.temp_size_in_bytes
  bytes_laid -= laid.alias_size_in_bytes
  query = jnp.zeros((1, 1, size.dit.heads, size.dit.width // size.dit.heads))
  predicted = cost.memory(
    size.dit,
    shapes,
    cost.activations(size.dit, shapes.params, size.frames, size.tokens),
    cost.abstract_mesh(1),
    rows=size.rows,
    frames=size.frames,
    tokens=size.tokens,
    flash=layers.attention_by(query, size.dit.dtype, None) != "xla",
  )
  total = sum(predicted.values())
  print(
    f"  memory {bytes_laid / cost.GB:.3f} GB, predicted {total / cost.GB:.3f} GB"
    f" ({total / bytes_laid:.2f} of it)"
  )

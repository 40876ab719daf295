"""What a config makes, before anything is made: parameters, and what a step of the DiT will take.

All of it follows from shapes, so a billion parameters fit on a laptop.
"""

from typing import Any

import jax
from ml_collections import ConfigDict

from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.models.lora import add_lora
from stemphonic_jax.training.plan import cost
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.optimizer import build_optimizer
from stemphonic_jax.weights import architecture

CHIPS = {chip.name: chip for chip in cost.CHIPS}
# Slices as they are rented. The number in the name of a v5p slice is of cores, two to a chip.
SLICES = (
  ("8 x A100-80G", CHIPS["A100-80G"], 8),
  ("v5e-64", CHIPS["v5e"], 64),
  ("v5e-256", CHIPS["v5e"], 256),
  ("v5p-16", CHIPS["v5p"], 8),
  ("v5p-64", CHIPS["v5p"], 32),
)


def describe(config: ConfigDict) -> str:
  """The table of parameters, then FLOPs, memory and time of a training step on some machines."""
  vae, dit, size = architecture.build_vae(config.vae), network(config), step_size(config)
  frames = size["frames"]
  head = (
    f"{config.seconds:g} s of {config.sample_rate} Hz: {frames} frames of {vae.hop} samples,"
    f" {vae.latent} channels"
  )
  models = {"vae": architecture.vae_shapes(vae), "dit": architecture.dit_shapes(dit)}
  return "\n".join([head, *parameters(models), "", *_step(config, dit, size)])


def network(config: ConfigDict) -> DiT:
  """The diffusion transformer of a config."""
  vae = architecture.build_vae(config.vae)
  dit = architecture.build_dit(config.dit, config.text, vae.latent, config.sample_rate / vae.hop)
  return dit.clone(rows=config.data.block) if dit.ensemble else dit


def step_size(config: ConfigDict) -> dict[str, int]:
  """What a training step takes in: its rows, the latent frames of each, the tokens of its text."""
  hop = architecture.build_vae(config.vae).hop
  return {
    "rows": config.train.batch_size,
    "frames": frames_of(config.seconds, config.sample_rate, hop),
    "tokens": config.text.length,
  }


def parameters(models: dict[str, Any]) -> list[str]:
  """The number of parameters of each model, and of its parts."""
  lines = []
  for name, shapes in models.items():
    lines.append(f"{name:<32}{architecture.parameter_count(shapes):>16,}")
    for part, tree in shapes.items():
      lines.append(f"  {part:<30}{architecture.parameter_count(tree):>16,}")
  return lines


def abstract_state(config: ConfigDict, dit: DiT) -> state.TrainState:
  """Shapes of the state that a training from scratch begins with, adapters and frozen parts too.

  UsageError where a pattern of the config fits no parameter.
  """
  c = config.train
  optimizer = build_optimizer(c)

  def create(key: jax.Array) -> state.TrainState:
    params = architecture.init_dit(dit, key)
    if c.lora.rank:
      params = add_lora(params, key, c.lora.rank, c.lora.kernels)
    return state.create(*state.split(params, c.trainable), optimizer)

  try:
    return jax.eval_shape(create, jax.random.key(0))
  except ValueError as error:
    raise UsageError(f"train: {error}") from None


def _step(config: ConfigDict, dit: DiT, size: dict[str, int]) -> list[str]:
  """FLOPs of a step, and a row for each of SLICES."""
  current = abstract_state(config, dit)
  c, rows, frames, tokens = config.train, size["rows"], size["frames"], size["tokens"]
  flops = cost.step_flops(dit, current, **size)
  row = cost.activations(dit, state.join(current.params, current.frozen), frames, tokens)
  lines = [
    f"a training step: {rows} rows of {frames} frames and {tokens} text tokens,"
    f" in micro-batches {c.micro_batches}, rematerialisation {dit.remat}",
    f"{flops / rows / 1e12:.3g} TFLOP a row, {flops / 1e12:.4g} TFLOP a step;"
    " what is computed twice is not counted",
    "",
    f"predicted at an assumed {cost.ASSUMED_MFU:.0%} of the bf16 peak, without what moves between"
    " devices; mesh is data x fsdp x",
    f"tensor, parameters cut no further than it takes to fit; GB on each device, of which"
    f" {cost.USABLE:.0%} can be filled",
    f"{'':14}{'chips':>6}{'mesh':>12}{'params':>8}{'average':>8}{'optim.':>8}{'grads':>8}"
    f"{'batch':>8}{'activ.':>8}{'total':>8}{'of':>5}{'':15}{'s/step':>8}{'audio-s/s':>11}",
  ]
  for name, chip, count in SLICES:
    line = f"{name:14}{count:6}"
    try:
      found = cost.forecast(dit, current, row, chip, count, micro_batches=c.micro_batches, **size)
    except ValueError as error:
      lines.append(f"{line}  {error}")
      continue
    mesh = " x ".join(str(found.mesh.shape[axis]) for axis in found.mesh.axis_names)
    parts = "".join(f"{part / cost.GB:8.2f}" for part in (*found.memory.values(), found.total))
    fits = "fits" if found.fits else "does not fit"
    lines.append(
      f"{line}{mesh:>12}{parts}{chip.memory / cost.GB:5.0f} {fits:14}{found.seconds:8.2f}"
      f"{rows * config.seconds / found.seconds:11,.0f}"
    )
  return lines

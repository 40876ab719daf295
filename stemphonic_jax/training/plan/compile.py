"""What XLA says a step takes, on TPUs that are not here.

XLA's compiler for TPUs is in the package libtpu (extra `tpu`) and works without a TPU: it is told
the slice, such as v5e:8x8, and compiles for it on a CPU what a run would compile there. It knows
the memory that every device needs, what is sent between them, and whether it fits. Nothing is
computed, so shapes are all there is.
"""

import functools
import importlib.util
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from ml_collections import ConfigDict

from stemphonic_jax.errors import MissingError, UsageError
from stemphonic_jax.models.conditioning import Conditions
from stemphonic_jax.models.dit import DiT, for_machine
from stemphonic_jax.models.machine import Machine
from stemphonic_jax.sampler import one_pass
from stemphonic_jax.training.distributed import mesh as places
from stemphonic_jax.training.losses.setting import loss_of
from stemphonic_jax.training.plan import cost, describe, hlo
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.optimizer import build_optimizer
from stemphonic_jax.weights import architecture

STEMS = 6  # of the pass that the sampler is compiled for
TPU = Machine("tpu")
# libtpu looks for the machine it is on, tells what it misses, keeps logs and a lock in the folder
# for temporary files, and works for one process at a time. For compiling none of this is needed.
ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-8",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_LOG_DIR": "disabled",
  "TPU_MIN_LOG_LEVEL": "4",  # else there are files of log among the temporary ones all the same
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@dataclass(frozen=True)
class Compiled:
  """What XLA found: seconds to compile, bytes on each device, and what devices send one another.

  `peak` is the most that is alive at once, arguments included. Of a program that does not fit XLA
  tells `needed` alone, and the other sizes are None. `flops` are those of the products of one
  device, with what is computed twice.
  """

  seconds: float
  flops: float
  arguments: int | None = None
  temporaries: int | None = None
  peak: int | None = None
  needed: float | None = None
  collectives: Mapping[str, tuple[int, float]] | None = None


def report(config: ConfigDict, topology: str) -> str:
  """The table of --mode=compile: a training step on the whole slice, the sampler on one chip."""
  devices = slice_of(topology)
  mesh = places.make_mesh(**config.mesh, devices=devices)
  c, dit = config.train, network(config, TPU)
  places.check_rows(mesh, c.batch_size, c.micro_batches)
  chip = cost.chip_of(devices[0].device_kind)
  current = describe.abstract_state(config, dit)
  size = describe.step_size(config)
  row = cost.activations(
    dit, state.join(current.params, current.frozen), size["frames"], size["tokens"]
  )
  predicted = cost.memory(dit, current, row, mesh, micro_batches=c.micro_batches, **size)
  step = compiled(*train_step(config, TPU, mesh), mesh.size)
  model = cost.step_flops(dit, current, **size) / mesh.size
  shape = " x ".join(str(mesh.shape[axis]) for axis in mesh.axis_names)
  return "\n".join(
    [
      f"{topology}: {len(devices)} x {chip.name}, {chip.memory / cost.GB:.0f} GB each",
      "",
      f"a training step: mesh {shape} (data x fsdp x tensor), {c.batch_size} rows in micro-batches"
      f" {c.micro_batches}, rematerialisation {dit.remat}",
      *_lines(step, chip, model, sum(predicted.values())),
      *_advice(step, dit, current, row, chip, mesh, c.micro_batches, size),
      "",
      f"a generation of {STEMS} stems of {config.seconds:g} s in one pass, on one chip",
      *_lines(compiled(*sampler(config, TPU, STEMS, devices[0])), chip),
    ]
  )


def _lines(
  found: Compiled, chip: cost.Chip, model: float | None = None, predicted: float | None = None
) -> list[str]:
  """What was found, a line for each kind of thing."""
  share = f", of which the model's {model / 1e12:.4g}" if model else ""
  lines = [
    f"  compiled in {found.seconds:.0f} s",
    f"  products   {found.flops / 1e12:.4g} TFLOP on each device{share}",
  ]
  if found.needed is not None:
    return [*lines, f"  memory     does not fit: {found.needed / cost.GB:.2f} GB are needed"]
  more = f"; predicted {predicted / cost.GB:.2f}" if predicted else ""
  room = "fits" if found.peak <= cost.USABLE * chip.memory else "hardly fits"
  lines.append(
    f"  memory     {room}: {found.peak / cost.GB:.2f} GB on each device at its height{more};"
    f" arguments {found.arguments / cost.GB:.2f}, temporaries {found.temporaries / cost.GB:.2f}"
  )
  for kind, (count, size) in sorted(found.collectives.items()):
    lines.append(f"  {kind:<19}{count:>6} a step, {size / cost.GB:.3f} GB to each device")
  return lines


def _advice(
  step: Compiled,
  dit: DiT,
  current: state.TrainState,
  row: cost.Activations,
  chip: cost.Chip,
  mesh: Mesh,
  micro_batches: int,
  size: Mapping[str, int],
) -> list[str]:
  """What to try where a step does not fit."""
  if step.needed is None:
    return []
  found = cost.forecast(dit, current, row, chip, mesh.size, micro_batches=micro_batches, **size)
  if found.fits:
    return [f"  try        --config.mesh.fsdp={found.mesh.shape['fsdp']}, predicted to fit"]
  return ["  try        more chips, or smaller micro-batches: --config.train.micro_batches"]


def set_up() -> None:
  """Keeps libtpu to compiling; to be called before anything uses jax. MissingError without it."""
  if importlib.util.find_spec("libtpu") is None:
    raise MissingError(
      "the compiler for TPUs is not installed; install it with: pip install 'stemphonic-jax[tpu]'"
    )
  for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_enable_compilation_cache", False)  # what it kept, only a TPU could read


def slice_of(topology: str) -> Sequence[jax.Device]:
  """The devices of a slice such as v5e:8x8; UsageError where there is none of that name."""
  try:
    devices = topologies.get_topology_desc(topology, "tpu").devices
    if any(device.core_on_chip for device in devices):  # two cores of a v4 are used as one device
      devices = topologies.get_topology_desc(topology, "tpu", chip_config_name="megacore").devices
    fault = "" if cost.chip_of(devices[0].device_kind) else f"{devices[0].device_kind} is unknown"
  except jax.errors.JaxRuntimeError as error:
    fault = str(error).splitlines()[0]
  if fault:
    raise UsageError(
      f"--topology: got {topology!r}, expected a slice of TPUs such as v5e:8x8, v5p:2x2x2 or"
      f" v6e:8x8 ({fault})"
    )
  return devices


def network(config: ConfigDict, machine: Machine) -> DiT:
  """The diffusion transformer of a config, made for a machine."""
  return for_machine(describe.network(config), machine)


def train_step(
  config: ConfigDict, machine: Machine, mesh: Mesh | None = None
) -> tuple[Callable, tuple[Any, ...]]:
  """The jitted step of trainers/dit.py, and its arguments' shapes, placed where there is a mesh."""
  dit, c = network(config, machine), config.train
  step = state.train_step(
    loss_of(config, dit),
    build_optimizer(c),
    ema_decay=c.ema_decay,
    micro_batches=c.micro_batches,
    block=max(dit.rows, 1),
  )
  current = describe.abstract_state(config, dit)
  batch = batch_shapes(dit, **describe.step_size(config))
  key = jax.eval_shape(lambda: jax.random.key(0))
  if mesh is None:
    return step, (current, batch, key)
  whole = NamedSharding(mesh, PartitionSpec())
  return step, (
    jax.tree.map(_placed, current, places.shardings(mesh, current)),
    jax.tree.map(lambda leaf: _placed(leaf, places.row_sharding(mesh)), batch),
    _placed(key, whole),
  )


def sampler(
  config: ConfigDict, machine: Machine, stems: int, device: jax.Device | None = None
) -> tuple[Callable, tuple[Any, ...]]:
  """The jitted pass of a generation (sampler.py) as a config has it, and its arguments' shapes."""
  dit, c = network(config, machine).clone(rows=0), config.sample
  batch = batch_shapes(dit, **describe.step_size(config) | {"rows": stems})
  learned = dit.text_encoder is not None
  text = jax.ShapeDtypeStruct(batch["text"].shape, jnp.int32 if learned else jnp.float32)
  conditions = Conditions(
    text=text,
    text_mask=batch["mask"],
    bpm=batch["bpm"],
    context=batch["context"],
    activity=batch["activity"],
    seconds=jax.ShapeDtypeStruct((stems, 2), jnp.float32) if dit.timing else None,
    group=batch["group"] if dit.ensemble else None,
    known=batch.get("known"),
    clean=batch["latents"] if dit.ensemble else None,
  )
  turns = jax.ShapeDtypeStruct((stems, dit.channels, dit.channels), jnp.float32)
  arguments = (
    architecture.dit_shapes(dit),
    jax.eval_shape(lambda: jax.random.key(0)),
    jax.ShapeDtypeStruct((), jnp.float32),
    batch["group"],
    turns if c.align_noise else None,
    conditions,
  )
  if device is not None:
    there = SingleDeviceSharding(device)
    arguments = jax.tree.map(lambda leaf: _placed(leaf, there), arguments)
  return jax.jit(
    functools.partial(one_pass, dit, steps=c.steps, interval=tuple(c.interval), order=c.order)
  ), arguments


def batch_shapes(dit: DiT, rows: int, frames: int, tokens: int) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a batch of records, as data/batching/pipeline.py makes it."""
  latents, t, conditions = cost.inputs(dit, rows, frames, tokens)
  number = jax.ShapeDtypeStruct((rows,), jnp.int32)
  batch = {
    "latents": latents,
    "context": conditions.context,
    "activity": conditions.activity,
    "text": conditions.text,
    "mask": conditions.text_mask,
    "bpm": conditions.bpm,
    "group": number,
    "row": number,
  }
  if dit.ensemble:
    batch |= {"known": conditions.known, "weight": t}
  return batch | ({"seconds": t} if dit.timing else {})


def compiled(function: Callable, arguments: Sequence[Any], devices: int = 1) -> Compiled:
  """Compiles a jitted function, whose work `devices` share, for where its arguments are."""
  traced = function.trace(*arguments)
  flops = hlo.product_flops(traced.jaxpr.jaxpr) / devices
  begun = time.perf_counter()
  try:
    program = traced.lower().compile()
  except jax.errors.JaxRuntimeError as error:
    needed = _needed(str(error))
    if needed is None:
      raise
    return Compiled(time.perf_counter() - begun, flops, needed=needed)
  seconds, sizes = time.perf_counter() - begun, program.memory_analysis()
  return Compiled(
    seconds,
    flops,
    sizes.argument_size_in_bytes,
    sizes.temp_size_in_bytes,
    sizes.peak_memory_in_bytes,
    collectives=hlo.collectives(program.as_text()),
  )


def _needed(message: str) -> float | None:
  """Bytes that XLA says a program needs in vain; None where the message is about something else."""
  found = re.search(r"(?:Used |temporaries \()([\d.]+)([KMG])\)? (?:of|exceeds)", message)
  return float(found[1]) * 2 ** {"K": 10, "M": 20, "G": 30}[found[2]] if found else None


def _placed(leaf: Any, sharding: Sharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

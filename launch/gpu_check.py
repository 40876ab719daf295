"""What a GPU does with the model of configs/c_ii.py: a training step, and passes of 1 to 6 stems.

Started by gpu_check.sh beside it; needs jax and flax alone. Weights are random. FLOPs are those of
the model, what is computed twice not counted; the ceiling is a large product of the same type on
the same device.
"""

import argparse
import functools
import gc
import importlib.util
import math
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if importlib.util.find_spec("jaxtyping") is None:  # which is for people and tests
  stand_in = types.ModuleType("jaxtyping")
  shaped = {"__class_getitem__": classmethod(lambda cls, item: Any)}
  stand_in.__getattr__ = lambda name: type(name, (), shaped)
  sys.modules["jaxtyping"] = stand_in

import jax
import jax.numpy as jnp

from stemphonic_jax.models import layers
from stemphonic_jax.models.conditioning import NOT_GIVEN, Conditions
from stemphonic_jax.models.dit import DiT, for_this_machine
from stemphonic_jax.sampler import network_rows, one_pass
from stemphonic_jax.training.losses.velocity import velocity_loss
from stemphonic_jax.training.plan import cost
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.optimizer import adamw
from stemphonic_jax.weights.architecture import init_dit, parameter_count

# Of configs/c_ii.py: 32 s of latents at 12.3 Hz, T5-XXL's text.
FULL = DiT(
  channels=64,
  width=1536,
  depth=24,
  heads=24,
  text_width=4096,
  dtype=jnp.bfloat16,
  remat="blocks",
)
TINY = FULL.clone(channels=8, width=64, depth=2, heads=2, text_width=32)
FRAMES, TOKENS, SECONDS, STEPS, INTERVAL = 394, 128, 32.0, 32, (3, 28)
REPEATS = 5
DROPOUT = dict.fromkeys(("text", "bpm", "context"), 1 / 3) | {"activity": 1.0}
HEAD = ("GB", "compiled in s", "s", "TFLOP/s", "of ceiling", "of data sheet")


class Check:
  """Sizes of a check, what the device reaches at most, and when to stop."""

  def __init__(self, tiny: bool, rows: int, minutes: float):
    self.dit = for_this_machine(TINY if tiny else FULL)
    self.frames, self.tokens = (20, 6) if tiny else (FRAMES, TOKENS)
    self.steps, self.interval = (2, (1, 2)) if tiny else (STEPS, INTERVAL)
    self.counts = (1, 2) if tiny else (1, 2, 3, 4, 5, 6)
    self.rows = 2 if tiny else rows
    self.device = jax.devices()[0]
    self.sheet = cost.peak([self.device])
    self.end = time.monotonic() + 60 * minutes
    self.ceilings = {
      dtype: ceiling(dtype, 256 if tiny else 8192) for dtype in ("bfloat16", "float32")
    }

  def row(self, flops: float, run: Callable[[], Any], program: Any, seconds: float) -> list[str]:
    """A line under HEAD for a program that `run` calls."""
    spent = median(run)
    rate = flops / spent
    sizes = program.memory_analysis()
    held = sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + sizes.output_size_in_bytes
    sheet = f"{rate / self.sheet:.0%}" if self.sheet else "-"
    return [
      f"{(held - sizes.alias_size_in_bytes) / 1e9:.1f}",
      f"{seconds:.0f}",
      f"{spent:.4g}",
      f"{rate / 1e12:.4g}",
      f"{rate / self.ceilings[jnp.dtype(self.dit.dtype).name]:.0%}",
      sheet,
    ]


def main() -> None:
  """Writes the page, which grows while the check runs."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--out", type=Path, required=True)
  parser.add_argument("--rows", type=int, default=32)
  parser.add_argument("--minutes", type=float, default=8)
  parser.add_argument("--tiny", action="store_true")
  options = parser.parse_args()
  check = Check(options.tiny, options.rows, options.minutes)
  lines = heading(check)
  for part in (training(check), sampling(check)):
    for line in part:
      lines.append(line)
      options.out.write_text("\n".join(lines) + "\n")
      sys.stderr.write(line + "\n")


def heading(check: Check) -> list[str]:
  """The device, the model, and the ceiling."""
  count = parameter_count(jax.eval_shape(functools.partial(init_dit, check.dit), jax.random.key(0)))
  limit = (check.device.memory_stats() or {}).get("bytes_limit")
  return [
    f"# {check.device.device_kind}, one of {jax.device_count()}",
    "",
    f"jax {jax.__version__}, {time.strftime('%Y-%m-%d')}"
    + (f"; {limit / 1e9:.1f} GB for jax" if limit else ""),
    "",
    *table(
      ["square product", "TFLOP/s", "of data sheet"],
      [
        [name, f"{rate / 1e12:.4g}", f"{rate / check.sheet:.0%}" if check.sheet else "-"]
        for name, rate in check.ceilings.items()
      ],
    ),
    "",
    f"Model: {count / 1e6:.1f} M parameters, {check.frames} frames, {check.tokens} text tokens,"
    f" products in {jnp.dtype(check.dit.dtype).name}. FLOPs are the model's, without what is"
    " computed twice.",
  ]


def attentions(check: Check) -> list[tuple[str, bool]]:
  """By whom attention can be computed here, and the setting of `layers.FLASH` that has it so."""
  query = jnp.zeros((1, 1, check.dit.heads, check.dit.width // check.dit.heads))
  found: dict[str, bool] = {}
  for flash in (True, False):
    layers.FLASH = flash
    found.setdefault(layers.attention_by(query, check.dit.dtype, None), flash)
  return list(found.items())


def training(check: Check) -> Iterator[str]:
  """A step of AdamW with each attention."""
  dit, size = check.dit, dict(rows=check.rows, frames=check.frames, tokens=check.tokens)
  loss = velocity_loss(dit, dropout=DROPOUT, time_mean=0.0, time_std=1.0)
  optimizer, key = adamw(1e-4, clip=1.0), jax.random.key(0)

  @jax.jit
  def create() -> state.TrainState:
    return state.create(init_dit(dit, key), {}, optimizer)

  flops = cost.step_flops(dit, jax.eval_shape(create), **size)
  yield ""
  yield f"## A training step of {check.rows} stems, rematerialisation {dit.remat}"
  yield ""
  yield from table(["attention", "stems/s", "loss", *HEAD], [])
  for name, flash in attentions(check):
    layers.FLASH = flash

    def line(name: str = name) -> list[str]:
      current, batch = create(), batch_of(dit, **size)
      begun = time.perf_counter()
      step = state.train_step(loss, optimizer, ema_decay=0.999).lower(current, batch, key).compile()
      seconds = time.perf_counter() - begun
      holder = [current, None]

      def run() -> Any:
        holder[:] = step(holder[0], batch, key)
        return holder[1]

      first = float(run()["loss"])
      cells = check.row(flops, run, step, seconds)
      return [name, f"{check.rows / float(cells[2]):.3g}", f"{first:.4f}", *cells]

    yield attempt(check, name, line)


def sampling(check: Check) -> Iterator[str]:
  """One pass of K stems with each attention, from embedded text to latents."""
  dit, size = check.dit, dict(frames=check.frames, tokens=check.tokens)
  params = jax.jit(functools.partial(init_dit, dit))(jax.random.key(0))
  flops = network_rows(check.steps, check.interval) * cost.forward_flops(
    dit, params, **size, prepared=True
  )
  yield ""
  yield f"## Passes of {check.steps} steps, guided in {check.interval[0]} to {check.interval[1]}"
  yield ""
  yield from table(["stems", "attention", "x real time", *HEAD], [])
  for name, flash in attentions(check):
    for count in check.counts:
      layers.FLASH = flash

      def line(name: str = name, count: int = count) -> list[str]:
        batch = batch_of(dit, count, **size)
        conditions = Conditions(
          text=batch["text"].astype(jnp.float32),
          text_mask=batch["mask"],
          bpm=batch["bpm"],
          context=batch["context"],
          activity=jnp.full_like(batch["activity"], NOT_GIVEN),
        )
        arguments = params, jax.random.key(1), jnp.float32(3), batch["group"], None, conditions
        run = functools.partial(one_pass, dit, steps=check.steps, interval=check.interval)
        begun = time.perf_counter()
        program = jax.jit(run).lower(*arguments).compile()
        seconds = time.perf_counter() - begun
        cells = check.row(count * flops, lambda: program(*arguments), program, seconds)
        return [str(count), name, f"{count * SECONDS / float(cells[2]):.3g}", *cells]

      yield attempt(check, f"{count} | {name}", line)


def attempt(check: Check, name: str, line: Callable[[], list[str]]) -> str:
  """A row of a table, or what became of it: no time left, or an error of jax, as no memory."""
  if time.monotonic() > check.end:
    return f"| {name} | left out: the time is over |"
  try:
    return f"| {' | '.join(line())} |"
  except Exception as error:  # whatever it is belongs on the page, and the next rows may do
    return f"| {name} | {type(error).__name__}: {' '.join(str(error).split())[:200]} |"
  finally:
    gc.collect()


def batch_of(dit: DiT, rows: int, frames: int, tokens: int) -> dict[str, jax.Array]:
  """Random rows, four to a group."""
  latents, context = jax.random.normal(jax.random.key(2), (2, rows, frames, dit.channels))
  text = jax.random.normal(jax.random.key(3), (rows, tokens, dit.text_width))
  number = jnp.arange(rows, dtype=jnp.int32)
  return {
    "latents": latents,
    "context": context,
    "activity": jnp.ones((rows, frames), jnp.int8),
    "text": text.astype(jnp.float16),
    "mask": jnp.ones((rows, tokens), bool),
    "bpm": jnp.full(rows, 96.0),
    "group": number // 4,
    "row": number,
  }


def ceiling(dtype: str, side: int) -> float:
  """FLOP/s of a square product with operands in `dtype` and a float32 result."""
  a, b = jax.random.normal(jax.random.key(0), (2, side, side)).astype(dtype)
  multiply = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32))
  return 2 * side**3 / median(lambda: multiply(a, b))


def median(run: Callable[[], Any]) -> float:
  """Seconds of a call, after one to warm up; fewer calls where they are long."""
  spent: list[float] = []
  while len(spent) <= REPEATS and math.fsum(spent) < 20:
    begun = time.perf_counter()
    jax.block_until_ready(run())
    spent.append(time.perf_counter() - begun)
  spent = sorted(spent[1:] or spent)
  return spent[len(spent) // 2]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
  """A table of Markdown."""
  return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
  main()

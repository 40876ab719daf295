"""Seconds per second of audio to encode and to decode, and to compile, at two sizes.

Weights are random. "cpu" is processor time of all threads: it tells what a shared machine hides.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from stemphonic_jax.models.oobleck import Oobleck
from stemphonic_jax.models.spectral import Spectral

RATE = 44_100
MODELS = {"Stable Audio Open size, hop 3584": Oobleck(), "demo size, hop 3584": Spectral()}


def measure(function: Callable, argument: jax.Array, repeats: int) -> tuple[float, float, float]:
  """Seconds to compile, and the least wall and processor seconds of a call."""
  begin = time.perf_counter()
  compiled = jax.jit(function).lower(argument).compile()
  compile_time, wall, cpu = time.perf_counter() - begin, [], []
  for _ in range(repeats):
    begin, begin_cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(compiled(argument))
    wall.append(time.perf_counter() - begin)
    cpu.append(time.process_time() - begin_cpu)
  return compile_time, min(wall), min(cpu)


def run(seconds: float = 5.0, repeats: int = 5, models: Mapping[str, Any] = MODELS) -> None:
  """Prints a row for encoding and one for decoding `seconds` of stereo, for each model."""
  print(f"{'':34}{'compile s':>10}{'s per s':>10}{'x real time':>13}{'cpu s per s':>13}")
  for name, model in models.items():
    frames = max(1, round(seconds * RATE / model.hop))
    length = frames * model.hop / RATE
    audio = 0.1 * jax.random.normal(jax.random.key(0), (1, frames * model.hop, 2))
    latents = jax.random.normal(jax.random.key(1), (1, frames, model.latent))
    variables = jax.jit(model.init)(jax.random.key(2), audio[:, : model.hop])
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables))
    print(f"{name}, {parameters / 1e6:.1f} M parameters")
    for method, argument in (("encode", audio), ("decode", latents)):

      def call(x, model=model, variables=variables, method=method):
        y = model.apply(variables, x, method=method)
        return y if method == "decode" else y.mean

      compile_time, wall, cpu = measure(call, argument, repeats)
      print(
        f"  {method:32}{compile_time:10.2f}{wall / length:10.4f}"
        f"{length / wall:13.1f}{cpu / length:13.4f}"
      )

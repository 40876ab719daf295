"""What a generation costs on this machine: the network forward, compilation, and all the rest.

python -m benchmarks.generation --model runs/demo          # K = 1, 2, 4 stems of a trained model
python -m benchmarks.generation --full                     # also one forward at 1.15 billion
"""

import argparse
import functools
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from configs import base
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.models.conditioning import NOT_GIVEN, Conditions
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.weights.architecture import build_dit, init_dit, parameter_count

STEMS = ("drums", "basses", "keys", "guitars")


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--model", type=Path, help="a trained model or workdir")
  parser.add_argument("--full", action="store_true", help="the DiT of configs/c_ii.py, 5 GB")
  parser.add_argument("--repeats", type=int, default=3)
  options = parser.parse_args()
  if options.model:
    pipe = StemPipeline.load(options.model)
    frames = round(pipe.seconds * pipe.rate / pipe.bundle.vae.hop)
    forward("demo", pipe.bundle.dit, pipe.bundle.dit_params, frames, options.repeats)
    generation(pipe, options.repeats)
  if options.full:
    config = base.get_config()
    dit = build_dit(config.dit, config.text, config.vae.latent)
    shapes = jax.eval_shape(functools.partial(init_dit, dit), jax.random.key(0))
    params = jax.tree.map(lambda s: jnp.full(s.shape, 1e-3, s.dtype), shapes)
    for dtype in (jnp.float32, jnp.bfloat16):
      forward(f"c_ii {dtype.__name__}", dit.clone(dtype=dtype), params, 394, options.repeats)


def forward(name: str, dit: DiT, params: dict, frames: int, repeats: int) -> None:
  """Median time of one velocity of one stem, text and tempo already prepared."""
  learned = dit.text_encoder is not None
  conditions = Conditions(
    text=jnp.ones((1, 128), jnp.int32) if learned else jnp.ones((1, 128, dit.text_width)),
    text_mask=jnp.ones((1, 128), bool),
    bpm=jnp.full((1,), 120.0),
    context=jnp.zeros((1, frames, dit.channels)),
    activity=jnp.full((1, frames), NOT_GIVEN, jnp.int8),
  )
  variables = {"params": params}
  prepared = jax.jit(functools.partial(dit.apply, method="prepare"))(variables, conditions)
  velocity = jax.jit(functools.partial(dit.apply, method="velocity"))
  arguments = variables, jnp.zeros((1, frames, dit.channels)), jnp.full((1,), 0.5), prepared
  begun = time.perf_counter()
  compiled = velocity.lower(*arguments).compile()
  compilation = time.perf_counter() - begun
  compiled(*arguments)
  seconds = [timed(lambda: jax.block_until_ready(compiled(*arguments))) for _ in range(repeats)]
  print(
    f"forward {name}: {parameter_count(params) / 1e6:.1f} M parameters, {frames} frames:"
    f" {np.median(seconds):.4f} s, compiled in {compilation:.1f} s"
  )


def generation(pipe: StemPipeline, repeats: int) -> None:
  """Whole requests, first (with compilation) and again; and where the time goes."""
  for count in (1, 2, 4):
    request = functools.partial(pipe.generate, "Relaxing country rock", STEMS[:count], bpm=100)
    first = timed(request)
    songs = [request(seed=seed) for seed in range(repeats)]
    timings = {
      k: np.median([s.info["timings"][k] for s in songs]) for k in songs[0].info["timings"]
    }
    with tempfile.TemporaryDirectory() as folder:
      saving = timed(lambda folder=folder, song=songs[0]: song.save(Path(folder, "song")))
    total = sum(timings.values())
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in timings.items())
    print(
      f"{count} stems of {pipe.seconds:g} s: first {first:.1f} s, then {total:.2f} s ({parts});"
      f" outside the network {1 - timings['sample'] / total:.0%}; saving {saving:.2f} s"
    )


def timed(work) -> float:
  begun = time.perf_counter()
  work()
  return time.perf_counter() - begun


if __name__ == "__main__":
  main()

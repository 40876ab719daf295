"""What a generation costs on this machine: the network forward, compilation, and all the rest."""

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.models.conditioning import NOT_GIVEN, Conditions
from stemphonic_jax.models.dit import DiT, for_this_machine
from stemphonic_jax.weights.architecture import dit_shapes, parameter_count
from stemphonic_jax.weights.hub import find_model
from stemphonic_jax.weights.signed import check_stemphonic, find_bundle, read_config
from stemphonic_jax.weights.tensors import materialize

# The transformer of configs/base.py, which is not installed: a billion parameters, T5-XXL as text.
FULL = DiT(channels=64, width=1536, depth=24, heads=24, text_width=4096)
STEMS = ("drums", "basses", "keys", "guitars")


def run(model: str | Path = "demo", full: bool = False, repeats: int = 3) -> None:
  """Prints what `model` takes for 1, 2 and 4 stems.

  With `full` also one forward of the transformer of configs/c_ii.py, which takes 5 GB.
  """
  folder = find_model(model)
  config = read_config(find_bundle(folder))
  check_stemphonic(folder, config, "this benchmark", "of others see --peer torch")
  pipe = StemPipeline.load(folder)
  frames = frames_of(pipe.seconds, pipe.rate, pipe.hop)
  params = materialize(pipe.bundle.dit_params, jnp.asarray)
  forward("of the model", for_this_machine(pipe.bundle.dit), params, frames, repeats)
  generation(pipe, repeats)
  if full:
    params = jax.tree.map(lambda s: jnp.full(s.shape, 1e-3, s.dtype), dit_shapes(FULL))
    for dtype in (jnp.float32, jnp.bfloat16):
      forward(f"c_ii {dtype.__name__}", FULL.clone(dtype=dtype), params, 394, repeats)


def forward(name: str, dit: DiT, params: dict, frames: int, repeats: int) -> None:
  """Median time of one velocity of one stem, text and tempo already prepared."""
  learned = dit.text_encoder is not None
  conditions = Conditions(
    text=jnp.ones((1, 128), jnp.int32) if learned else jnp.ones((1, 128, dit.text_width)),
    text_mask=jnp.ones((1, 128), bool),
    bpm=jnp.full((1,), 120.0),
    context=jnp.zeros((1, frames, dit.channels)),
    activity=jnp.full((1, frames), NOT_GIVEN, jnp.int8),
    seconds=jnp.zeros((1, 2)) if dit.timing else None,
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


def timed(work: Callable[[], Any]) -> float:
  """Seconds that a call takes."""
  begun = time.perf_counter()
  work()
  return time.perf_counter() - begun

"""How generations grow with the number of stems in their one pass, and what decoding adds.

Weights are random, sizes those of the packaged model and of the configs. A guided step takes two
rows of the network. TFLOP/s are of the network alone. On a CPU, where nothing is gained by a larger
batch, stems gain on each other only what cores were idle.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.bench import ceiling, train
from stemphonic_jax.bench.generation import FULL
from stemphonic_jax.data.batching.records import Statistics
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.models.dit import DiT, for_this_machine
from stemphonic_jax.models.oobleck import Oobleck
from stemphonic_jax.sampler import network_rows
from stemphonic_jax.training.plan import cost
from stemphonic_jax.weights.architecture import VAE, dit_shapes, vae_shapes
from stemphonic_jax.weights.bundle import Bundle

RATE = 44_100
COUNTS = (1, 2, 3, 4, 5, 6)
SAMPLE = {"steps": 32, "guidance": 3.0, "interval": (3, 28), "share_noise": True}


@dataclass(frozen=True)
class Size:
  """A model, and the seconds and text tokens that it is made for."""

  name: str
  dit: DiT
  vae: VAE
  seconds: float
  tokens: int
  sample: dict[str, Any]


DEMO = Size("demo", train.DEMO.dit, train.VAE, 32.0, 80, train.CONFIG["sample"])
C_II = Size("c_ii", FULL.clone(dtype=jnp.bfloat16), Oobleck(), 32.0, 128, SAMPLE)


def run(
  full: bool = False,
  repeats: int = 3,
  size: Size | None = None,
  counts: Sequence[int] = COUNTS,
) -> None:
  """Prints the table of the demo's model, or with `full` of that of configs/c_ii.py."""
  size = size or (C_II if full else DEMO)
  size = replace(size, dit=for_this_machine(size.dit))
  ceiling.report(repeats)
  pipe = pipeline(size)
  frames = frames_of(size.seconds, RATE, size.vae.hop)
  rows = network_rows(size.sample["steps"], tuple(size.sample["interval"]))
  flops = rows * cost.forward_flops(
    size.dit, pipe.bundle.dit_params, frames, size.tokens, prepared=True
  )
  print(
    f"{size.name}: {size.seconds:g} s a stem, {rows} network rows, {flops / 1e12:.3g} TFLOP;"
    " gain is the time of as many passes of one stem over that of the pass"
  )
  print(
    f"{'stems':>6}{'s':>9}{'stems/s':>9}{'x real time':>13}{'gain':>7}{'decoding':>10}"
    f"{ceiling.HEAD}"
  )
  requests = {
    n: functools.partial(pipe.generate, "Relaxing country rock", STEM_TYPES[:n], bpm=100)
    for n in counts
  }
  timings: dict[int, list[dict[str, float]]] = {n: [] for n in counts}

  def take(n: int) -> None:
    timings[n].append(requests[n](seed=len(timings[n])).info["timings"])

  product, products = ceiling.product(size.dit.dtype)
  work = {"": product} | {str(n): functools.partial(take, n) for n in counts}
  seconds = ceiling.in_turns(work, repeats)
  first = counts[0]
  for n in counts:
    sampling, decoding = (
      np.array([found[part] for found in timings[n][1:]]) for part in ("sample", "decode")
    )
    spent = seconds[str(n)]
    total = float(np.median(spent))
    gain = float(np.median(n / first * seconds[str(first)] / spent))
    print(
      f"{n:6}{total:9.2f}{n / total:9.2f}{n * size.seconds / total:13.1f}{gain:7.2f}"
      f"{float(np.median(decoding / spent)):10.0%}"
      f"{ceiling.columns(n * flops, sampling, products, seconds[''])}"
    )


def pipeline(size: Size) -> StemPipeline:
  """A pipeline of this size with weights that are small constants and texts that are zeros."""
  dit, vae, tokens = size.dit, size.vae, size.tokens
  learned = dit.text_encoder is not None

  def encode_text(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    words = (len(texts), tokens)
    text = np.zeros(words, np.int32) if learned else np.zeros((*words, dit.text_width), np.float32)
    return text, np.ones(words, bool)

  config = {
    "sample_rate": RATE,
    "seconds": size.seconds,
    "text": {"length": tokens},
    "dropout": dict.fromkeys(train.DROPOUT, 1 / 3),
    "sample": size.sample,
    "whole_mixes": False,
  }
  bundle = Bundle(
    directory=Path(),
    config=config,
    vae=vae,
    vae_params=_small(vae_shapes(vae)),
    dit=dit,
    dit_params=_small(dit_shapes(dit)),
    text_encoder=None,
    tokenizer=None,
    statistics=Statistics(np.zeros(vae.latent, np.float32), np.ones(vae.latent, np.float32)),
    fingerprint="",
  )
  return StemPipeline(bundle, encode_text)


def _small(shapes: Any) -> Any:
  return jax.tree.map(lambda s: jnp.full(s.shape, 1e-3, s.dtype), shapes)

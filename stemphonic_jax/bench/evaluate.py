"""What the networks that hear take, as a share of PyTorch's time on the same random weights.

As in peer.py: one process, in turns, the medians and the 10th and 90th percentile of the ratios.
VGGish hears 32 s as 33 patches, CLAP as three windows; both get spectrograms, not sound.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.bench import peer
from stemphonic_jax.bench.modules import tensors_of
from stemphonic_jax.evaluation.judges import clap, vggish
from stemphonic_jax.evaluation.judges.judge import in_batches
from stemphonic_jax.models.vggish import POOLED
from stemphonic_jax.weights.clap import import_clap
from stemphonic_jax.weights.tensors import materialize
from stemphonic_jax.weights.vggish import BANDS, FRAMES, import_vggish

PATCHES, WINDOWS = 33, 3
LIMITS = {"VGGish-33": 1.0, "CLAP-audio": 1.2, "CLAP-text": None}
DTYPE = "float32"


@dataclass(frozen=True)
class Size:
  """Numbers of the networks; by default those of the published ones."""

  widths: tuple[int, ...] = (64, 128, 256, 256, 512, 512, 4096, 4096, 128)
  width: int = 128
  depths: tuple[int, ...] = (2, 2, 12, 2)
  heads: tuple[int, ...] = (4, 8, 16, 32)
  vocabulary: int = 50265
  text_width: int = 768
  text_depth: int = 12
  text_heads: int = 12


def run(rounds: int = 5, size: Size | None = None) -> None:
  """Prints the table, restarting the process first where its allocator is not set.

  MissingError where PyTorch or transformers is not installed.
  """
  peer.prepare("torch", "transformers")
  size = size or Size()
  for case, (theirs, ours) in (_vggish(size) | _clap(size)).items():
    peer.compare(case, theirs, {DTYPE: ours}, rounds, {DTYPE: LIMITS[case]})


Work = Mapping[str, tuple[Callable[[], Any], Callable[[], Any]]]


def _vggish(size: Size) -> Work:
  import torch

  torch.manual_seed(0)
  *convolutions, first, second, last = size.widths
  features: list[Any] = []
  before = 1
  for i, width in enumerate(convolutions):
    features += [torch.nn.Conv2d(before, width, 3, padding=1), torch.nn.ReLU()]
    features += [torch.nn.MaxPool2d(2, 2)] if i in POOLED else []
    before = width
  dense = [torch.nn.Linear(24 * before, first), torch.nn.ReLU(), torch.nn.Linear(first, second)]
  dense += [torch.nn.ReLU(), torch.nn.Linear(second, last)]
  halves = {"features": torch.nn.Sequential(*features), "embeddings": torch.nn.Sequential(*dense)}
  model, params = import_vggish(Path("vggish"), tensors_of(torch.nn.ModuleDict(halves)))
  x = np.random.default_rng(0).standard_normal((PATCHES, FRAMES, BANDS), np.float32)
  apply = functools.partial(jax.jit(model.apply), {"params": materialize(params, jnp.asarray)})

  def theirs() -> Any:
    with torch.no_grad():
      y = halves["features"](torch.from_numpy(x)[:, None])
      return halves["embeddings"](y.permute(0, 2, 3, 1).flatten(1)).numpy()

  return {"VGGish-33": (theirs, lambda: in_batches(apply, vggish.ROWS["cpu"], x))}


def _clap(size: Size) -> Work:
  import torch
  import transformers

  torch.manual_seed(0)
  audio = {
    "patch_embeds_hidden_size": size.width,
    "depths": list(size.depths),
    "num_attention_heads": list(size.heads),
    "hidden_size": size.width << (len(size.depths) - 1),
  }
  text = {
    "vocab_size": size.vocabulary,
    "hidden_size": size.text_width,
    "num_hidden_layers": size.text_depth,
    "num_attention_heads": size.text_heads,
    "intermediate_size": 4 * size.text_width,
    "layer_norm_eps": 1e-5,
  }
  config = transformers.ClapConfig(audio_config=audio, text_config=text)
  module = transformers.ClapModel(config).eval()
  model, bands, params = import_clap(Path("clap"), tensors_of(module), heads=size.text_heads)
  draw = np.random.default_rng(0)
  frames = clap.LENGTH // clap.HOP + 1
  x = draw.normal(-30, 20, (WINDOWS, frames, bands)).astype(np.float32)
  tokens = draw.integers(4, size.vocabulary, (1, clap.TOKENS)).astype(np.int32)
  mask = np.ones(tokens.shape, bool)
  variables = {"params": materialize(params, jnp.asarray)}
  hear, read = (
    functools.partial(jax.jit(functools.partial(model.apply, method=method)), variables)
    for method in ("embed_audio", "embed_text")
  )

  def heard() -> Any:
    with torch.no_grad():
      return module.get_audio_features(torch.from_numpy(x)[:, None]).pooler_output.numpy()

  def understood() -> Any:
    with torch.no_grad():
      return module.get_text_features(torch.from_numpy(tokens).long()).pooler_output.numpy()

  rows = clap.ROWS["cpu"]
  return {
    "CLAP-audio": (heard, lambda: in_batches(hear, rows, x)),
    "CLAP-text": (understood, lambda: in_batches(read, rows, tokens, mask)),
  }

"""EnCodec beside transformers' on the same random weights, of MusicGen's size; for peer.py.

Encoding ends with codes; what is compared are the latents, because one code in ten thousand lies
between two entries as near as rounding errors, and the codes after it follow from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.bench.modules import tensors_of
from stemphonic_jax.models import quantiser
from stemphonic_jax.weights.encodec import import_encodec
from stemphonic_jax.weights.tensors import materialize

RATE = 32_000


@dataclass(frozen=True)
class Size:
  """Numbers of the codec; by default MusicGen's."""

  filters: int = 64
  ratios: tuple[int, ...] = (8, 5, 4, 4)
  latent: int = 128
  entries: int = 2048
  kilobits: float = 2.2  # per second: 4 codebooks


MUSICGEN = Size()


def work(kind: str, seconds: float, size: Size) -> tuple[Callable[[], Any], Callable[[], Any]]:
  """Encoding or decoding `seconds` of mono by the peer, weight norm removed, and by ours."""
  import torch
  import transformers

  torch.manual_seed(0)
  config = transformers.EncodecConfig(
    sampling_rate=RATE,
    hidden_size=size.latent,
    num_filters=size.filters,
    upsampling_ratios=list(size.ratios),
    use_causal_conv=False,
    use_conv_shortcut=False,
    codebook_size=size.entries,
    target_bandwidths=[size.kilobits],
  )
  theirs = transformers.EncodecModel(config).eval()
  for layer in theirs.quantizer.layers:
    torch.nn.init.normal_(layer.codebook.embed)
  model, params, _ = import_encodec(Path("encodec"), config.to_dict(), tensors_of(theirs))
  variables = {"params": materialize(params, jnp.asarray)}
  for module in theirs.modules():
    if hasattr(module, "parametrizations"):
      torch.nn.utils.parametrize.remove_parametrizations(module, "weight")

  draw, frames = np.random.default_rng(0), round(seconds * RATE / model.hop)
  if kind == "decode":
    codes = draw.integers(0, size.entries, (1, model.levels, frames)).astype(np.int32)
    decode = jax.jit(lambda variables, x: model.apply(variables, x, method="decode"))

    def their_audio() -> Any:
      with torch.no_grad():
        return theirs.decode(torch.from_numpy(codes)[None].long(), [None]).audio_values[:, 0]

    return their_audio, lambda: decode(variables, codes)

  audio = draw.standard_normal((1, frames * model.hop), np.float32)

  @jax.jit
  def encode(variables: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    latents = model.apply(variables, x, method="latents")
    return latents, quantiser.encode(variables["params"]["codebooks"], latents)

  def their_latents() -> Any:
    with torch.no_grad():
      latents = theirs.encoder(torch.from_numpy(audio)[:, None])
      theirs.quantizer.encode(latents)
      return latents.mT.numpy()

  return their_latents, lambda: jax.block_until_ready(encode(variables, audio))[0]

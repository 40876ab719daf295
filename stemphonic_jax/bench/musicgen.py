"""MusicGen's decoding beside transformers' on equal random weights, of its small size; for peer.py.

Both read a column at a time with a cache, take the likeliest code of each stream, and read it next.
With two rows the text is guided. Almost all of the time is that of reading the weights.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.bench.modules import tensors_of
from stemphonic_jax.models.musicgen import for_decoding
from stemphonic_jax.tokens.decoding import decode
from stemphonic_jax.tokens.delay import MUSICGEN, delay, undelay
from stemphonic_jax.weights.musicgen import import_musicgen
from stemphonic_jax.weights.tensors import materialize

GUIDANCE = 3.0


@dataclass(frozen=True)
class Size:
  """Numbers of the network, by default of MusicGen's small one, and of the work."""

  width: int = 1024
  depth: int = 24
  heads: int = 16
  entries: int = 2048
  tokens: int = 32
  frames: int = 3  # and three columns more, in which the delayed streams end


SMALL = Size()


def work(rows: int, size: Size) -> tuple[Callable[[], Any], Callable[[], Any]]:
  """Decoding `frames` by the peer and by ours, in one row or, guided, in two."""
  import torch
  import transformers

  torch.manual_seed(0)
  config = transformers.MusicgenDecoderConfig(
    vocab_size=size.entries,
    pad_token_id=size.entries,
    bos_token_id=size.entries,
    hidden_size=size.width,
    ffn_dim=4 * size.width,
    num_hidden_layers=size.depth,
    num_attention_heads=size.heads,
    num_codebooks=len(MUSICGEN),
    initializer_factor=size.width**-0.5,
    dropout=0.0,
  )
  theirs = transformers.MusicgenForCausalLM(config).eval()
  tensors = {f"decoder.{name}": tensor for name, tensor in tensors_of(theirs).items()}
  model, params = import_musicgen(Path("musicgen"), tensors, size.heads)
  params = jax.jit(for_decoding)(materialize(params, jnp.asarray))

  shape = (1, size.tokens, size.width)
  text = np.random.default_rng(0).standard_normal(shape, np.float32)
  codes = jnp.zeros((1, len(MUSICGEN), size.frames), jnp.int32)
  fixed = np.asarray(delay(jnp.zeros(codes.shape, bool), MUSICGEN, True))
  shown = np.concatenate([text, np.zeros_like(text)])[:rows]

  def their_codes() -> Any:
    empty = (transformers.DynamicCache(config=config) for _ in range(2))
    cache = transformers.EncoderDecoderCache(*empty)
    columns = [np.full((1, len(MUSICGEN)), size.entries)]
    with torch.no_grad():
      for n in range(1, fixed.shape[-1]):
        read = torch.from_numpy(np.repeat(columns[-1], rows, 0)).reshape(-1, 1)
        made = theirs(
          input_ids=read,
          encoder_hidden_states=torch.from_numpy(shown),
          past_key_values=cache,
          use_cache=True,
        )
        logits = made.logits.reshape(rows, len(MUSICGEN), -1)
        if rows == 2:
          logits = logits[1:] + GUIDANCE * (logits[:1] - logits[1:])
        columns.append(np.where(fixed[..., n], size.entries, logits.argmax(-1).numpy()))
    return undelay(jnp.asarray(np.stack(columns, -1)), MUSICGEN)

  run = jax.jit(functools.partial(decode, model, delays=MUSICGEN, guided=rows == 2, top_k=1))
  mask = jnp.ones(shape[:2], bool)
  arguments = jax.random.split(jax.random.key(0), 1), jnp.asarray(text), mask, codes, codes > 0
  return their_codes, lambda: run(params, *arguments, GUIDANCE)

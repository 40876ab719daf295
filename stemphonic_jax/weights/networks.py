"""Networks over codes: from the numbers of a config to modules, and the shapes of their parameters.

Their streams are the levels of the codecs, one codec after the other.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.dit import REMAT
from stemphonic_jax.models.musicgen import MusicGen
from stemphonic_jax.weights.architecture import CODEC, DTYPES, build_text_encoder


def streams_of(codecs: Mapping[str, CODEC]) -> dict[str, tuple[int, ...]]:
  """The streams of each codec: {"bass": (0,), "drums": (1,), "other": (2, 3, 4, 5)}."""
  found, first = {}, 0
  for name, codec in codecs.items():
    found[name] = tuple(range(first, first + codec.levels))
    first += codec.levels
  return found


def delays_of(codecs: Mapping[str, CODEC]) -> tuple[int, ...]:
  """How late each stream is: by its level, so that the first ones are in sync (Sec. III-B)."""
  return tuple(level for codec in codecs.values() for level in range(codec.levels))


def entries_of(codecs: Mapping[str, CODEC]) -> int:
  """The entries of a codebook, of which all have as many; UsageError where they have not."""
  entries = {name: codec.entries for name, codec in codecs.items()}
  if len(set(entries.values())) > 1:
    listed = ", ".join(f"{name} {count}" for name, count in entries.items())
    raise UsageError(f"codec: entries {listed}, expected as many of each")
  return next(iter(entries.values()))


def build_musicgen(
  network: Mapping[str, Any], text: Mapping[str, Any], codecs: Mapping[str, CODEC]
) -> MusicGen:
  """The transformer of a config's `network` and `text`; UsageError where they do not fit."""
  dtype = DTYPES.get(network["dtype"])
  if dtype is None:
    raise UsageError(f"network.dtype: got {network['dtype']!r}, expected {', '.join(DTYPES)}")
  for name, part in (("network", network), ("text", text)):
    if "heads" in part and part["width"] % (2 * part["heads"]):
      raise UsageError(
        f"{name}: width {part['width']} does not divide into {part['heads']} heads of even width"
      )
  if network["remat"] not in tuple(REMAT):
    raise UsageError(f"network.remat: got {network['remat']!r}, expected {', '.join(REMAT)}")
  return MusicGen(
    streams=len(delays_of(codecs)),
    vocabulary=entries_of(codecs),
    width=network["width"],
    depth=network["depth"],
    heads=network["heads"],
    text_width=text["width"],
    masks_text=True,
    text_encoder=build_text_encoder(text, dtype),
    dtype=dtype,
    remat=network["remat"],
  )


@functools.partial(jax.jit, static_argnums=0)
def init_musicgen(model: MusicGen, key: jax.Array) -> dict:
  """Fresh parameters of a MusicGen."""
  learned = model.text_encoder is not None
  text = jnp.zeros((1, 1), jnp.int32) if learned else jnp.zeros((1, 1, model.text_width))
  codes = jnp.zeros((1, model.streams, 1), jnp.int32)
  return model.init(key, codes, text, jnp.ones((1, 1), bool))["params"]


@functools.cache
def musicgen_shapes(model: MusicGen) -> dict:
  """Shapes of a MusicGen's parameters; traced once, and not to be changed."""
  return jax.eval_shape(functools.partial(init_musicgen, model), jax.random.key(0))

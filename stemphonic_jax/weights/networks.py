"""Networks over codes: from the numbers of a config to modules, and the shapes of their parameters.

Their streams are the levels of the codecs, one codec after the other.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.dit import REMAT
from stemphonic_jax.models.musicgen import MusicGen
from stemphonic_jax.models.stemgen import StemGen
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
  return _alike("entries", {name: codec.entries for name, codec in codecs.items()})


def hop_of(codecs: Mapping[str, CODEC]) -> int:
  """Samples in a frame, of which all have as many; UsageError where they have not."""
  return _alike("samples in a frame", {name: codec.hop for name, codec in codecs.items()})


def _alike(what: str, counts: Mapping[str, int]) -> int:
  if len(set(counts.values())) > 1:
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    raise UsageError(f"codec: {what} {listed}, expected as many of each")
  return next(iter(counts.values()))


def build_musicgen(
  network: Mapping[str, Any], text: Mapping[str, Any], codecs: Mapping[str, CODEC]
) -> MusicGen:
  """The transformer of a config's `network` and `text`; UsageError where they do not fit."""
  check_network(network)
  if "heads" in text and text["width"] % (2 * text["heads"]):
    raise UsageError(
      f"text: width {text['width']} does not divide into {text['heads']} heads of even width"
    )
  dtype = DTYPES[network["dtype"]]
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


def categories(types: Sequence[str]) -> tuple[str, ...]:
  """The types of stems that a StemGen tells apart, of a model with `types` beside the eleven."""
  return (*STEM_TYPES, *types)


def build_stemgen(network: Mapping[str, Any], codec: CODEC, instruments: int) -> StemGen:
  """StemGen's network for a config's `network`; UsageError where it cannot be."""
  check_network(network)
  return StemGen(
    levels=codec.levels,
    vocabulary=codec.entries,
    width=network["width"],
    depth=network["depth"],
    heads=network["heads"],
    instruments=instruments,
    dtype=DTYPES[network["dtype"]],
    remat=network["remat"],
  )


@functools.partial(jax.jit, static_argnums=0)
def init_stemgen(model: StemGen, key: jax.Array) -> dict:
  """Fresh parameters of a StemGen."""
  codes, one = jnp.zeros((1, model.levels, 1), jnp.int32), jnp.zeros(1, jnp.int32)
  return model.init(key, codes, jnp.ones(1, bool), codes, one, one)["params"]


@functools.cache
def stemgen_shapes(model: StemGen) -> dict:
  """Shapes of a StemGen's parameters; traced once, and not to be changed."""
  return jax.eval_shape(functools.partial(init_stemgen, model), jax.random.key(0))


def check_network(network: Mapping[str, Any]) -> None:
  """UsageError for a `network` of a config that cannot be."""
  if network["dtype"] not in DTYPES:
    raise UsageError(f"network.dtype: got {network['dtype']!r}, expected {', '.join(DTYPES)}")
  if network["width"] % (2 * network["heads"]):
    raise UsageError(
      f"network: width {network['width']} does not divide into {network['heads']} heads of even"
      f" width"
    )
  if network["remat"] not in tuple(REMAT):
    raise UsageError(f"network.remat: got {network['remat']!r}, expected {', '.join(REMAT)}")

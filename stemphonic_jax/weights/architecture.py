"""From the numbers of a config to modules, and the parameter shapes that follow from them."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.conditioning import NOT_GIVEN, Conditions, TextEncoder
from stemphonic_jax.models.dit import REMAT, DiT
from stemphonic_jax.models.encodec import EnCodec
from stemphonic_jax.models.layers import CYCLES
from stemphonic_jax.models.oobleck import Oobleck
from stemphonic_jax.models.spectral import Spectral
from stemphonic_jax.models.spectral_codec import SpectralCodec

VAE = Oobleck | Spectral
CODEC = EnCodec | SpectralCodec
CODECS = {"encodec": EnCodec, "spectral": SpectralCodec}
PARTS_OF_FLAX = ("parent", "name")  # fields of every module
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build_vae(config: Mapping[str, Any]) -> VAE:
  """The autoencoder of a config's `vae`; UsageError where its architecture is unknown."""
  # Modules are hashed, and lists, which a config.json has, cannot be.
  fields = {name: tuple(v) if isinstance(v, list) else v for name, v in dict(config).items()}
  match fields.pop("architecture"):
    case "oobleck":
      if len(fields["strides"]) != len(fields["multiples"]):
        raise UsageError(
          f"vae: {len(fields['strides'])} strides and {len(fields['multiples'])} multiples,"
          f" expected as many of one as of the other"
        )
      return Oobleck(**fields)
    case "spectral":
      return Spectral(**fields)
    case other:
      raise UsageError(f"vae.architecture: got {other!r}, expected 'oobleck' or 'spectral'")


def build_codec(config: Mapping[str, Any]) -> CODEC:
  """The codec of a config's `codec`; UsageError where it names none, or a number is none."""
  fields = {name: tuple(v) if isinstance(v, list) else v for name, v in dict(config).items()}
  kind = fields.pop("architecture", None)
  if not isinstance(kind, str) or kind not in CODECS:
    raise UsageError(f"codec.architecture: got {kind!r}, expected one of {', '.join(CODECS)}")
  known = {field.name: field.default for field in _own_fields(CODECS[kind])}
  for name, value in fields.items():
    if name not in known:
      raise UsageError(f"codec.{name}: unknown, expected {', '.join(known)}")
    if not _is_like(value, known[name]):
      raise UsageError(f"codec.{name}: got {value!r}, expected one like {known[name]!r}")
  return CODECS[kind](**fields)


def _is_like(value: Any, default: Any) -> bool:
  """Whether a value is of the type of a default, and its numbers are whole, from 1 on."""
  if isinstance(default, tuple):
    return isinstance(value, tuple) and bool(value) and all(_is_like(v, 1) for v in value)
  return type(value) is type(default) and (isinstance(value, str) or value >= 1)


def _own_fields(codec: Any) -> list[dataclasses.Field]:
  """The fields of a codec, or of its class, without those that all modules have."""
  return [field for field in dataclasses.fields(codec) if field.name not in PARTS_OF_FLAX]


def codec_config(codec: CODEC) -> dict[str, Any]:
  """The config that `build_codec` builds this codec from."""
  (kind,) = (kind for kind, made in CODECS.items() if type(codec) is made)
  return {"architecture": kind, **{f.name: getattr(codec, f.name) for f in _own_fields(codec)}}


def build_dit(
  config: Mapping[str, Any], text: Mapping[str, Any], channels: int, frame_rate: float
) -> DiT:
  """The DiT of a config's `dit` and `text`, for latents of `channels` channels.

  `frame_rate` of them are a second, for a DiT with `beats`. UsageError where they do not fit.
  """
  fields = dict(config)
  dtype = DTYPES.get(fields.pop("dtype"))
  if dtype is None:
    raise UsageError(f"dit.dtype: got {config['dtype']!r}, expected one of {', '.join(DTYPES)}")
  for name, part in (("dit", config), ("text", text)):
    if "heads" in part and part["width"] % (2 * part["heads"]):
      raise UsageError(
        f"{name}: width {part['width']} does not divide into {part['heads']} heads of even width"
      )
  if (prediction := fields.get("prediction", "velocity")) not in ("velocity", "v"):
    raise UsageError(f"dit.prediction: got {prediction!r}, expected 'velocity' or 'v'")
  if (memory_heads := fields.get("memory_heads")) and config["heads"] % memory_heads:
    raise UsageError(f"dit: {config['heads']} heads are no multiple of {memory_heads} memory_heads")
  remat = fields.get("remat", "none")
  if isinstance(remat, bool):  # models from before there was a choice
    fields["remat"] = "blocks" if remat else "none"
  elif remat not in tuple(REMAT):
    raise UsageError(f"dit.remat: got {remat!r}, expected one of {', '.join(REMAT)}")
  if fields.pop("beats", False):
    fields["frame_rate"] = frame_rate
    if (head := config["width"] // config["heads"]) < 4 * len(CYCLES):
      raise UsageError(f"dit.beats: heads are {head} wide, expected {4 * len(CYCLES)} at least")
  encoder = build_text_encoder(text, dtype)
  return DiT(
    channels=channels, text_width=text["width"], text_encoder=encoder, dtype=dtype, **fields
  )


def build_text_encoder(text: Mapping[str, Any], dtype: Any) -> TextEncoder | None:
  """The text encoder of a config's `text` that is trained along, None where a frozen one reads."""
  match text["encoder"]:
    case "learned":
      return TextEncoder(text["vocabulary"], text["width"], text["depth"], text["heads"], dtype)
    case "t5":
      return None
    case other:
      raise UsageError(f"text.encoder: got {other!r}, expected 'learned' or 't5'")


@functools.partial(jax.jit, static_argnums=0)
def init_vae(vae: VAE, key: jax.Array) -> dict:
  """Fresh parameters of an autoencoder."""
  return vae.init(key, jnp.zeros((1, vae.hop, 2)))["params"]


@functools.partial(jax.jit, static_argnums=0)
def init_dit(dit: DiT, key: jax.Array) -> dict:
  """Fresh parameters of a DiT; they do not depend on the lengths of latents and text."""
  learned = dit.text_encoder is not None
  conditions = Conditions(
    text=jnp.zeros((1, 1), jnp.int32) if learned else jnp.zeros((1, 1, dit.text_width)),
    text_mask=jnp.ones((1, 1), bool),
    bpm=jnp.full((1,), jnp.nan),
    context=jnp.zeros((1, 1, dit.channels)),
    activity=jnp.full((1, 1), NOT_GIVEN, jnp.int8),
    seconds=jnp.zeros((1, 2)) if dit.timing else None,
  )
  x = jnp.zeros((1, 1, dit.channels))
  dit = dit.clone(rows=0)  # one row is no block
  return dit.init(key, x, jnp.zeros((1,)), conditions)["params"]


def grow(dit: DiT, key: jax.Array, params: dict) -> dict:
  """Parameters of `dit` that compute what `params` do, which may be without its ensemble.

  What they lack is fresh and ends in zeros; another input goes through zeros.
  """
  given = traverse_util.flatten_dict(params)
  if given.keys() == traverse_util.flatten_dict(dit_shapes(dit)).keys():
    return params
  fresh = traverse_util.flatten_dict(init_dit(dit, key))

  def grown(new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.pad(old, [(0, more - less) for more, less in zip(new.shape, old.shape, strict=True)])

  whole = {path: grown(leaf, given.get(path, leaf)) for path, leaf in fresh.items()}
  return traverse_util.unflatten_dict(whole)


@functools.cache
def vae_shapes(vae: VAE) -> dict:
  """Shapes of an autoencoder's parameters; traced once, and not to be changed."""
  return jax.eval_shape(functools.partial(init_vae, vae), jax.random.key(0))


@functools.cache
def codec_shapes(codec: CODEC) -> dict:
  """Shapes of a codec's parameters; traced once, and not to be changed."""
  return jax.eval_shape(codec.init, jax.random.key(0), jnp.zeros((1, codec.hop)))["params"]


@functools.cache
def dit_shapes(dit: DiT) -> dict:
  """Shapes of a DiT's parameters; traced once, and not to be changed."""
  return jax.eval_shape(functools.partial(init_dit, dit), jax.random.key(0))


def parameter_count(shapes: Any) -> int:
  """Number of parameters in a tree of arrays or shapes."""
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))

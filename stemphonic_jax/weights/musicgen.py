"""MusicGen's public weights: Hugging Face's folders, and audiocraft's state_dict.bin.

Both are of one network, and of MusicGen-Stem's, which has more streams. In audiocraft's file
queries, keys and values are one tensor, one below the other, and the frozen T5 is not in it. Sizes
are those of the tensors, which are read when they are needed; halves are widened to float32.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import yaml
from flax import traverse_util

from stemphonic_jax.audio.folders import if_file
from stemphonic_jax.errors import DataError, MismatchError, MissingError
from stemphonic_jax.models.musicgen import MusicGen
from stemphonic_jax.tokens.delay import MUSICGEN_STEM, MUSICGEN_STEM_7
from stemphonic_jax.weights.checkpoint import open_weights
from stemphonic_jax.weights.files import read_json
from stemphonic_jax.weights.lazy import Lazy, in_float32, transposed
from stemphonic_jax.weights.musicgen_parts import MusicGenWeights
from stemphonic_jax.weights.tensors import check_params
from stemphonic_jax.weights.torch_file import open_torch
from stemphonic_jax.weights.wrappers import CHECKPOINTS

HEAD_WIDTH = 64  # of all published ones, where no config says otherwise
AUDIOCRAFT = "state_dict.bin"
FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
OTHERS = ("text_encoder.", "audio_encoder.")  # parts of a folder that are models of their own
NAMED = {6: MUSICGEN_STEM, 7: MUSICGEN_STEM_7}  # delays by streams, where a file does not say
# What a config of Hugging Face's may say of a decoder that is built no other way.
FIXED = {"activation_function": "gelu", "scale_embedding": False, "tie_word_embeddings": False}
# The same of audiocraft's, as far as tensors do not tell.
FIXED_FUSED = {
  "codebooks_pattern.modeling": "delay",
  "codebooks_pattern.delay.flatten_first": 0,
  "codebooks_pattern.delay.empty_initial": 0,
  "interleave_stereo_codebooks.per_timestep": False,
  "transformer_lm.activation": "gelu",
  "transformer_lm.norm_first": True,
  "transformer_lm.positional_embedding": "sin",
}
LATEST = 100  # frames by which a stream is delayed at most; published ones by 3
# The sinusoids, which earlier transformers saved as a tensor, as folders of that time hold them.
PLACES = "decoder.model.decoder.embed_positions.weights"


@dataclass(frozen=True)
class Layout:
  """Names of tensors; of kernels in a block, the parts and which of their thirds are taken."""

  table: str
  head: str
  norm: str
  text: str
  block: str
  norms: Mapping[str, str]
  kernels: Mapping[str, tuple[tuple[str, slice], ...]]


ALL = slice(None)
HUGGING_FACE = Layout(
  table="decoder.model.decoder.embed_tokens.{}.weight",
  head="decoder.lm_heads.{}.weight",
  norm="decoder.model.decoder.layer_norm",
  text="enc_to_dec_proj",
  block="decoder.model.decoder.layers.{}.",
  norms={
    "self_norm": "self_attn_layer_norm",
    "cross_norm": "encoder_attn_layer_norm",
    "feed_norm": "final_layer_norm",
  },
  kernels={
    "qkv": tuple((f"self_attn.{part}_proj", ALL) for part in "qkv"),
    "self_out": (("self_attn.out_proj", ALL),),
    "query": (("encoder_attn.q_proj", ALL),),
    "key_value": tuple((f"encoder_attn.{part}_proj", ALL) for part in "kv"),
    "cross_out": (("encoder_attn.out_proj", ALL),),
    "feed_in": (("fc1", ALL),),
    "feed_out": (("fc2", ALL),),
  },
)
FUSED = Layout(
  table="emb.{}.weight",
  head="linears.{}.weight",
  norm="out_norm",
  text="condition_provider.conditioners.description.output_proj",
  block="transformer.layers.{}.",
  norms={"self_norm": "norm1", "cross_norm": "norm_cross", "feed_norm": "norm2"},
  kernels={
    "qkv": (("self_attn.in_proj_", ALL),),
    "self_out": (("self_attn.out_proj", ALL),),
    "query": (("cross_attention.in_proj_", slice(1)),),
    "key_value": (("cross_attention.in_proj_", slice(1, 3)),),
    "cross_out": (("cross_attention.out_proj", ALL),),
    "feed_in": (("linear1", ALL),),
    "feed_out": (("linear2", ALL),),
  },
)


def open_musicgen(path: Path) -> MusicGenWeights:
  """The network in a folder of Hugging Face's, or in audiocraft's state_dict.bin or its folder.

  MissingError where a file is absent; DataError where one is damaged; MismatchError for another
  kind of model, as one that follows a melody, or for tensors that are missing, left over, or of
  another shape.
  """
  if path.is_dir() and (path / "config.json").is_file():
    return _open_hugging_face(path)
  file = path / AUDIOCRAFT if path.is_dir() else path
  if not file.is_file() or file.suffix not in CHECKPOINTS or file.name in FILES:
    raise MissingError(
      f"{path}: no MusicGen here; expected a folder with config.json and {FILES[0]}, or with"
      f" {AUDIOCRAFT}{if_file(path)}"
    )
  return _open_audiocraft(file)


def _open_hugging_face(folder: Path) -> MusicGenWeights:
  path = folder / "config.json"
  given = read_json(path)
  if (kind := given.get("model_type")) != "musicgen":
    raise MismatchError(f"{path}: model_type is {str(kind)[:60]!r}, expected 'musicgen'")
  config = given.get("decoder")
  if not isinstance(config, dict):
    raise MismatchError(f"{path}: has no 'decoder'; expected the config of a whole MusicGen")
  for word, value in FIXED.items():
    if (got := config.get(word, value)) != value:
      raise MismatchError(f"{path}: decoder.{word} is {str(got)[:60]!r}, expected {value!r}")
  channels = config.get("audio_channels", 1)
  if channels not in (1, 2):
    raise MismatchError(
      f"{path}: decoder.audio_channels is {str(channels)[:60]!r}, expected 1 or 2"
    )
  source = find_weights(folder)
  tensors = {
    k: v for k, v in open_weights(source).items() if not k.startswith(OTHERS) and k != PLACES
  }
  model, params = _import(source, tensors, HUGGING_FACE, config.get("num_attention_heads"))
  if model.special != config.get("pad_token_id", model.special):
    raise MismatchError(
      f"{path}: decoder.pad_token_id is {config['pad_token_id']}, expected {model.special}"
    )
  count = model.streams // channels
  delays = tuple(frame for frame in range(count) for _ in range(channels))
  return MusicGenWeights(model, params, delays, channels == 2)


def find_weights(folder: Path) -> Path:
  """The file with the tensors of a folder of Hugging Face's; MissingError where there is none."""
  source = next((folder / name for name in FILES if (folder / name).is_file()), None)
  if source is None:
    raise MissingError(f"{folder}: has no weights; expected {' or '.join(FILES)}")
  return source


def _open_audiocraft(path: Path) -> MusicGenWeights:
  content = open_torch(path)
  tensors = content.get("best_state") if isinstance(content, Mapping) else None
  if not isinstance(tensors, Mapping):
    what = ", ".join(map(str, content))[:200] if isinstance(content, Mapping) else "no names"
    raise MismatchError(f"{path}: has no best_state, which audiocraft saves; got {what}")
  config = _config(path, content.get("xp.cfg"))
  for words, value in FIXED_FUSED.items():
    if (got := _value(config, words, value)) != value:
      raise MismatchError(f"{path}: {words} is {str(got)[:60]!r}, expected {value!r}")
  given = {k: v for k, v in tensors.items() if isinstance(k, str) and isinstance(v, Lazy)}
  model, params = _import(path, given, FUSED, _value(config, "transformer_lm.num_heads"))
  delays = _value(config, "codebooks_pattern.delay.delays")
  delays = delays or list(NAMED.get(model.streams, range(model.streams)))
  right = isinstance(delays, list) and all(type(d) is int and 0 <= d <= LATEST for d in delays)
  if not right or len(delays) != model.streams:
    raise MismatchError(
      f"{path}: has delays {str(delays)[:60]} for {model.streams} streams, expected one of 0 to"
      f" {LATEST} frames for each"
    )
  stereo = _value(config, "interleave_stereo_codebooks.use") is True
  return MusicGenWeights(model, params, tuple(delays), stereo)


def _config(path: Path, text: Any) -> Mapping[str, Any]:
  """audiocraft's config, which is YAML; nothing where there is none."""
  try:
    config = yaml.safe_load(text) if isinstance(text, str) else {}
  except (yaml.YAMLError, ValueError, RecursionError):
    raise DataError(f"{path}: its xp.cfg is not YAML") from None
  return config if isinstance(config, Mapping) else {}


def _value(config: Any, words: str, default: Any = None) -> Any:
  """What a config says under words with dots between them, or the default where it is silent."""
  for word in words.split("."):
    config = config.get(word) if isinstance(config, Mapping) else None
  return default if config is None else config


def import_musicgen(
  source: Path, tensors: Mapping[str, Lazy], heads: int | None = None
) -> tuple[MusicGen, Any]:
  """The network and its tensors out of those of a public model, by either layout's names."""
  fused = any(name.startswith("transformer.") for name in tensors)
  return _import(source, tensors, FUSED if fused else HUGGING_FACE, heads)


def _import(
  source: Path, tensors: Mapping[str, Lazy], layout: Layout, heads: int | None
) -> tuple[MusicGen, Any]:
  found = {name: in_float32(leaf) for name, leaf in tensors.items()}
  if adapters := [name for name in found if "lora_" in name]:
    raise MismatchError(f"{source}: has {adapters[0]}: a LoRA adapter; merge it into the model")
  if melody := [name for name in found if "conditioners." in name and layout.text not in name]:
    raise MismatchError(
      f"{source}: has {melody[0]}: a model that follows more than text, which is not read"
    )
  model = _model(source, found, layout, heads)
  if f"{layout.text}.weight" not in found:  # a T5 as wide as the network
    found |= {
      f"{layout.text}.weight": _array(np.eye(model.width, dtype=np.float32)),
      f"{layout.text}.bias": _array(np.zeros(model.width, np.float32)),
    }
  check_params(source, found, _wanted(model, layout))
  return model, _params(model, layout, found)


def _model(source: Path, found: Mapping[str, Lazy], layout: Layout, heads: int | None) -> MusicGen:
  """The network of the sizes that the tensors have."""

  def count(name: str) -> int:
    pattern = re.compile(re.escape(name).replace(r"\{\}", r"(\d+)"))
    return len({match[1] for key in found if (match := pattern.match(key))})

  def size(name: str) -> tuple[int, int]:
    if name not in found or len(found[name].shape) != 2 or not min(found[name].shape):
      raise MismatchError(f"{source}: is no MusicGen: {name} is missing, or is no matrix")
    return found[name].shape

  entries, width = size(layout.table.format(0))
  first = next(iter(layout.kernels["feed_in"]))[0]
  hidden, _ = size(layout.block.format(0) + _weight(first))
  text = found.get(f"{layout.text}.weight")
  text_width = text.shape[-1] if text is not None and len(text.shape) == 2 else width
  heads = heads or max(1, width // HEAD_WIDTH)
  if type(heads) is not int or heads < 1 or width % heads or width % 2:
    raise MismatchError(f"{source}: {str(heads)[:20]} heads do not share a width of {width}")
  return MusicGen(
    streams=count(layout.table),
    vocabulary=entries - 1,
    width=width,
    depth=count(layout.block),
    heads=heads,
    text_width=text_width,
    hidden=hidden,
  )


def _weight(name: str) -> str:
  return f"{name}weight" if name.endswith("_") else f"{name}.weight"


def _array(value: np.ndarray) -> Lazy:
  return Lazy(value.shape, value.dtype, lambda: value)


def _wanted(model: MusicGen, layout: Layout) -> dict[str, jax.ShapeDtypeStruct]:
  """All names of a layout, and shapes: matrices are [out, in] there."""
  D = model.width
  shapes: dict[str, tuple[int, ...]] = {
    f"{layout.text}.weight": (D, model.text_width),
    f"{layout.text}.bias": (D,),
  }
  vectors = [layout.norm]
  for k in range(model.streams):
    shapes[layout.table.format(k)] = (model.vocabulary + 1, D)
    shapes[layout.head.format(k)] = (model.vocabulary, D)
  for i in range(model.depth):
    block = layout.block.format(i)
    vectors += [block + name for name in layout.norms.values()]
    for kernel, parts in layout.kernels.items():
      for name, _ in parts:
        rows = model.hidden if kernel == "feed_in" else 3 * D if name.endswith("_") else D
        columns = model.hidden if kernel == "feed_out" else D
        shapes[block + _weight(name)] = (rows, columns)
  shapes |= {f"{name}.{leaf}": (D,) for name in vectors for leaf in ("weight", "bias")}
  return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def _params(model: MusicGen, layout: Layout, found: Mapping[str, Lazy]) -> Any:
  """Our tree: streams and blocks stacked, kernels [in, out]."""
  streams, depth, D = range(model.streams), range(model.depth), model.width

  def stacked(names: list[str]) -> Lazy:
    leaf = found[names[0]]
    return Lazy(
      (len(names), *leaf.shape), leaf.dtype, lambda: np.stack([found[n].read() for n in names])
    )

  def kernel(parts: tuple[tuple[str, slice], ...], block: str) -> np.ndarray:
    """The thirds of a matrix that are taken, each D rows; below each other, and turned."""
    taken = []
    for name, thirds in parts:
      rows = found[block + _weight(name)].read()
      first, last = (thirds.start or 0) * D, thirds.stop and thirds.stop * D
      taken.append(rows[first:last])
    return np.concatenate(taken).T

  heads = [layout.head.format(k) for k in streams]
  params = {
    "embedding": stacked([layout.table.format(k) for k in streams]),
    "text_projection/kernel": transposed(found[f"{layout.text}.weight"]),
    "text_projection/bias": found[f"{layout.text}.bias"],
    "out_norm/scale": found[f"{layout.norm}.weight"],
    "out_norm/bias": found[f"{layout.norm}.bias"],
    "out_projection/kernel": Lazy(
      (D, model.streams * model.vocabulary),
      np.dtype(np.float32),
      lambda: np.concatenate([found[name].read() for name in heads]).T,
    ),
  }
  for ours, theirs in layout.norms.items():
    for leaf, name in (("scale", "weight"), ("bias", "bias")):
      names = [f"{layout.block.format(i)}{theirs}.{name}" for i in depth]
      params[f"blocks/{ours}/{leaf}"] = stacked(names)
  shapes = {"qkv": (D, 3 * D), "key_value": (D, 2 * D)}
  shapes |= {"feed_in": (D, model.hidden), "feed_out": (model.hidden, D)}
  for ours, parts in layout.kernels.items():
    params[f"blocks/{ours}/kernel"] = Lazy(
      (model.depth, *shapes.get(ours, (D, D))),
      np.dtype(np.float32),
      lambda parts=parts: np.stack([kernel(parts, layout.block.format(i)) for i in depth]),
    )
  return traverse_util.unflatten_dict(params, sep="/")

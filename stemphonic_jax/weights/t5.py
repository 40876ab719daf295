"""T5 encoders on disk: Hugging Face's folders, and the text encoder of a bundle.

Both are opened without reading a tensor: what comes back is checked against the architecture and
fetched one tensor at a time, so that XXL (4.7 billion) is converted in the memory of its largest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.typing import DTypeLike

from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.errors import DataError, MismatchError, MissingError
from stemphonic_jax.models.t5 import T5
from stemphonic_jax.weights.architecture import DTYPES
from stemphonic_jax.weights.lazy import Lazy, in_float32, transposed
from stemphonic_jax.weights.tensors import (
  check_params,
  open_params,
  open_tensors,
  read_metadata,
  save_params,
)
from stemphonic_jax.weights.wrappers import hint

# Their word for each size of ours, and the size where an old config does not say.
SIZES = {
  "vocabulary": ("vocab_size", None),
  "width": ("d_model", None),
  "depth": ("num_layers", None),
  "heads": ("num_heads", None),
  "head_width": ("d_kv", None),
  "hidden": ("d_ff", None),
  "buckets": ("relative_attention_num_buckets", 32),
  "distance": ("relative_attention_max_distance", 128),
}
LARGEST = 1 << 20  # of any size; the vocabulary of XXL has 32 128 rows
GATED = {"relu": False, "gated-gelu": True}

# Their tensor for each of ours; below, of a block.
THEIRS = {
  "tokens/embedding": "shared",
  "position_bias": "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
  "norm/gain": "encoder.final_layer_norm",
}
THEIRS_IN_BLOCK = {
  "attention_norm/gain": "0.layer_norm",
  "self_attention/query/kernel": "0.SelfAttention.q",
  "self_attention/key/kernel": "0.SelfAttention.k",
  "self_attention/value/kernel": "0.SelfAttention.v",
  "self_attention/out/kernel": "0.SelfAttention.o",
  "feed_forward_norm/gain": "1.layer_norm",
  "feed_forward/gate/kernel": "1.DenseReluDense.wi_0",
  "feed_forward/out/kernel": "1.DenseReluDense.wo",
}
OF_DECODER = ("decoder.", "lm_head.")
METADATA = "t5"  # the key of the architecture in the header of our file


@dataclass(frozen=True, eq=False)
class TextWeights:
  """A frozen T5 encoder: the arguments of `T5` but for `dtype`, fit for JSON, and its tensors."""

  config: Mapping[str, Any]
  params: Any

  def build(self, dtype: DTypeLike = jnp.float32) -> T5:
    """The encoder of these weights, with products in `dtype`."""
    return _build(self.config, dtype)


def open_huggingface(folder: Path) -> TextWeights:
  """The encoder of a T5 in Hugging Face's layout; of one with a decoder, that is left out.

  It is kept in bfloat16 where all of it is so, else in float32. MissingError where a file is
  absent; DataError where one is damaged; MismatchError for another kind of model, or tensors that
  are missing, left over, or of another shape or type.
  """
  path = folder / "config.json"
  given = _read_config(path)
  if (kind := given.get("model_type")) != "t5":
    raise MismatchError(f"{path}: model_type is {kind!r}, expected 't5'; name the folder of a T5")
  tensors = _find_tensors(folder)
  return import_t5(path, given, tensors, open_tensors(tensors))


def import_t5(
  path: Path, given: Mapping[str, Any], tensors: Path, found: Mapping[str, Lazy]
) -> TextWeights:
  """The encoder out of a config of Hugging Face's, read at `path`, and tensors, read at `tensors`.

  MismatchError as in `open_huggingface`.
  """
  layers = given.get("feed_forward_proj", "relu")
  if not isinstance(layers, str) or layers not in GATED:
    raise MismatchError(f"{path}: feed_forward_proj is {layers!r}, expected {' or '.join(GATED)}")

  found = {k: v for k, v in found.items() if not k.startswith(OF_DECODER)}
  table = found.pop("encoder.embed_tokens.weight", None)
  if table is not None:  # one table by two names
    found.setdefault("shared.weight", table)
  halved = {leaf.dtype for leaf in found.values()} == {np.dtype(jnp.bfloat16)}
  config = {
    **{ours: given.get(theirs, default) for ours, (theirs, default) in SIZES.items()},
    "gated": GATED[layers],
    "epsilon": given.get("layer_norm_epsilon", 1e-6),
    "param_dtype": "bfloat16" if halved else "float32",
  }
  words = {ours: theirs for ours, (theirs, _) in SIZES.items()}
  _check_config(path, config, {**words, "epsilon": "layer_norm_epsilon"})
  shapes = traverse_util.flatten_dict(_shapes(config, tensors, len(found)), sep="/")
  if not halved:
    found = {name: in_float32(leaf) for name, leaf in found.items()}
  theirs = {ours: _their_name(ours, config["gated"]) for ours in shapes}
  turned = {ours for ours in shapes if ours.endswith("/kernel")}  # [out, in] there, [in, out] here
  wanted = {
    theirs[ours]: jax.ShapeDtypeStruct(leaf.shape[:: -1 if ours in turned else 1], leaf.dtype)
    for ours, leaf in shapes.items()
  }
  check_params(tensors, found, wanted)
  params = {
    ours: transposed(found[name]) if ours in turned else found[name]
    for ours, name in theirs.items()
  }
  return TextWeights(config, traverse_util.unflatten_dict(params, sep="/"))


def save_text_encoder(path: Path, weights: TextWeights) -> None:
  """Writes an encoder and its architecture to one file; OutputError where that cannot be."""
  save_params(path, weights.params, {METADATA: json.dumps(dict(weights.config))})


def open_text_encoder(path: Path) -> TextWeights:
  """The encoder that `save_text_encoder` wrote; errors as in `open_huggingface`."""
  if (text := read_metadata(path).get(METADATA)) is None:
    raise MismatchError(f"{path}: is no text encoder of a bundle (no {METADATA!r} in its header)")
  config = _parse(path, text)
  _check_config(path, config, {})
  shapes = _shapes(config, path, len(open_tensors(path)))
  return TextWeights(config, open_params(path, shapes))


def find_tokenizer(folder: Path) -> Tokenizer:
  """The tokenizer beside a T5; DataError where the folder lacks its sentencepiece model."""
  path = folder / "spiece.model"
  if not folder.is_dir():
    raise MissingError(f"{folder}: no such folder of a T5{hint(folder)}")
  if not path.is_file():
    raise DataError(
      f"{path}: missing, which is the tokenizer of a T5 (tokenizer.json is not read in its place)"
    )
  return Tokenizer.load(path)


def _read_config(path: Path) -> dict[str, Any]:
  if not path.parent.is_dir():
    raise MissingError(f"{path.parent}: no such folder of a T5{hint(path.parent)}")
  if not path.is_file():
    raise MissingError(f"{path}: missing; expected a T5 in the layout of Hugging Face")
  return _parse(path, path.read_bytes())


def _parse(path: Path, text: str | bytes) -> dict[str, Any]:
  try:
    content = json.loads(text)
  except (ValueError, RecursionError) as error:
    raise DataError(f"{path}: the architecture is not JSON ({error})") from None
  if not isinstance(content, dict):
    raise DataError(f"{path}: the architecture is not a JSON object")
  return content


def _find_tensors(folder: Path) -> Path:
  for name in ("model.safetensors", "model.safetensors.index.json", "model.fp16.safetensors"):
    if (folder / name).is_file():
      return folder / name
  if any(folder.glob("pytorch_model*.bin*")):
    raise MissingError(
      f"{folder}: has weights only as a pickle, pytorch_model.bin, which is not read; make"
      f" model.safetensors of it with `stemphonic bundle convert`"
    )
  raise MissingError(f"{folder}: model.safetensors is missing, and so is its index of shards")


def _check_config(path: Path, config: Mapping[str, Any], theirs: Mapping[str, str]) -> None:
  """MismatchError, in the words of `theirs`, unless a T5 can be built from `config`."""

  def require(name: str, right: bool, expected: str) -> None:
    if not right:
      got = repr(config.get(name))
      raise MismatchError(f"{path}: {theirs.get(name, name)} is {got:.60}, expected {expected}")

  for name in SIZES:
    size = config.get(name)
    require(name, type(size) is int and 0 < size <= LARGEST, f"a whole number, 1 to {LARGEST}")
  require("buckets", config["buckets"] >= 4, "at least 4")
  single = config["buckets"] // 4
  require("distance", config["distance"] > single, f"more than {single}")
  require("gated", isinstance(config.get("gated"), bool), "true or false")
  require("param_dtype", config.get("param_dtype") in tuple(DTYPES), " or ".join(DTYPES))
  epsilon = config.get("epsilon")
  require("epsilon", isinstance(epsilon, float) and 0 < epsilon < 1, "a small positive number")
  if foreign := sorted(set(config) - {*SIZES, "gated", "epsilon", "param_dtype"}):
    raise MismatchError(f"{path}: {foreign[0]!r} is no word of a T5's architecture")


def _build(config: Mapping[str, Any], dtype: DTypeLike) -> T5:
  kept = DTYPES[config["param_dtype"]]
  return T5(**{**config, "param_dtype": kept}, dtype=dtype)


def _shapes(config: Mapping[str, Any], path: Path, tensors: int) -> Any:
  """The tree of a T5, without its content; MismatchError where the file cannot hold it."""
  if config["depth"] > tensors:  # seen before a network of any depth is traced
    raise MismatchError(f"{path}: {tensors} tensors are too few for {config['depth']} blocks")
  tokens, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
  model = _build(config, jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), tokens, mask)["params"]


def _their_name(ours: str, gated: bool) -> str:
  if ours in THEIRS:
    return f"{THEIRS[ours]}.weight"
  block, part = ours.split("/", 1)
  into = "1.DenseReluDense.wi_1" if gated else "1.DenseReluDense.wi"
  theirs = THEIRS_IN_BLOCK.get(part, into)
  return f"encoder.block.{block.removeprefix('block_')}.layer.{theirs}.weight"

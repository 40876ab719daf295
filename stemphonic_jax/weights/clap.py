"""CLAP's public weights: LAION's checkpoints, and Hugging Face's folders of the same models.

Names of Hugging Face become LAION's; queries, keys and values become one tensor, as they are here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from stemphonic_jax.audio.folders import if_file
from stemphonic_jax.data.bpe import BytePairs
from stemphonic_jax.errors import MismatchError, MissingError
from stemphonic_jax.models.clap import CLAP
from stemphonic_jax.models.htsat import FOLD, HTSAT, PATCH, WINDOW
from stemphonic_jax.models.roberta import Roberta
from stemphonic_jax.weights.checkpoint import open_weights
from stemphonic_jax.weights.files import ROWS, digest, read_json
from stemphonic_jax.weights.lazy import Lazy, in_float32, transposed
from stemphonic_jax.weights.tensors import check_params
from stemphonic_jax.weights.wrappers import CHECKPOINTS

# Hugging Face's to LAION's.
RENAMED = tuple(
  (re.compile(theirs), laion)
  for theirs, laion in (
    (r"^audio_model\.audio_encoder\.", "audio_branch."),
    (r"^text_model\.", "text_branch."),
    (r"^audio_branch\.batch_norm\.", "audio_branch.bn0."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"(blocks\.\d+)\.attention\.self\.relative", r"\1.attn.relative"),
    (r"(blocks\.\d+)\.attention\.self\.(query|key|value)\.", r"\1.attn.\2."),
    (r"(blocks\.\d+)\.attention\.output\.dense\.", r"\1.attn.proj."),
    (r"(blocks\.\d+)\.intermediate\.dense\.", r"\1.mlp.fc1."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"_projection\.linear1\.", "_projection.0."),
    (r"_projection\.linear2\.", "_projection.2."),
  )
)
# Not used for a score: the front end, what follows from sizes, heads, and maps of training alone.
DROPPED = re.compile(
  r"(spectrogram_extractor|logmel_extractor|relative_position_index|attn_mask|num_batches_tracked"
  r"|tscam_conv|position_ids|token_type_ids)|^audio_branch\.head\.|^(audio|text)_transform\."
  r"|^logit_scale"
)
FUSION = re.compile(r"mel_conv2d|fusion_model")
# LAION's name for each of our parts; below, of a block.
OUTSIDE = {
  "audio/bands": "audio_branch.bn0",
  "audio/patch": "audio_branch.patch_embed.proj",
  "audio/patch_norm": "audio_branch.patch_embed.norm",
  "audio/norm": "audio_branch.norm",
  "text/words": "text_branch.embeddings.word_embeddings",
  "text/positions": "text_branch.embeddings.position_embeddings",
  "text/kind": "text_branch.embeddings.token_type_embeddings.weight",
  "text/embedding_norm": "text_branch.embeddings.LayerNorm",
  "text/pool": "text_branch.pooler.dense",
  **{f"{kind}_projection/hidden": f"{kind}_projection.0" for kind in ("audio", "text")},
  **{f"{kind}_projection/out": f"{kind}_projection.2" for kind in ("audio", "text")},
}
INSIDE = {
  "audio/stage": {
    "attention_norm": "norm1",
    "attention/qkv": "attn.qkv",
    "attention/position_bias": "attn.relative_position_bias_table",
    "attention/out": "attn.proj",
    "feed_forward_norm": "norm2",
    "in": "mlp.fc1",
    "out": "mlp.fc2",
  },
  "audio/merge": {"norm": "norm", "reduce": "reduction"},
  "text/block": {
    "qkv": "attention.self.qkv",
    "attention_out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "in": "intermediate.dense",
    "out": "output.dense",
    "norm": "output.LayerNorm",
  },
}
BLOCKS = {
  "audio/stage": "audio_branch.layers.{}.blocks.{}.",
  "audio/merge": "audio_branch.layers.{}.downsample.",
  "text/block": "text_branch.encoder.layer.{}.",
}
BLOCK = re.compile(r"(audio/stage|audio/merge|text/block)_(\d+)(?:_(\d+))?/(.+)")
LEAVES = {"mean": "running_mean", "variance": "running_var", "bias": "bias"}  # else weight
PARTS = ("query", "key", "value")
HEAD_WIDTH = 64  # of RoBERTa, where no config says otherwise
# What a config may say of a network that is built no other way: the text's, and the audio's.
FIXED = {
  "text_config": {"hidden_act": "gelu", "projection_hidden_act": "relu"},
  "audio_config": {"hidden_act": "gelu", "projection_hidden_act": "relu", "window_size": 8}
  | {"patch_size": 4, "layer_norm_eps": 1e-5, "enable_fusion": False},
}


@dataclass(frozen=True, eq=False)
class ClapWeights:
  """The networks, their tensors, the tokenizer, bands of a spectrogram, SHA-256 of the file."""

  model: CLAP
  params: Any
  tokenizer: BytePairs
  bands: int
  sha256: str


def open_clap(folder: Path) -> ClapWeights:
  """The model in a folder: weights (.pt, .bin or safetensors), the tokenizer's files beside them.

  A config.json is that of Hugging Face; without one it is LAION's. MissingError where a file is
  absent; DataError where one is damaged; MismatchError for another kind of model, as one with
  fusion, or for tensors that are missing, left over, or of another shape or type.
  """
  path = _find_weights(folder)
  model, bands, params = import_clap(path, open_weights(path), **_config(folder / "config.json"))
  tokenizer = BytePairs.load(folder)
  if len(tokenizer) > model.text.vocabulary:
    raise MismatchError(
      f"{folder}: the tokenizer has {len(tokenizer)} ids, the model {model.text.vocabulary}"
    )
  return ClapWeights(model, params, tokenizer, bands, digest(path))


def import_clap(
  source: Path, tensors: Mapping[str, Lazy], epsilon: float = 1e-5, heads: int | None = None
) -> tuple[CLAP, int, Any]:
  """The networks, bands of a spectrogram and tensors out of those of a public model.

  `epsilon` and `heads` are those of the text encoder, by default LAION's. MismatchError, as of
  `source`, where the tensors are of another kind of model.
  """
  given = {_laion_name(name): in_float32(leaf) for name, leaf in tensors.items()}
  if fusion := [name for name in given if FUSION.search(name)]:
    raise MismatchError(
      f"{source}: has {fusion[0]}: a CLAP with fusion; take one without, as LAION's for music"
    )
  found = _fused({name: leaf for name, leaf in given.items() if not DROPPED.search(name)})
  model, bands = _model(source, found, epsilon, heads)
  shapes = _shapes(model, bands)
  names = {ours: _their_name(ours) for ours in shapes}
  check_params(source, found, {names[ours]: _theirs(ours, leaf) for ours, leaf in shapes.items()})
  params = {ours: _ours(ours, found[name]) for ours, name in names.items()}
  return model, bands, traverse_util.unflatten_dict(params, sep="/")


def _find_weights(folder: Path) -> Path:
  if not folder.is_dir():
    raise MissingError(
      f"{folder}: no such folder of a CLAP, with weights and the tokenizer's files{if_file(folder)}"
    )
  for name in ("model.safetensors", "pytorch_model.bin"):
    if (folder / name).is_file():
      return folder / name
  kinds = (*CHECKPOINTS, ".safetensors")
  found = sorted(path for path in folder.iterdir() if path.suffix in kinds and path.is_file())
  if len(found) == 1:
    return found[0]
  what = ", ".join(path.name for path in found[:ROWS]) or "none"
  raise MissingError(f"{folder}: expected one file of weights ({', '.join(kinds)}), got {what}")


def _config(path: Path) -> dict[str, Any]:
  """What a config says that tensors do not; of Hugging Face's, what is absent is their default."""
  if not path.is_file():
    return {}
  given = read_json(path)
  if given.get("model_type") == "roberta":  # which came with the tokenizer
    given = {"model_type": "clap", "text_config": given}
  parts = {name: given.get(name) or {} for name in FIXED}
  if given.get("model_type") != "clap" or not all(isinstance(p, dict) for p in parts.values()):
    raise MismatchError(f"{path}: model_type is {str(given.get('model_type'))[:60]!r}, not 'clap'")
  for name, fixed in FIXED.items():
    for word, value in fixed.items():
      if (got := parts[name].get(word, value)) != value:
        raise MismatchError(f"{path}: {name}.{word} is {str(got)[:60]!r}, expected {value!r}")
  epsilon = parts["text_config"].get("layer_norm_eps", 1e-12)
  heads = parts["text_config"].get("num_attention_heads", 12)
  if type(epsilon) is not float or not 0 < epsilon < 1 or type(heads) is not int or heads < 1:
    raise MismatchError(f"{path}: text_config has no layer_norm_eps or num_attention_heads")
  return {"epsilon": epsilon, "heads": heads}


def _laion_name(name: str) -> str:
  for theirs, laion in RENAMED:
    name = theirs.sub(laion, name)
  return name


def _fused(found: Mapping[str, Lazy]) -> dict[str, Lazy]:
  """Queries, keys and values in one, one below the other."""
  separate = re.compile(rf"\.({'|'.join(PARTS)})\.\w+$")
  fused = {name: leaf for name, leaf in found.items() if not separate.search(name)}
  for name in found:
    head, _, tail = name.rpartition(".query.")
    parts = [found.get(f"{head}.{part}.{tail}") for part in PARTS]
    if head and all(part is not None and part.shape == parts[0].shape for part in parts):
      shape = (3 * parts[0].shape[0], *parts[0].shape[1:])
      read = lambda parts=parts: np.concatenate([part.read() for part in parts])  # noqa: E731
      fused[f"{head}.qkv.{tail}"] = Lazy(shape, parts[0].dtype, read)
  return fused


def _model(
  path: Path, found: Mapping[str, Lazy], epsilon: float, text_heads: int | None
) -> tuple[CLAP, int]:
  """The networks of the sizes that the tensors have, and the number of bands."""

  def size(ours: str, axis: int = 0) -> int:
    name = _their_name(ours)
    if name not in found or len(found[name].shape) <= axis or not found[name].shape[axis]:
      raise MismatchError(f"{path}: is no CLAP: {name} is missing, or has no size")
    return found[name].shape[axis]

  def count(pattern: str) -> int:
    return len({match[1] for name in found if (match := re.match(pattern, name))})

  stages = range(count(r"audio_branch\.layers\.(\d+)\."))
  audio = HTSAT(
    size("audio/patch/kernel"),
    tuple(count(rf"audio_branch\.layers\.{i}\.blocks\.(\d+)\.") for i in stages),
    tuple(size(f"audio/stage_{i}_0/attention/position_bias", 1) for i in stages),
  )
  width = size("text/words/embedding", 1)
  text = Roberta(
    size("text/words/embedding"),
    size("text/positions/embedding"),
    width,
    count(r"text_branch\.encoder\.layer\.(\d+)\."),
    text_heads or max(1, width // HEAD_WIDTH),
    size("text/block_0/in/kernel"),
    epsilon,
  )
  bands = size("audio/bands/scale")
  widths = [(audio.width << i, heads) for i, heads in enumerate(audio.heads)]
  whole = stages and bands % (WINDOW << len(stages) - 1) == 0
  if not whole or any(width % heads for width, heads in [*widths, (width, text.heads)]):
    raise MismatchError(
      f"{path}: is no CLAP: {bands} bands, {len(stages)} stages, heads of no size"
    )
  return CLAP(audio, text, size("audio_projection/hidden/kernel")), bands


def _shapes(model: CLAP, bands: int) -> Mapping[str, jax.ShapeDtypeStruct]:
  frames = jnp.zeros((1, FOLD * FOLD * bands, bands))
  tokens, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool)
  shapes = jax.eval_shape(model.init, jax.random.key(0), frames, tokens, mask)["params"]
  return traverse_util.flatten_dict(shapes, sep="/")


def _their_name(ours: str) -> str:
  """LAION's name of one of our tensors."""
  if ours in OUTSIDE:
    return OUTSIDE[ours]
  part, _, leaf = ours.rpartition("/")
  theirs = f".{LEAVES.get(leaf, 'weight')}"
  if leaf == "position_bias":  # a tensor of its own
    part, theirs = ours, ""
  if match := BLOCK.fullmatch(part):
    kind, *numbers, inside = match.groups()
    return BLOCKS[kind].format(*numbers) + INSIDE[kind][inside] + theirs
  return OUTSIDE[part] + theirs


def _theirs(ours: str, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  """The shape of our tensor there: kernels are [out, in], those of patches [out, 1, 4, 4]."""
  shape = leaf.shape
  if ours == "audio/patch/kernel":
    shape = (shape[1], 1, PATCH, PATCH)
  elif ours == "text/kind":
    shape = (1, *shape)
  elif ours.endswith("/kernel"):
    shape = shape[::-1]
  return jax.ShapeDtypeStruct(shape, leaf.dtype)


def _ours(ours: str, leaf: Lazy) -> Lazy:
  if ours == "audio/patch/kernel":
    flat = PATCH * PATCH
    return Lazy((flat, leaf.shape[0]), leaf.dtype, lambda: leaf.read().reshape(-1, flat).T)
  if ours == "text/kind":
    return Lazy(leaf.shape[1:], leaf.dtype, lambda: leaf.read()[0])
  return transposed(leaf) if ours.endswith("/kernel") else leaf

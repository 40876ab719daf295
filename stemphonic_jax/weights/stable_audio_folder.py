"""The two public layouts of Stable Audio Open, opened as one.

    diffusers   model_index.json, and transformer/ vae/ projection_model/ text_encoder/ tokenizer/
    original    model_config.json and model.safetensors (stable-audio-tools), without its T5

Both come back with the configs and names of diffusers and plain float32 weights: the original's are
renamed, its fused projections split, half precision widened and weight norm folded. Nothing is read
until it is asked for.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from stemphonic_jax.errors import DataError, MismatchError, MissingError
from stemphonic_jax.weights.files import ROWS, read_json
from stemphonic_jax.weights.tensors import Lazy, open_tensors
from stemphonic_jax.weights.wrappers import hint, unwrap

Tensors = dict[str, Lazy]

TEXT_LENGTH, LONGEST_TEXT = 128, 512  # tokens: where the folder does not say; of any T5
WEIGHT_FILES = [
  stem + ending
  for stem in ("diffusion_pytorch_model", "model")
  for ending in (".safetensors", ".safetensors.index.json", ".fp16.safetensors")
]
WEIGHT_NORM = {
  ".weight_v": ".weight_g",
  ".parametrizations.weight.original1": ".parametrizations.weight.original0",
}

# Words of the original's names, in diffusers' words; None is left out.
WORDS = {
  "transformer": None,
  "layers": "transformer_blocks",
  "self_attn": "attn1",
  "cross_attn": "attn2",
  "to_out": "to_out.0",
  "pre_norm": "norm1",
  "cross_attend_norm": "norm2",
  "ff_norm": "norm3",
  "gamma": "weight",
  "beta": "bias",
  "project_in": "proj_in",
  "project_out": "proj_out",
  "timestep_features": "time_proj",
  "to_timestep_embed": "timestep_proj",
  "to_global_embed": "global_proj",
  "to_cond_embed": "cross_attention_proj",
  "seconds_start": "start_number_conditioner",
  "seconds_total": "end_number_conditioner",
  "embedder": None,
  "embedding": "time_positional_embedding",
}
# Its autoencoder has numbers for names: by stage, by layer of a stage, by layer of a unit.
UNITS = ["res_unit1", "res_unit2", "res_unit3"]
STAGE = {"encoder": [*UNITS, "snake1", "conv1"], "decoder": ["snake1", "conv_t1", *UNITS]}
UNIT = ["snake1", "conv1", "snake2", "conv2"]
FUSED = {"to_qkv": ("to_q", "to_k", "to_v"), "to_kv": ("to_k", "to_v")}
CONTINUOUS = "continuous_transformer"
ROTARY_BUFFER = "model.model.transformer.rotary_pos_emb.inv_freq"  # computed, not trained
# Any other option of its transformer makes it another network.
DIT_OPTIONS = {
  "io_channels",
  "embed_dim",
  "depth",
  "num_heads",
  "cond_token_dim",
  "project_cond_tokens",
  "global_cond_dim",
  "global_cond_type",
  "transformer_type",
}


@dataclass(frozen=True, eq=False)
class Part:
  """One network of a peer: what to call it in errors, its config and its tensors."""

  source: Path
  config: Mapping[str, Any]
  tensors: Tensors


@dataclass(frozen=True, eq=False)
class Peer:
  """A Stable Audio model in diffusers' words.

  `prediction` is what the DiT gives, "v" or "velocity" (ours with the opposite sign); it sees
  latents divided by `scale`. `text_encoder` and `tokenizer` are folders, None where it has none.
  """

  layout: str
  transformer: Part
  projection: Part
  vae: Part
  prediction: str
  text_length: int
  scale: float = 1.0
  text_encoder: Path | None = None
  tokenizer: Path | None = None


def open_peer(folder: Path) -> Peer:
  """Opens either layout; of a folder that holds both, diffusers' where its parts are there.

  MissingError where something is absent; DataError where it is damaged; MismatchError where it is
  another model.
  """
  if not folder.is_dir():
    raise MissingError(f"{folder}: no such folder{hint(folder)}")
  index, original = folder / "model_index.json", folder / "model_config.json"
  if index.is_file() and ((folder / "transformer").is_dir() or not original.is_file()):
    return _open_diffusers(folder)
  if original.is_file():
    return _open_original(folder)
  if (folder / "config.json").is_file():
    kind = read_json(folder / "config.json").get("_class_name")
    raise MismatchError(f"{folder}: is one network ({kind}), expected a whole StableAudioPipeline")
  names = sorted(path.name for path in folder.iterdir())
  if adapters := [name for name in names if "lora" in name.lower() or name.startswith("adapter_")]:
    raise MismatchError(f"{folder}: is an adapter ({adapters[0]}), expected a whole model")
  raise MissingError(
    f"{folder}: neither model_index.json (diffusers) nor model_config.json (original layout) is"
    f" there; expected a copy of a Stable Audio Open folder{hint(folder)}"
  )


def expect(source: Path, rows: Mapping[str, tuple[Any, Any]]) -> None:
  """MismatchError with the rows, of (got, expected) by name, in which the two differ."""
  wrong = [
    f"{name} is {got!r}, expected {want!r}" for name, (got, want) in rows.items() if got != want
  ]
  if wrong:
    raise MismatchError(f"{source}: is no Stable Audio Open; " + "; ".join(wrong[:ROWS]))


def _open_diffusers(folder: Path) -> Peer:
  index = read_json(folder / "model_index.json")
  expect(folder, {"_class_name": (index.get("_class_name"), "StableAudioPipeline")})
  scheduler = folder / "scheduler" / "scheduler_config.json"
  given = read_json(scheduler) if scheduler.is_file() else {}
  prediction = given.get("prediction_type", "v_prediction")
  expect(scheduler, {"prediction_type": (prediction, "v_prediction")})
  tokenizer = folder / "tokenizer" / "tokenizer_config.json"
  given = read_json(tokenizer) if tokenizer.is_file() else {}
  return Peer(
    layout="diffusers",
    transformer=_open_part(folder / "transformer", "StableAudioDiTModel"),
    projection=_open_part(folder / "projection_model", "StableAudioProjectionModel"),
    vae=_open_part(folder / "vae", "AutoencoderOobleck"),
    prediction="v",
    text_length=_text_length(given),
    text_encoder=folder / "text_encoder",
    tokenizer=folder / "tokenizer",
  )


def _text_length(config: Mapping[str, Any]) -> int:
  length = config.get("model_max_length", config.get("max_length"))
  # A tokenizer without a limit says 1e30.
  return length if isinstance(length, int) and 0 < length <= LONGEST_TEXT else TEXT_LENGTH


def _open_part(folder: Path, kind: str) -> Part:
  config = read_json(folder / "config.json")
  expect(folder, {"_class_name": (config.get("_class_name"), kind)})
  for name in WEIGHT_FILES:
    if (folder / name).is_file():
      return Part(folder, config, _plain(folder, open_tensors(folder / name)))
  raise MissingError(f"{folder}: no weights are there; expected {WEIGHT_FILES[0]}")


def _open_original(folder: Path) -> Peer:
  path = folder / "model_config.json"
  content = read_json(path)
  try:
    _check_original(path, content)
    model = content["model"]
    dit, vae = model["diffusion"]["config"], model["pretransform"]["config"]
    coder, latent = vae["encoder"]["config"], vae["decoder"]["config"]["latent_dim"]
    text, seconds, _ = (row["config"] for row in model["conditioning"]["configs"])
    width = model["conditioning"]["cond_dim"]
    head_width = dit["embed_dim"] // dit["num_heads"]
    memory = dit["embed_dim"] if dit.get("project_cond_tokens", True) else dit["cond_token_dim"]
    configs = {
      "transformer": {
        "sample_size": content["sample_size"] // math.prod(coder["strides"]),
        "in_channels": dit["io_channels"],
        "out_channels": dit["io_channels"],
        "num_layers": dit["depth"],
        "attention_head_dim": head_width,
        "num_attention_heads": dit["num_heads"],
        "num_key_value_attention_heads": memory // head_width,
        "cross_attention_dim": memory,
        "cross_attention_input_dim": dit["cond_token_dim"],
        "global_states_input_dim": dit["global_cond_dim"],
        "time_proj_dim": 256,  # a constant of its code
      },
      "projection": {
        "text_encoder_dim": width,
        "conditioning_dim": width,
        "min_value": seconds["min_val"],
        "max_value": seconds["max_val"],
      },
      "vae": {
        "encoder_hidden_size": coder["channels"],
        "decoder_channels": coder["channels"],
        "channel_multiples": coder["c_mults"],
        "downsampling_ratios": coder["strides"],
        "decoder_input_channels": latent,
        "audio_channels": coder["in_channels"],
        "sampling_rate": content["sample_rate"],
      },
    }
    objective = model["diffusion"].get("diffusion_objective", "v")
    scale = float(model["pretransform"].get("scale", 1.0))
    stages = len(coder["strides"])
    text_length = _text_length(text)
  except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
    raise MismatchError(f"{path}: {error!r}; expected Stable Audio Open's model_config") from None
  weights = folder / "model.safetensors"
  if not weights.is_file():
    raise MissingError(f"{weights}: no such file; copy it here{hint(folder)}")
  parts = _original_parts(weights, stages)
  return Peer(
    layout="original",
    **{name: Part(weights, config, parts[name]) for name, config in configs.items()},
    prediction="v" if objective == "v" else "velocity",
    text_length=text_length,
    scale=scale,
  )


def _check_original(path: Path, content: Mapping[str, Any]) -> None:
  """MismatchError where the config says anything that changes what Stable Audio Open is."""
  model = content["model"]
  diffusion, pretransform = model["diffusion"], model["pretransform"]
  dit, vae = diffusion["config"], pretransform["config"]
  encoder, decoder = vae["encoder"]["config"], vae["decoder"]["config"]
  conditioners = model["conditioning"]["configs"]
  numbers = ["seconds_start", "seconds_total"]
  objective = diffusion.get("diffusion_objective", "v")
  expect(
    path,
    {
      "model_type": (content["model_type"], "diffusion_cond"),
      "diffusion type": (diffusion["type"], "dit"),
      "diffusion_objective": (objective, "v" if objective != "rectified_flow" else objective),
      "cross_attention_cond_ids": (diffusion["cross_attention_cond_ids"], ["prompt", *numbers]),
      "global_cond_ids": (diffusion["global_cond_ids"], numbers),
      "input_concat_ids": (diffusion.get("input_concat_ids", []), []),
      "prepend_cond_ids": (diffusion.get("prepend_cond_ids", []), []),
      "conditioners": (
        [(row["id"], row["type"]) for row in conditioners],
        [("prompt", "t5"), *((name, "number") for name in numbers)],
      ),
      "transformer_type": (dit.get("transformer_type", CONTINUOUS), CONTINUOUS),
      "global_cond_type": (dit.get("global_cond_type", "prepend"), "prepend"),
      "options of the transformer": (sorted(dit.keys() - DIT_OPTIONS), []),
      "pretransform": (pretransform["type"], "autoencoder"),
      "bottleneck": (vae["bottleneck"]["type"], "vae"),
      "soft_clip": (vae.get("soft_clip", False), False),
      "final_tanh": (decoder.get("final_tanh", True), False),
    },
  )
  expect(path, {"seconds_total": (conditioners[2]["config"], conditioners[1]["config"])})
  shared = ("channels", "c_mults", "strides")
  expect(
    path,
    {f"{name} of the decoder": (decoder[name], encoder[name]) for name in shared}
    | {f"{name} type": (vae[name]["type"], "oobleck") for name in STAGE}
    | {f"use_snake of the {name}": (vae[name]["config"].get("use_snake"), True) for name in STAGE}
    | {
      "out_channels of the decoder": (decoder["out_channels"], encoder["in_channels"]),
      "latent_dim of the encoder": (encoder["latent_dim"], 2 * decoder["latent_dim"]),
    },
  )


def _original_parts(path: Path, stages: int) -> dict[str, Tensors]:
  """The three networks of the original's one file, by diffusers' names."""
  renamed: dict[str, tuple[str, Callable[[str], str]]] = {
    "model.model.": ("transformer", _diffusers_name),
    "conditioner.conditioners.": ("projection", _diffusers_name),
    "pretransform.model.": ("vae", partial(_diffusers_vae_name, stages=stages)),
  }
  parts: dict[str, Tensors] = {part: {} for part, _ in renamed.values()}
  foreign = []
  for name, tensor in unwrap(path, open_tensors(path)).items():
    prefix = next((prefix for prefix in renamed if name.startswith(prefix)), None)
    if prefix is None:
      foreign.append(name)
    elif name != ROTARY_BUFFER:
      part, rename = renamed[prefix]
      parts[part] |= _split(rename(name.removeprefix(prefix)), tensor)
  if foreign:
    raise MismatchError(
      f"{path}: {len(foreign)} tensors are of no part of Stable Audio Open, first"
      f" {', '.join(foreign[:ROWS])}; expected an exported model, not a training checkpoint or LoRA"
    )
  return {part: _plain(path, tensors) for part, tensors in parts.items()}


def _diffusers_name(name: str) -> str:
  words = (WORDS.get(word, word) for word in name.replace("ff.ff.", "ff.net.").split("."))
  return ".".join(word for word in words if word is not None)


def _diffusers_vae_name(name: str, stages: int) -> str:
  """decoder.layers.1.layers.2.layers.0.alpha is decoder.block.0.res_unit1.snake1.alpha."""
  coder, *pieces = re.split(r"\.layers\.(\d+)", name)
  if coder not in STAGE or not pieces:
    return name
  whole = ["conv1", *(f"block.{i}" for i in range(stages)), "snake1", "conv2"]
  path = [coder]
  for table, number in zip((whole, STAGE[coder], UNIT), pieces[:-1:2], strict=False):
    if int(number) >= len(table):
      return name
    path.append(table[int(number)])
  return ".".join(path) + pieces[-1]


def _split(name: str, tensor: Lazy) -> Tensors:
  """The projections that the original keeps in one tensor."""
  for fused, names in FUSED.items():
    if f".{fused}." in name and tensor.shape and tensor.shape[0] % len(names) == 0:
      rows = tensor.shape[0] // len(names)
      shape = (rows, *tensor.shape[1:])
      return {
        name.replace(fused, part): Lazy(shape, tensor.dtype, partial(_rows, tensor, i * rows, rows))
        for i, part in enumerate(names)
      }
  return {name: tensor}


def _rows(tensor: Lazy, start: int, count: int) -> np.ndarray:
  return tensor.read()[start : start + count]


def _plain(source: Path, tensors: Tensors) -> Tensors:
  """The tensors in float32, checked to be finite when read, and without weight norm."""
  found = {name: _float32(source, name, tensor) for name, tensor in tensors.items()}
  for name, direction in list(found.items()):
    for v, g in WEIGHT_NORM.items():
      stem = name.removesuffix(v)
      length = found.get(stem + g)
      if stem == name or length is None or len(direction.shape) != 3:
        continue
      if length.shape == (direction.shape[0], 1, 1):
        del found[name], found[stem + g]
        read = partial(_fold, length, direction)
        found[f"{stem}.weight"] = Lazy(direction.shape, direction.dtype, read)
  return found


def _float32(source: Path, name: str, tensor: Lazy) -> Lazy:
  if tensor.dtype not in (np.float32, np.float16, ml_dtypes.bfloat16):
    raise MismatchError(
      f"{source}: {name} is {tensor.dtype}, expected float32, float16 or bfloat16"
    )

  def read() -> np.ndarray:
    array = tensor.read().astype(np.float32, copy=False)
    if not np.isfinite(array).all():
      raise DataError(f"{source}: {name} holds NaN or infinity; copy the file again")
    return array

  return Lazy(tensor.shape, np.dtype(np.float32), read)


def _fold(length: Lazy, direction: Lazy) -> np.ndarray:
  """g·v/‖v‖, the norm over all axes but the first (also of a transposed convolution)."""
  v = direction.read()
  norm = np.sqrt(np.sum(np.square(v), axis=(1, 2), keepdims=True))
  return v * (length.read() / np.maximum(norm, np.finfo(np.float32).tiny))

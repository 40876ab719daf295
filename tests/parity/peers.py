"""Stable Audio pipelines of diffusers, small and random, saved as the public folders are."""

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from stemphonic_jax.data.batching.prompts import stem_prompt
from stemphonic_jax.data.taxonomy import STEM_TYPES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
diffusers = pytest.importorskip("diffusers")

LATENT, TOKENS, FRAMES = 6, 24, 128
PROMPTS = [stem_prompt(kind, "Relaxing country rock", STEM_TYPES[:3]) for kind in STEM_TYPES]


def stable_audio(
  heads: int = 2,
  memory_heads: int = 2,
  head_width: int = 64,
  depth: int = 2,
  text_width: int = 48,
  memory_width: int = 128,
  strides: tuple[int, ...] = (2, 4, 8),
) -> Any:
  """A whole pipeline whose weights are away from their initialisation, norms and Snake included."""
  torch.manual_seed(0)
  model = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
  vocabulary = [(model.id_to_piece(i), model.get_score(i)) for i in range(len(model))]
  pipeline = diffusers.StableAudioPipeline(
    vae=diffusers.AutoencoderOobleck(
      # One number of theirs is both the first width and twice the latent width.
      encoder_hidden_size=2 * LATENT,
      decoder_channels=2 * LATENT,
      channel_multiples=[1, 2, 4],
      downsampling_ratios=list(strides),
      decoder_input_channels=LATENT,
    ),
    text_encoder=transformers.T5EncoderModel(
      transformers.T5Config(
        vocab_size=len(model), d_model=text_width, d_kv=8, d_ff=64, num_heads=3, num_layers=2
      )
    ),
    projection_model=diffusers.StableAudioProjectionModel(text_width, text_width, 0, 512),
    tokenizer=transformers.T5Tokenizer(vocabulary, extra_ids=0, model_max_length=TOKENS),
    transformer=diffusers.StableAudioDiTModel(
      sample_size=FRAMES,
      in_channels=LATENT,
      out_channels=LATENT,
      num_layers=depth,
      attention_head_dim=head_width,
      num_attention_heads=heads,
      num_key_value_attention_heads=memory_heads,
      cross_attention_dim=memory_width,
      cross_attention_input_dim=text_width,
      global_states_input_dim=2 * text_width,
    ),
    scheduler=diffusers.EDMDPMSolverMultistepScheduler(prediction_type="v_prediction"),
  )
  for part in (
    pipeline.vae,
    pipeline.text_encoder,
    pipeline.projection_model,
    pipeline.transformer,
  ):
    part.eval().requires_grad_(False)
    for name, weight in part.named_parameters():
      if re.search(r"norm\d?\.weight", name):
        torch.nn.init.normal_(weight, 1.0, 0.3)
      elif "snake" in name:
        torch.nn.init.normal_(weight, std=0.3)
      elif name.endswith("weight_g"):  # so that folding weight norm is more than leaving it out
        weight *= torch.empty_like(weight).uniform_(0.5, 1.5)
  return pipeline


def sentencepiece_model() -> bytes:
  """A unigram model with T5's layout of ids."""
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(PROMPTS),
    model_writer=model,
    vocab_size=100,
    hard_vocab_limit=False,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    num_threads=1,
    minloglevel=2,
  )
  return model.getvalue()


def save_diffusers(pipeline: Any, folder: Path) -> Path:
  """The folder that diffusers publishes; what it saves today lacks the tokenizer's own model."""
  pipeline.save_pretrained(folder)
  (folder / "tokenizer" / "spiece.model").write_bytes(sentencepiece_model())
  return folder


def save_original(pipeline: Any, folder: Path, **changes: Any) -> Path:
  """The same weights as stable-audio-tools publishes them, and the T5 they need in `t5`.

  `changes` are added to model.diffusion of the config.
  """
  folder.mkdir()
  tensors = original_tensors(pipeline)
  safetensors = pytest.importorskip("safetensors.torch")
  safetensors.save_file(tensors, folder / "model.safetensors")
  content = original_config(pipeline)
  content["model"]["diffusion"] |= changes
  (folder / "model_config.json").write_text(json.dumps(content))
  pipeline.text_encoder.save_pretrained(folder / "t5")
  (folder / "t5" / "spiece.model").write_bytes(sentencepiece_model())
  return folder


def original_config(pipeline: Any) -> dict[str, Any]:
  """model_config.json of a pipeline, less what only training reads."""
  dit, vae = pipeline.transformer.config, pipeline.vae.config
  coder = {
    "channels": vae.encoder_hidden_size,
    "c_mults": vae.channel_multiples,
    "strides": vae.downsampling_ratios,
    "use_snake": True,
  }
  numbers = ["seconds_start", "seconds_total"]
  return {
    "model_type": "diffusion_cond",
    "sample_size": dit.sample_size * pipeline.vae.hop_length,
    "sample_rate": vae.sampling_rate,
    "audio_channels": 2,
    "model": {
      "pretransform": {
        "type": "autoencoder",
        "iterate_batch": True,
        "config": {
          "encoder": {
            "type": "oobleck",
            "config": {**coder, "in_channels": 2, "latent_dim": 2 * vae.decoder_input_channels},
          },
          "decoder": {
            "type": "oobleck",
            "config": {
              **coder,
              "out_channels": 2,
              "latent_dim": vae.decoder_input_channels,
              "final_tanh": False,
            },
          },
          "bottleneck": {"type": "vae"},
          "latent_dim": vae.decoder_input_channels,
          "downsampling_ratio": pipeline.vae.hop_length,
          "io_channels": 2,
        },
      },
      "conditioning": {
        "configs": [
          {"id": "prompt", "type": "t5", "config": {"t5_model_name": "t5", "max_length": TOKENS}},
          *(
            {"id": name, "type": "number", "config": {"min_val": 0, "max_val": 512}}
            for name in numbers
          ),
        ],
        "cond_dim": pipeline.projection_model.config.conditioning_dim,
      },
      "diffusion": {
        "cross_attention_cond_ids": ["prompt", *numbers],
        "global_cond_ids": numbers,
        "type": "dit",
        "config": {
          "io_channels": dit.in_channels,
          "embed_dim": dit.num_attention_heads * dit.attention_head_dim,
          "depth": dit.num_layers,
          "num_heads": dit.num_attention_heads,
          "cond_token_dim": dit.cross_attention_input_dim,
          "global_cond_dim": dit.global_states_input_dim,
          "project_cond_tokens": dit.cross_attention_dim != dit.cross_attention_input_dim,
          "transformer_type": "continuous_transformer",
        },
      },
      "io_channels": dit.in_channels,
    },
  }


BLOCK = {
  "attn1.to_out.0.weight": "self_attn.to_out.weight",
  "attn2.to_q.weight": "cross_attn.to_q.weight",
  "attn2.to_out.0.weight": "cross_attn.to_out.weight",
  "norm1.weight": "pre_norm.gamma",
  "norm1.bias": "pre_norm.beta",
  "norm2.weight": "cross_attend_norm.gamma",
  "norm2.bias": "cross_attend_norm.beta",
  "norm3.weight": "ff_norm.gamma",
  "norm3.bias": "ff_norm.beta",
  "ff.net.0.proj.weight": "ff.ff.0.proj.weight",
  "ff.net.0.proj.bias": "ff.ff.0.proj.bias",
  "ff.net.2.weight": "ff.ff.2.weight",
  "ff.net.2.bias": "ff.ff.2.bias",
}
OUTSIDE = {
  "timestep_proj": "to_timestep_embed",
  "global_proj": "to_global_embed",
  "cross_attention_proj": "to_cond_embed",
  "proj_in": "transformer.project_in",
  "proj_out": "transformer.project_out",
}
NUMBERS = {"start_number_conditioner": "seconds_start", "end_number_conditioner": "seconds_total"}
UNITS = {f"res_unit{i}": i - 1 for i in (1, 2, 3)}
STAGE = {
  "encoder": {**UNITS, "snake1": 3, "conv1": 4},
  "decoder": {"snake1": 0, "conv_t1": 1, **{name: i + 2 for name, i in UNITS.items()}},
}
UNIT = {"snake1": 0, "conv1": 1, "snake2": 2, "conv2": 3}


def original_tensors(pipeline: Any) -> dict[str, Any]:
  """All tensors of a pipeline but its T5's under the names of stable-audio-tools."""
  state = pipeline.transformer.state_dict()
  found = {"transformer.rotary_pos_emb.inv_freq": torch.ones(16)}
  found["timestep_features.weight"] = state.pop("time_proj.weight")[:, None]
  for i in range(pipeline.transformer.config.num_layers):
    theirs, ours = f"transformer_blocks.{i}.", f"transformer.layers.{i}."
    fused = {"self_attn.to_qkv": ("attn1", "qkv"), "cross_attn.to_kv": ("attn2", "kv")}
    for name, (attention, parts) in fused.items():
      rows = [state.pop(f"{theirs}{attention}.to_{part}.weight") for part in parts]
      found[f"{ours}{name}.weight"] = torch.cat(rows)
    found |= {ours + name: state.pop(theirs + old) for old, name in BLOCK.items()}
  for name, tensor in state.items():
    head, _, tail = name.partition(".")
    found[f"{OUTSIDE.get(head, head)}.{tail}"] = tensor
  tensors = {f"model.model.{name}": tensor for name, tensor in found.items()}
  for name, tensor in pipeline.projection_model.state_dict().items():
    head, _, tail = name.partition(".")
    tail = tail.replace("time_positional_embedding", "embedder.embedding")
    tensors[f"conditioner.conditioners.{NUMBERS[head]}.{tail}"] = tensor
  stages = len(pipeline.vae.config.downsampling_ratios)
  for name, tensor in pipeline.vae.state_dict().items():
    tensor = tensor.reshape(-1) if "snake" in name else tensor
    tensors[f"pretransform.model.{_numbered(name, stages)}"] = tensor
  return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _numbered(name: str, stages: int) -> str:
  """decoder.block.0.res_unit1.snake1.alpha is decoder.layers.1.layers.2.layers.0.alpha."""
  coder, *path, leaf = name.split(".")
  if path[0] == "block":
    numbers = [int(path[1]) + 1, STAGE[coder][path[2]], *(UNIT[word] for word in path[3:])]
  else:
    numbers = [{"conv1": 0, "snake1": stages + 1, "conv2": stages + 2}[path[0]]]
  return ".".join([coder, *(f"layers.{number}" for number in numbers), leaf])


def edit_json(path: Path, changes: Mapping[str, Any]) -> None:
  """Replaces keys of a JSON object; None removes one."""
  content = json.loads(path.read_text()) | dict(changes)
  path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))

"""Folders that are no Stable Audio Open, or no longer: one line, and nothing is written."""

import contextlib
import json
import math
import re
import shutil

import numpy as np
import pytest

from stemphonic_jax.errors import (
  DataError,
  MismatchError,
  MissingError,
  OutputError,
  StemphonicError,
)
from stemphonic_jax.weights.checkpoint import convert_checkpoint
from stemphonic_jax.weights.stable_audio import import_stable_audio
from stemphonic_jax.weights.stable_audio_folder import open_peer

peers = pytest.importorskip("tests.parity.peers")
torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


def edit(name, **changes):
  return lambda folder: peers.edit_json(folder / name, changes)


def edit_dit(**changes):
  def change(folder):
    path = folder / "model_config.json"
    content = json.loads(path.read_text())
    content["model"]["diffusion"]["config"] |= changes
    path.write_text(json.dumps(content))

  return change


def remove(name):
  def change(folder):
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()

  return change


def tensors(name, change):
  """Edits a dictionary of tensors in place of its file; what `change` returns replaces it."""

  def apply(folder):
    state = safetensors.load_file(folder / name)
    replaced = change(state)
    safetensors.save_file(replaced if isinstance(replaced, dict) else state, folder / name)

  return apply


def cut(name):
  def change(folder):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])

  return change


def write(name, text):
  return lambda folder: (folder / name).write_text(text)


def lora(state):
  return {
    f"{name[:-7]}.lora_A.weight": t[:1] for name, t in state.items() if name[-7:] == ".weight"
  }


def filled(name, value):
  return lambda state: state[name].fill_(value) is None


DAMAGES = {
  "another pipeline": (edit("model_index.json", _class_name="AudioLDM2Pipeline"), 78, "AudioLDM2"),
  "no pipeline": (remove("model_index.json"), 66, "neither model_index.json"),
  "one network": (
    lambda f: (f / "model_index.json").rename(f / "config.json"), 78, "whole StableAudioPipeline"
  ),
  "controlnet": (
    edit("transformer/config.json", _class_name="StableAudioControlNetModel"), 78, "ControlNet"
  ),
  "lora": (tensors(TRANSFORMER, lora), 78, "lora_A.weight is left over|is missing"),
  "adapter": (
    lambda f: (f / "model_index.json").rename(f / "pytorch_lora_weights.safetensors"), 78, "adapter"
  ),
  "no transformer": (remove("transformer"), 66, "transformer"),
  "no weights": (remove(TRANSFORMER), 66, "no weights"),
  "no autoencoder": (remove("vae"), 66, "vae"),
  "no numbers": (remove("projection_model"), 66, "projection_model"),
  "no text encoder": (remove("text_encoder"), 66, "text_encoder"),
  "no sentencepiece": (remove("tokenizer/spiece.model"), 65, r"spiece\.model"),
  "lacks a tensor": (
    tensors(TRANSFORMER, lambda s: s.pop("proj_in.weight") is None), 78, "proj_in.weight is missing"
  ),
  "one tensor too many": (
    tensors(TRANSFORMER, lambda s: s.update(more=torch.zeros(1))), 78, "more is left over"
  ),
  "another shape": (
    tensors(TRANSFORMER, lambda s: s.update({"proj_in.weight": torch.zeros(128, 5)})), 78,
    r"in_projection/kernel: file \(5, 128\)",
  ),
  "one block of another shape": (
    tensors(
      TRANSFORMER, lambda s: s.update({"transformer_blocks.1.ff.net.2.bias": torch.zeros(5)})
    ), 78, r"feed_forward/out/bias of block 1 is \(5,\)",
  ),
  "parts that do not go together": (
    tensors(
      TRANSFORMER,
      lambda s: s.update({"transformer_blocks.0.attn1.to_q.weight": torch.zeros(128, 5)})
    ), 78, "expected one shape",
  ),
  "whole numbers": (
    tensors(TRANSFORMER, lambda s: s.update({"proj_in.weight": torch.zeros(128, 6).int()})), 78,
    "proj_in.weight is int32",
  ),
  "not a number": (
    tensors(TRANSFORMER, filled("proj_in.weight", math.nan)), 65, "proj_in.weight holds NaN"
  ),
  "a norm with bias": (
    tensors(TRANSFORMER, filled("transformer_blocks.1.norm2.bias", 0.5)), 78, r"1\.norm2\.bias"
  ),
  "cut off": (cut(TRANSFORMER), 65, "cannot be read"),
  "cut off autoencoder": (cut("vae/diffusion_pytorch_model.safetensors"), 65, "cannot be read"),
  "not safetensors": (write(TRANSFORMER, "no tensors"), 65, "cannot be read"),
  "not json": (write("vae/config.json", "{"), 65, "not JSON"),
  "absent shards": (
    lambda f: (f / TRANSFORMER).rename(f / "transformer/model.safetensors") and write(
      f"{TRANSFORMER}.index.json", '{"weight_map": {"proj_in.weight": "shard-1.safetensors"}}'
    )(f), 65, "shard-1",
  ),
  "another time": (edit("transformer/config.json", time_proj_dim=128), 78, "time_proj_dim is 128"),
  "narrow heads": (
    edit("transformer/config.json", attention_head_dim=32), 78, "attention_head_dim is 32"
  ),
  "heads in no groups": (
    edit("transformer/config.json", num_key_value_attention_heads=3), 78, "groups of 3"
  ),
  "endless depth": (edit("transformer/config.json", num_layers=10**12), 78, "num_layers is 10000"),
  "more depth than weights": (
    edit("transformer/config.json", num_layers=10**5), 78, "num_layers is 100000"
  ),
  "width without end": (
    edit("transformer/config.json", attention_head_dim=1 << 18, num_attention_heads=1 << 18), 78,
    "do not fit",
  ),
  "endless hop": (edit("vae/config.json", downsampling_ratios=[9**5] * 3), 78, "the product of"),
  "depth in words": (edit("transformer/config.json", num_layers="two"), 78, "num_layers is 'two'"),
  "no depth": (edit("transformer/config.json", num_layers=None), 78, "num_layers is None"),
  "other latents": (edit("vae/config.json", decoder_input_channels=8), 78, "in_channels is 6"),
  "mono": (edit("vae/config.json", audio_channels=1), 78, "audio_channels is 1"),
  "strides": (edit("vae/config.json", downsampling_ratios=[2, 3]), 78, "channel_multiples is 3"),
  "projected text": (
    edit("projection_model/config.json", text_encoder_dim=32), 78, "text_encoder_dim is 32"
  ),
  "other seconds": (edit("projection_model/config.json", max_value=256), 78, "range of seconds"),
  "another objective": (
    edit("scheduler/scheduler_config.json", prediction_type="epsilon"), 78, "epsilon"
  ),
}  # fmt: skip

DAMAGES_OF_ORIGINAL = {
  "another model": (edit("model_config.json", model_type="diffusion_uncond"), 78, "model_type"),
  "no model": (edit("model_config.json", model=None), 78, "KeyError"),
  "model in words": (edit("model_config.json", model="SAO"), 78, "TypeError"),
  "no weights": (remove("model.safetensors"), 66, r"model\.safetensors"),
  "cut off": (cut("model.safetensors"), 65, "cannot be read"),
  "a checkpoint": (
    tensors(
      "model.safetensors",
      lambda s: {f"diffusion{'_ema' * (i % 2)}.{name}": t for i, (name, t) in enumerate(s.items())},
    ), 78, "not a training checkpoint",
  ),
  "a discriminator": (
    tensors("model.safetensors", lambda s: s.update({"discriminator.w": torch.zeros(1)})), 78,
    r"discriminator\.w",
  ),
  "a lora": (tensors("model.safetensors", lora), 78, "lora_A"),
  "fused weights cut": (
    tensors("model.safetensors", lambda s: s.update(
      {"model.model.transformer.layers.0.self_attn.to_qkv.weight": torch.zeros(383, 128)}
    )), 78, "to_qkv.weight is left over",
  ),
  "a stage too many": (
    tensors("model.safetensors", lambda s: s.update(
      {"pretransform.model.encoder.layers.6.weight_v": torch.zeros(1)}
    )), 78, r"encoder\.layers\.6",
  ),
  "normed queries": (edit_dit(attn_kwargs={"qk_norm": "ln"}), 78, "attn_kwargs"),
  "adaLN": (edit_dit(global_cond_type="adaLN"), 78, "adaLN"),
  "narrow heads": (edit_dit(num_heads=4), 78, "attention_head_dim is 32"),
  "no heads": (edit_dit(num_heads=0), 78, "ZeroDivisionError"),
}  # fmt: skip


@pytest.fixture(scope="module")
def peer():
  return peers.stable_audio(memory_heads=1, text_width=64, memory_width=64, strides=(2, 3, 7))


@pytest.fixture(scope="module")
def public(peer, tmp_path_factory):
  """The folder of diffusers."""
  return peers.save_diffusers(peer, tmp_path_factory.mktemp("public") / "peer")


@pytest.fixture(scope="module")
def original(peer, tmp_path_factory):
  return peers.save_original(peer, tmp_path_factory.mktemp("original") / "peer")


def refused(folder, out, text_encoder=None):
  """The error of an import that must fail, which leaves nothing behind."""
  before = sorted(out.parent.iterdir())
  with pytest.raises(StemphonicError) as error:
    import_stable_audio(folder, out, text_encoder)
  assert sorted(out.parent.iterdir()) == before
  assert "\n" not in str(error.value)
  return error.value


@pytest.mark.parametrize("name", DAMAGES)
def test_bad_input_is_one_line(name, public, tmp_path):
  damage, code, match = DAMAGES[name]
  folder = shutil.copytree(public, tmp_path / "peer")
  damage(folder)
  error = refused(folder, tmp_path / "ours")
  assert error.exit_code == code
  assert re.search(match, str(error))


@pytest.mark.parametrize("name", DAMAGES_OF_ORIGINAL)
def test_bad_input_of_the_original_is_one_line(name, original, tmp_path):
  damage, code, match = DAMAGES_OF_ORIGINAL[name]
  folder = shutil.copytree(original, tmp_path / "peer")
  damage(folder)
  error = refused(folder, tmp_path / "ours", folder / "t5")
  assert error.exit_code == code
  assert re.search(match, str(error))


def test_the_original_needs_a_text_encoder(original, tmp_path):
  error = refused(original, tmp_path / "ours")
  assert error.exit_code == 66
  assert "holds no text encoder" in str(error)


@pytest.mark.parametrize("name", [TRANSFORMER, "transformer/config.json", "model_index.json"])
def test_a_flipped_bit_is_at_worst_one_line(name, public, tmp_path):
  """In a header or a config; of the numbers themselves only NaN and infinity can be seen."""
  folder = shutil.copytree(public, tmp_path / "peer")
  data = (folder / name).read_bytes()
  rng = np.random.default_rng(3)
  for place in [0, 7, *rng.integers(8, min(len(data), 4000), 10)]:
    flipped = bytearray(data)
    flipped[place] ^= 1 << rng.integers(0, 7)
    (folder / name).write_bytes(flipped)
    with contextlib.suppress(DataError, MissingError, MismatchError):
      import_stable_audio(folder, tmp_path / "ours")
      shutil.rmtree(tmp_path / "ours")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["peer"]


def test_what_is_there_is_not_replaced(public, tmp_path):
  (tmp_path / "ours").mkdir()
  with pytest.raises(OutputError, match="already exists"):
    import_stable_audio(public, tmp_path / "ours")
  assert not list((tmp_path / "ours").iterdir())


def test_a_checkpoint_of_a_training_is_converted_and_imported_with_its_average(original, tmp_path):
  folder = shutil.copytree(original, tmp_path / "peer")
  state = safetensors.load_file(folder / "model.safetensors")
  training = {f"diffusion.{n}": 0 * t if n[:12] == "model.model." else t for n, t in state.items()}
  training |= {f"diffusion_ema.ema_{n}": t for n, t in state.items() if n[:12] == "model.model."}
  (folder / "model.safetensors").unlink()
  torch.save({"state_dict": training, "epoch": 3}, folder / "model.ckpt")
  error = refused(folder, tmp_path / "ours", folder / "t5")
  assert "model.ckpt is a PyTorch checkpoint: `stemphonic bundle convert" in str(error)
  convert_checkpoint(folder / "model.ckpt", folder / "model.safetensors")
  import_stable_audio(folder, tmp_path / "ours", folder / "t5")
  import_stable_audio(original, tmp_path / "plain", original / "t5")
  ours, plain = ((tmp_path / name / "dit.safetensors").read_bytes() for name in ("ours", "plain"))
  assert ours == plain


def test_of_a_folder_with_both_layouts_one_is_taken(public, original, tmp_path):
  both = shutil.copytree(public, tmp_path / "both")
  shutil.copytree(original, both, dirs_exist_ok=True)
  assert open_peer(both).layout == "diffusers"
  shutil.rmtree(both / "transformer")
  assert open_peer(both).layout == "original"

"""Names and numbers of Stable Audio Open that need no peer; tests/parity has the rest."""

import json

import numpy as np
import pytest

from stemphonic_jax.errors import MismatchError, MissingError
from stemphonic_jax.weights import stable_audio, stable_audio_folder
from stemphonic_jax.weights.stable_audio import import_stable_audio
from stemphonic_jax.weights.tensors import Lazy


def lazy(array):
  array = np.asarray(array, np.float32)
  return Lazy(array.shape, array.dtype, lambda: array)


@pytest.mark.parametrize(
  ("original", "diffusers"),
  [
    ("transformer.layers.3.self_attn.to_out.weight", "transformer_blocks.3.attn1.to_out.0.weight"),
    ("transformer.layers.3.cross_attn.to_q.weight", "transformer_blocks.3.attn2.to_q.weight"),
    ("transformer.layers.0.cross_attend_norm.gamma", "transformer_blocks.0.norm2.weight"),
    ("transformer.layers.0.ff.ff.0.proj.bias", "transformer_blocks.0.ff.net.0.proj.bias"),
    ("transformer.layers.0.ff.ff.2.weight", "transformer_blocks.0.ff.net.2.weight"),
    ("transformer.project_in.weight", "proj_in.weight"),
    ("to_timestep_embed.0.bias", "timestep_proj.0.bias"),
    ("timestep_features.weight", "time_proj.weight"),
    ("preprocess_conv.weight", "preprocess_conv.weight"),
    (
      "seconds_total.embedder.embedding.0.weights",
      "end_number_conditioner.time_positional_embedding.0.weights",
    ),
  ],
)
def test_names_of_the_original(original, diffusers):
  assert stable_audio_folder._diffusers_name(original) == diffusers


@pytest.mark.parametrize(
  ("original", "diffusers"),
  [
    ("encoder.layers.0.weight_g", "encoder.conv1.weight_g"),
    ("encoder.layers.1.layers.0.layers.0.alpha", "encoder.block.0.res_unit1.snake1.alpha"),
    ("encoder.layers.5.layers.3.beta", "encoder.block.4.snake1.beta"),
    ("encoder.layers.5.layers.4.bias", "encoder.block.4.conv1.bias"),
    ("encoder.layers.6.alpha", "encoder.snake1.alpha"),
    ("encoder.layers.7.weight_v", "encoder.conv2.weight_v"),
    ("decoder.layers.1.layers.0.alpha", "decoder.block.0.snake1.alpha"),
    ("decoder.layers.1.layers.1.weight_v", "decoder.block.0.conv_t1.weight_v"),
    ("decoder.layers.2.layers.4.layers.3.bias", "decoder.block.1.res_unit3.conv2.bias"),
    ("decoder.layers.8.bias", "decoder.layers.8.bias"),
    ("bottleneck.noise", "bottleneck.noise"),
  ],
)
def test_names_of_the_originals_autoencoder(original, diffusers):
  assert stable_audio_folder._diffusers_vae_name(original, stages=5) == diffusers


def test_weight_norm_is_a_length_and_a_direction():
  direction = lazy([[[3.0, 0.0], [0.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]])
  plain = stable_audio_folder._plain(
    "file", {"conv.weight_v": direction, "conv.weight_g": lazy([[[10.0]], [[6.0]]])}
  )
  assert set(plain) == {"conv.weight"}
  np.testing.assert_allclose(
    plain["conv.weight"].read(), [[[6.0, 0.0], [0.0, 8.0]], [[3.0, 3.0], [3.0, 3.0]]]
  )


def test_kernels_have_their_outputs_last():
  def shape(ours, *theirs):
    leaf = stable_audio._leaf(ours, lazy(np.zeros(theirs)))
    assert leaf.read().shape == leaf.shape
    return leaf.shape

  assert shape("time_out/kernel", 5, 2) == (2, 5)
  assert shape("in_residual/kernel", 5, 5, 1) == (5, 5)
  assert shape("encoder/conv1/kernel", 12, 2, 7) == (7, 2, 12)
  assert shape("decoder/block_0/conv_t1/kernel", 24, 12, 8) == (8, 24, 12)
  assert shape("encoder/snake1/alpha", 1, 9, 1) == (9,)
  assert shape("time_frequency", 128, 1) == (128,)


def test_blocks_are_stacked_and_parts_joined():
  parts = [lazy(np.full((3, 2), n)) for n in (4, 5, 6)]
  joined = stable_audio._join("file", "qkv", parts)
  assert joined.shape == (3, 6)
  np.testing.assert_array_equal(joined.read()[0], [4, 4, 5, 5, 6, 6])
  stacked = stable_audio._stack("file", "qkv", [joined, joined])
  np.testing.assert_array_equal(stacked.read(), [joined.read()] * 2)
  with pytest.raises(MismatchError, match="expected one shape"):
    stable_audio._join("file", "qkv", [lazy(np.zeros((3, 4))), lazy(np.zeros((3, 2)))])
  with pytest.raises(MismatchError, match=r"block 1 is \(2,\), of block 0 it is \(3,\)"):
    stable_audio._stack("file", "gain", [lazy(np.zeros(3)), lazy(np.zeros(2))])


def test_what_is_no_stable_audio_is_said_to_be_none(tmp_path):
  def refused(match, kind, folder):
    with pytest.raises(kind, match=match):
      import_stable_audio(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()

  refused("no such folder", MissingError, tmp_path / "absent")
  folder = tmp_path / "folder"
  folder.mkdir()
  refused("neither model_index.json", MissingError, folder)
  (folder / "adapter_model.safetensors").touch()
  refused("is an adapter", MismatchError, folder)
  (folder / "config.json").write_text(json.dumps({"_class_name": "ControlNetModel"}))
  refused("one network .ControlNetModel", MismatchError, folder)
  (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
  refused("'FluxPipeline', expected 'StableAudioPipeline'", MismatchError, folder)

"""What is no MusicGen is refused in one line that says what it is."""

import json

import numpy as np
import pytest

from stemphonic_jax.errors import DataError, MismatchError, MissingError
from stemphonic_jax.tokens.delay import MUSICGEN_STEM
from stemphonic_jax.weights.lazy import Lazy
from stemphonic_jax.weights.musicgen import import_musicgen, open_musicgen
from stemphonic_jax.weights.tensors import materialize, save_params
from tests.weights import torch_files

D, V, K, TEXT = 8, 16, 6, 5
DESCRIPTION = "condition_provider.conditioners.description.output_proj"


def audiocraft(streams=K, **changes):
  """One block by audiocraft's names."""
  shapes = {f"emb.{k}.weight": (V + 1, D) for k in range(streams)}
  shapes |= {f"linears.{k}.weight": (V, D) for k in range(streams)}
  shapes |= {f"{DESCRIPTION}.weight": (D, TEXT), f"{DESCRIPTION}.bias": (D,)}
  block = "transformer.layers.0."
  for part in ("self_attn", "cross_attention"):
    shapes |= {
      f"{block}{part}.in_proj_weight": (3 * D, D),
      f"{block}{part}.out_proj.weight": (D, D),
    }
  shapes |= {f"{block}linear1.weight": (32, D), f"{block}linear2.weight": (D, 32)}
  for name in ("norm1", "norm_cross", "norm2"):
    shapes |= {f"{block}{name}.{leaf}": (D,) for leaf in ("weight", "bias")}
  shapes |= {f"out_norm.{leaf}": (D,) for leaf in ("weight", "bias")}
  rng = np.random.default_rng(0)
  return {n: rng.standard_normal(s, np.float32) for n, s in (shapes | changes).items() if s}


def saved(path, tensors, config="transformer_lm: {num_heads: 2}"):
  state = torch_files.whole(tensors)
  items = {"best_state": state, "xp.cfg": torch_files.text(config)}
  storages = {str(i): array for i, array in enumerate(tensors.values())}
  path.write_bytes(torch_files.archive(torch_files.mapping(items), storages))
  return path


def lazy(tensors):
  return {n: Lazy(a.shape, a.dtype, lambda a=a: a) for n, a in tensors.items()}


def test_a_model_of_six_streams_is_musicgen_stem(tmp_path):
  tensors = audiocraft()
  found = open_musicgen(saved(tmp_path / "state_dict.bin", tensors).parent)
  assert found.delays == MUSICGEN_STEM
  assert (found.model.heads, found.model.streams, found.model.vocabulary) == (2, K, V)
  params = materialize(found.params)
  stereo = "interleave_stereo_codebooks: {use: true}\n"
  stereo += "codebooks_pattern: {modeling: delay, delay: {delays: [0, 0, 1, 1, 2, 2]}}"
  path = saved(tmp_path / "stereo.bin", tensors, "transformer_lm: {num_heads: 2}\n" + stereo)
  assert open_musicgen(path).stereo
  assert open_musicgen(path).delays == (0, 0, 1, 1, 2, 2)
  fused = tensors["transformer.layers.0.cross_attention.in_proj_weight"]
  np.testing.assert_array_equal(params["blocks"]["query"]["kernel"][0], fused[:D].T)
  np.testing.assert_array_equal(params["blocks"]["key_value"]["kernel"][0], fused[D:].T)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"transformer.layers.0.linear1.lora_A.weight": (2, D)}, "LoRA adapter; merge it"),
    ({"condition_provider.conditioners.self_wav.output_proj.bias": (D,)}, "more than text"),
    ({"out_norm.bias": None}, "out_norm.bias: file lacks it"),
    ({"emb.0.weight": None}, "is no MusicGen: emb.0.weight is missing"),
    ({"linears.1.weight": (V + 1, D)}, r"linears.1.weight: file \(17, 8\)"),
  ],
)
def test_other_tensors_are_refused(changes, message, tmp_path):
  with pytest.raises(MismatchError, match=message):
    import_musicgen(tmp_path, lazy(audiocraft(**changes)), 2)
  with pytest.raises(MismatchError, match="3 heads do not share a width of 8"):
    import_musicgen(tmp_path, lazy(audiocraft()), 3)


@pytest.mark.parametrize(
  ("config", "message"),
  [
    ("codebooks_pattern: {modeling: unroll}", "modeling is 'unroll', expected 'delay'"),
    ("codebooks_pattern: {delay: {delays: [0, 1]}}", r"delays \[0, 1\] for 6 streams"),
    ("codebooks_pattern: {delay: {delays: 5}}", "delays 5 for 6 streams"),
    ("codebooks_pattern: {delay: {delays: [0, 1, 2, 3, 4, 9999]}}", "expected one of 0 to 100"),
    ("interleave_stereo_codebooks: {use: true, per_timestep: true}", "'True', expected False"),
    ("transformer_lm: {positional_embedding: rope}", "'rope', expected 'sin'"),
    ("transformer_lm: {num_heads: -2}", "-2 heads do not share a width of 8"),
    ("a: [", "xp.cfg is not YAML"),
  ],
)
def test_other_configs_of_audiocraft_are_refused(config, message, tmp_path):
  with pytest.raises((MismatchError, DataError), match=message):
    open_musicgen(saved(tmp_path / "state_dict.bin", audiocraft(), config))


def test_a_file_that_points_elsewhere_is_refused(tmp_path):
  path = tmp_path / "state_dict.bin"
  items = {"pretrained": torch_files.text("facebook/encodec_32khz")}
  path.write_bytes(torch_files.archive(torch_files.mapping(items), {}))
  with pytest.raises(MismatchError, match=r"has no best_state.*got pretrained"):
    open_musicgen(path)
  with pytest.raises(MissingError, match="no MusicGen here"):
    open_musicgen(tmp_path / "elsewhere")


@pytest.mark.parametrize(
  ("config", "message"),
  [
    ({"model_type": "musicgen_melody"}, "'musicgen_melody', expected 'musicgen'"),
    ({"model_type": "musicgen"}, "has no 'decoder'"),
    ({"model_type": "musicgen", "decoder": {"activation_function": "relu"}}, "is 'relu'"),
    ({"model_type": "musicgen", "decoder": {"audio_channels": 3}}, "expected 1 or 2"),
    ({"model_type": "musicgen", "decoder": {}}, "has no weights"),
  ],
)
def test_folders_of_other_models_are_refused(config, message, tmp_path):
  (tmp_path / "config.json").write_text(json.dumps(config))
  with pytest.raises((MismatchError, MissingError), match=message):
    open_musicgen(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps({"model_type": "musicgen", "decoder": {}}))
  save_params(tmp_path / "model.safetensors", {"w": np.zeros(3, np.float32)})
  with pytest.raises(MismatchError, match=r"embed_tokens\.0\.weight is missing"):
    open_musicgen(tmp_path)

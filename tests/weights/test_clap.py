"""CLAP out of the folders that people have; what it computes is in tests/parity."""

import json

import jax
import numpy as np
import pytest

from stemphonic_jax.errors import DataError, MismatchError, MissingError
from stemphonic_jax.weights.clap import open_clap
from stemphonic_jax.weights.tensors import materialize
from tests.weights import judges
from tests.weights.torch_files import archive, whole


def test_a_checkpoint_and_safetensors_are_the_same_model(tmp_path):
  tensors = judges.clap()
  found = open_clap(judges.save_clap(tmp_path / "a", tensors))
  assert (found.model.audio, found.bands) == (judges.CLAP_MODEL.audio, 64)
  assert found.model.width == 6
  folder = tmp_path / "b"
  folder.mkdir()
  judges.save_tokenizer(folder)
  named = {f"module.{name}": tensor for name, tensor in tensors.items()}
  storages = {str(i): tensor for i, tensor in enumerate(named.values())}
  (folder / "music.pt").write_bytes(archive(whole(named), storages))
  again = open_clap(folder)
  jax.tree.map(np.testing.assert_array_equal, materialize(found.params), materialize(again.params))
  assert found.sha256 != again.sha256


CONFIG = {"model_type": "clap", "text_config": {"num_attention_heads": 2, "layer_norm_eps": 1e-5}}


def test_a_config_says_what_tensors_do_not(tmp_path):
  folder = judges.save_clap(tmp_path / "clap")
  assert (found := open_clap(folder).model.text).heads == 1
  assert found.epsilon == 1e-5
  for text, heads, epsilon in (
    (CONFIG["text_config"], 2, 1e-5),
    ({"num_attention_heads": 4}, 4, 1e-12),
  ):
    (folder / "config.json").write_text(json.dumps(CONFIG | {"text_config": text}))
    assert (found := open_clap(folder).model.text).heads == heads
    assert found.epsilon == epsilon
  (folder / "config.json").write_text(
    json.dumps({"model_type": "roberta", "num_attention_heads": 2, "layer_norm_eps": 1e-5})
  )
  assert open_clap(folder).model.text.heads == 2
  for change, message in (
    ({"model_type": "clip"}, "model_type is 'clip', not 'clap'"),
    ({"audio_config": {"enable_fusion": True}}, "audio_config.enable_fusion is 'True', expected"),
    ({"text_config": {"hidden_act": "relu"}}, "text_config.hidden_act is 'relu', expected 'gelu'"),
    ({"text_config": {"layer_norm_eps": 2}}, "no layer_norm_eps or num_attention_heads"),
    ({"text_config": {"num_attention_heads": 3}}, "is no CLAP: 64 bands, 1 stages"),
    ({"text_config": 7}, "not 'clap'"),
  ):
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(MismatchError, match=message):
      open_clap(folder)


def test_other_folders_are_refused_in_one_line(tmp_path):
  def refused(error, message, tensors=None):
    if tensors is not None:
      judges.save(folder / "music.safetensors", tensors)
    with pytest.raises(error, match=message) as caught:
      open_clap(folder)
    assert "\n" not in str(caught.value)

  folder = tmp_path / "clap"
  refused(MissingError, "no such folder of a CLAP")
  judges.save_clap(folder)
  (folder / "epoch.pt").touch()
  refused(MissingError, r"expected one file of weights .*, got epoch\.pt, music\.safetensors")
  (folder / "epoch.pt").unlink()
  tensors = judges.clap()
  fusion = {"audio_branch.patch_embed.mel_conv2d.weight": np.ones(2, np.float32)}
  refused(
    MismatchError, "mel_conv2d.weight: a CLAP with fusion; take one without", tensors | fusion
  )
  more = {"audio_branch.layers.0.blocks.1.norm1.weight": np.ones(4, np.float32)}
  refused(MismatchError, "12 tensors do not fit; audio_branch.layers.0.blocks.1.", tensors | more)
  refused(
    MismatchError, "a: file .2,. float32, model lacks it", tensors | {"a": np.ones(2, np.float32)}
  )
  less = {name: tensor for name, tensor in tensors.items() if "patch_embed" not in name}
  refused(MismatchError, "is no CLAP: audio_branch.patch_embed.proj.weight is missing", less)
  few = {"text_branch.embeddings.word_embeddings.weight": np.ones((100, 8), np.float32)}
  refused(MismatchError, "the tokenizer has 262 ids, the model 100", tensors | few)
  judges.save(folder / "music.safetensors", tensors)
  (folder / "merges.txt").unlink()
  refused(MissingError, r"needs vocab\.json and merges\.txt, or tokenizer\.json")
  (folder / "merges.txt").write_text("a\n")
  refused(DataError, r"\['a'\] is no pair of its vocabulary; copy it again")

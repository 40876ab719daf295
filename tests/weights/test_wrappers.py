"""What training tools put around a model is taken off, and said; hints for lone checkpoints."""

import functools
from pathlib import Path

import pytest

from stemphonic_jax.bench.reconstruction import load_vae
from stemphonic_jax.data.batching.records import open_records
from stemphonic_jax.data.sources.catalogue import scan
from stemphonic_jax.errors import MissingError
from stemphonic_jax.evaluation.songs.trained import find_models
from stemphonic_jax.weights.clap import open_clap
from stemphonic_jax.weights.codec import open_codec
from stemphonic_jax.weights.encodec import open_encodec
from stemphonic_jax.weights.musicgen import open_musicgen
from stemphonic_jax.weights.musicgen_folder import open_folder
from stemphonic_jax.weights.signed import find_bundle
from stemphonic_jax.weights.stable_audio_folder import open_peer
from stemphonic_jax.weights.t5 import find_tokenizer, open_huggingface
from stemphonic_jax.weights.wrappers import hint, unwrap

PARTS = ("model.model.a.weight", "pretransform.model.b", "conditioner.conditioners.c")
PLAIN = {name: name for name in PARTS}


def unwrapped(tensors):
  return unwrap(Path("x.ckpt"), tensors)


@pytest.mark.parametrize(
  "tensors", [PLAIN, {"module.a": 1, "b": 2}, {"diffusion.a": 1, "b": 2}, {}]
)
def test_names_of_a_model_stay(tensors, warned):
  assert unwrapped(tensors) == tensors
  assert warned == []


@pytest.mark.parametrize(
  "prefixes",
  [["module."], ["_orig_mod."], ["diffusion."], ["module.", "_orig_mod.", "diffusion."]],
  ids="".join,
)
def test_prefixes_of_all_names_are_taken_off_and_said(prefixes, warned):
  wrapped = {"".join(prefixes) + name: tensor for name, tensor in PLAIN.items()}
  assert unwrapped(wrapped) == PLAIN
  assert len(warned) == len(prefixes)
  assert all(any(repr(prefix) in line for line in warned) for prefix in prefixes)


def test_compiled_parts_lose_their_word_wherever_it_is(warned):
  assert unwrapped({"model._orig_mod.a": 1, "b": 2}) == {"model.a": 1, "b": 2}
  assert warned == ["x.ckpt: '_orig_mod.' is taken off the names of its tensors"]


def test_a_transformer_by_itself_and_one_beside_its_parts(warned):
  assert unwrapped({"model.diffusion_model.a": 1}) == {"a": 1}
  comfy = {"model.diffusion_model.a.weight": PARTS[0]} | {name: name for name in PARTS[1:]}
  assert unwrapped(comfy) == PLAIN
  assert "'model.diffusion_model.' is read as 'model.model.'" in warned[1]


def test_of_a_training_of_stable_audio_tools_the_average_is_taken(warned):
  training = {
    f"diffusion.{name}": "in training" if "model.model" in name else name for name in PARTS
  }
  training |= {"diffusion_ema.ema_model.model.a.weight": PARTS[0], "losses.window": 0}
  training |= {"diffusion_ema.initted": 1, "diffusion_ema.step": 7}
  assert unwrapped(training) == PLAIN
  assert "1 averaged tensors (diffusion_ema.ema_model.) are taken instead" in warned[0]
  assert "left out: diffusion.model.model.a.weight" not in warned[0]
  assert "losses.window, diffusion_ema.initted, diffusion_ema.step" in warned[0]


def test_of_an_average_by_itself_and_of_an_autoencoder(warned):
  average = {"ema_model.a": 1, "online_model.a": 2, "initted": 1, "step": 9}
  assert unwrapped(average) == {"a": 1}
  training = {"autoencoder.a": 2, "autoencoder_ema.ema_model.a": 1, "discriminator.b": 3}
  assert unwrapped(training) == {"a": 1}


@pytest.mark.parametrize("opened", [find_bundle, open_peer, open_huggingface])
def test_a_lone_checkpoint_names_what_makes_safetensors_of_it(tmp_path, opened):
  checkpoint = tmp_path / "model.ckpt"
  checkpoint.touch()
  with pytest.raises(MissingError, match=rf"bundle convert {checkpoint} .*model\.safetensors`"):
    opened(checkpoint)
  checkpoint.rename(tmp_path / "weights.safetensors")
  with pytest.raises(MissingError, match=f"it is a file: name the folder, {tmp_path}$"):
    opened(tmp_path / "weights.safetensors")
  assert hint(tmp_path) == hint(tmp_path / "none") == ""


OPENERS = [open_encodec, open_codec, open_clap, open_musicgen, open_folder, find_tokenizer]
OPENERS += [open_records, load_vae, functools.partial(scan, "folder"), find_models]


@pytest.mark.parametrize("opened", OPENERS, ids=lambda one: getattr(one, "__name__", "scan"))
def test_a_file_of_a_folder_names_the_folder(tmp_path, opened):
  """Whatever opens a folder is given a file in it by people who look at the largest."""
  file = tmp_path / "model.safetensors"
  file.touch()
  more = ("a",) if opened is find_models else ()
  with pytest.raises(MissingError, match=f"it is a file: name the folder, {tmp_path}$"):
    opened(file, *more)


@pytest.mark.parametrize("opened", [find_bundle, open_peer])
def test_a_folder_with_nothing_but_a_checkpoint_names_it_too(tmp_path, opened):
  (tmp_path / "epoch=3.ckpt").touch()
  with pytest.raises(
    MissingError, match=r"epoch=3\.ckpt is a PyTorch checkpoint: `stemphonic bundle"
  ):
    opened(tmp_path)

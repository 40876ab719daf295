"""Model folders: what is saved comes back, and nothing is built from one that is not whole."""

import functools
import hashlib
import json
import re
import shutil

import jax
import numpy as np
import pytest
from safetensors import numpy as safetensors

from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.errors import (
  DataError,
  MismatchError,
  MissingError,
  OutputError,
  StemphonicError,
)
from stemphonic_jax.weights import bundle, signed
from stemphonic_jax.weights.architecture import build_vae, vae_shapes
from stemphonic_jax.weights.known import read_known
from stemphonic_jax.weights.tensors import materialize, save_params
from tests import tiny

FILES = (*bundle.FILES, "manifest.json")


@pytest.fixture
def folder(tmp_path):
  """A copy of the model that a test may damage."""
  return shutil.copytree(tiny.model(), tmp_path / "model")


def sign(folder):
  """Makes the manifest agree with the files, whatever they hold."""
  manifest = {}
  for path in set(folder.iterdir()) - {folder / "manifest.json"}:
    data = path.read_bytes()
    manifest[path.name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
  (folder / "manifest.json").write_text(json.dumps(manifest))


def edit_config(folder, **changes):
  path = folder / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))
  sign(folder)


def assert_equal(a, b):
  a = materialize(a)
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_model_survives_its_folder(folder):
  loaded, parts = bundle.load_bundle(folder), tiny.parts()
  assert_equal(loaded.dit_params, parts["dit_params"])
  assert_equal(loaded.vae_params, parts["vae_params"])
  assert loaded.tokenizer.model == parts["tokenizer"].model
  np.testing.assert_array_equal(loaded.statistics.mean, parts["statistics"].mean)
  np.testing.assert_array_equal(loaded.statistics.std, parts["statistics"].std)
  assert loaded.config | json.loads(json.dumps(tiny.CONFIG)) == loaded.config
  assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_rotations_of_the_noise_are_part_of_the_model(tmp_path):
  folder = tiny.save_model(tmp_path / "model", sample={"align_noise": True})
  half = bundle.export_bundle(folder, tmp_path / "half", half=True)
  for loaded in (bundle.load_bundle(folder), half):
    assert loaded.turns.keys() == set(tiny.TURNED)
    for name, turn in tiny.turns(tiny.LATENT).items():
      np.testing.assert_array_equal(loaded.turns[name], turn)
  assert "in steps 2 to 3, aligned noise\n" in bundle.describe(half)
  assert bundle.load_bundle(tiny.model()).turns == {}
  (folder / bundle.ALIGNMENT).unlink()
  with pytest.raises(MissingError, match=r"alignment\.safetensors is missing"):
    bundle.load_bundle(folder)


def test_a_model_of_one_type_has_nothing_to_align(tmp_path, monkeypatch):
  monkeypatch.setattr(tiny, "TURNED", ())
  assert bundle.load_bundle(tiny.save_model(tmp_path, sample={"align_noise": True})).turns == {}


@pytest.mark.parametrize("turn", [np.eye(7, dtype=np.float32), np.eye(8), np.ones(8, np.float32)])
def test_rotations_that_do_not_fit_are_named(tmp_path, turn):
  folder = tiny.save_model(tmp_path / "model", sample={"align_noise": True})
  safetensors.save_file({"keys": turn}, folder / bundle.ALIGNMENT)
  sign(folder)
  with pytest.raises(MismatchError, match=r"keys is .*, expected \(8, 8\) float32"):
    bundle.load_bundle(folder)


def test_the_same_model_has_the_same_fingerprint(tmp_path):
  first = bundle.load_bundle(tiny.model())
  again = bundle.load_bundle(tiny.save_model(tmp_path / "again"))
  other = bundle.load_bundle(tiny.save_model(tmp_path / "other", seconds=1.0))
  assert first.fingerprint == again.fingerprint != other.fingerprint


def test_a_workdir_is_as_good_as_its_model(folder):
  assert signed.find_bundle(folder) == folder
  assert signed.find_bundle(folder.parent) == folder


def test_what_is_known_before_weights_are_read_is_the_same(folder):
  known, loaded = read_known(folder), bundle.load_bundle(folder)
  assert known.hop == loaded.vae.hop == 3584
  assert (known.channels, known.fingerprint) == (loaded.vae.latent, loaded.fingerprint)
  config = {**loaded.config, "vae": {"architecture": "spectral", "stacked": 8}}  # others as ever
  edit_config(folder, **config)
  assert (read_known(folder).hop, read_known(folder).channels) == (8 * 896, 64)


def test_a_folder_of_something_else_keeps_its_files(tmp_path):
  theirs = tmp_path / "config.json"
  for text in ('{"format": "another program"}', "[]", "no JSON"):
    theirs.write_text(text)
    with pytest.raises(OutputError, match=r"config\.json: is not of what was saved here before"):
      tiny.save_model(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(theirs.name, text)]


def test_where_there_is_no_model_the_error_says_so(tmp_path):
  with pytest.raises(MissingError, match="nothing: no such model folder"):
    bundle.load_bundle(tmp_path / "nothing")
  (tmp_path / "file").touch()
  with pytest.raises(
    MissingError, match="file: no such model folder; it is a file: name the folder"
  ):
    bundle.load_bundle(tmp_path / "file")
  (tmp_path / "foreign").mkdir()
  (tmp_path / "foreign" / "pytorch_model.bin").touch()
  with pytest.raises(MissingError, match="holds no model"):
    bundle.load_bundle(tmp_path / "foreign")


@pytest.mark.parametrize("name", bundle.FILES)
def test_a_missing_file_is_named(folder, name):
  (folder / name).unlink()
  with pytest.raises(MissingError, match=re.escape(name)):
    bundle.load_bundle(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
def test_a_flipped_bit_anywhere_is_found(folder, name, place):
  path = folder / name
  data = bytearray(path.read_bytes())
  data[round(place * (len(data) - 1))] ^= 4
  path.write_bytes(data)
  with pytest.raises(StemphonicError) as error:
    bundle.load_bundle(folder)
  assert error.value.exit_code in (65, 66, 78)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_file_cut_off_is_found(folder, name, kept):
  data = (folder / name).read_bytes()
  (folder / name).write_bytes(data[: round(kept * len(data))])
  with pytest.raises(DataError, match=re.escape(name)):
    bundle.load_bundle(folder)


def test_cut_off_tensors_are_found_without_the_manifest_too(folder):
  path = folder / "dit.safetensors"
  path.write_bytes(path.read_bytes()[:-100])
  sign(folder)
  with pytest.raises(DataError, match=r"dit\.safetensors: cannot be read"):
    bundle.load_bundle(folder)


def test_another_format_is_refused(folder):
  edit_config(folder, format="stemphonic_jax model 2")
  with pytest.raises(MismatchError, match="'stemphonic_jax model 2' is newer than"):
    bundle.load_bundle(folder)


@pytest.mark.parametrize(
  "changes",
  [
    {"vae": {}},
    {"vae": None},
    {"latents": {}},
    {"latents": {"mean": [0.0], "std": [1.0]}},
    {"dit": {"a": 1}},
    {"dit": tiny.CONFIG["dit"] | {"dtype": "float8"}},
    {"sample": {}},
    {"dropout": {"text": 0.1}},
    {"seconds": None},
  ],
)
def test_a_config_without_its_numbers_is_refused(folder, changes):
  edit_config(folder, **changes)
  with pytest.raises(MismatchError, match=r"config\.json"):
    bundle.load_bundle(folder)


def test_tensors_of_another_size_are_named_with_both_shapes(folder):
  edit_config(folder, dit=tiny.CONFIG["dit"] | {"width": 64})
  with pytest.raises(MismatchError, match="tensors do not fit") as error:
    bundle.load_bundle(folder)
  assert "blocks/cross_attention/key_value/kernel: file (2, 32, 64) float32" in str(error.value)
  assert "model (2, 64, 128) float32" in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda flat: flat.pop("encoder/conv1/bias"), "encoder/conv1/bias: file lacks it"),
    (lambda flat: flat.update(x=np.zeros(1)), r"x: file \(1,\) float64, model lacks it"),
    (
      lambda flat: flat.update({"encoder/conv1/bias": np.zeros(4, np.int32)}),
      r"file \(4,\) int32, model \(4,\) float32",
    ),
  ],
)
def test_tensors_missing_left_over_or_of_another_type_are_named(folder, change, message):
  path = folder / "vae.safetensors"
  flat = safetensors.load_file(path)
  change(flat)
  safetensors.save_file(flat, path)
  sign(folder)
  with pytest.raises(MismatchError, match=message):
    bundle.load_bundle(folder)


@pytest.mark.parametrize(
  "change",
  [
    {"seconds": "long"},
    {"seconds": 0},
    {"sample": tiny.CONFIG["sample"] | {"guidance": None}},
    {"sample": tiny.CONFIG["sample"] | {"interval": (9, 3)}},
    {"sample": tiny.CONFIG["sample"] | {"steps": 0}},
  ],
)
def test_numbers_that_make_no_song_are_refused_before_weights_are_read(folder, change):
  edit_config(folder, **change)
  for read in (bundle.load_bundle, read_known):
    with pytest.raises(MismatchError, match=r"config\.json: wrong or missing: "):
      read(folder)


def test_a_tokenizer_with_more_ids_than_the_encoder_is_refused(folder, tmp_path):
  edit_config(folder, text=tiny.CONFIG["text"] | {"vocabulary": 7})
  with pytest.raises(MismatchError, match=r"text_encoder/tokens/embedding: .*|512 ids"):
    bundle.load_bundle(folder)
  imported = tiny.save_model(tmp_path / "imported", **tiny.IMPORTED)
  large = Tokenizer.train(
    ["every word of this is new " * 9, *map(chr, range(60, 600))], tmp_path / "large.model", 900
  )
  (imported / "tokenizer.model").write_bytes(large.model)
  sign(imported)
  with pytest.raises(MismatchError, match=rf"has {len(large)} ids, the text encoder 512"):
    bundle.load_bundle(imported)


def test_a_frozen_text_encoder_is_part_of_the_model(tmp_path):
  folder = tiny.save_model(tmp_path / "model", **tiny.IMPORTED)
  loaded = bundle.load_bundle(folder)
  assert_equal(loaded.text_encoder.params, tiny.text_encoder().params)
  (folder / bundle.TEXT_ENCODER).unlink()
  with pytest.raises(MissingError, match=r"text_encoder\.safetensors is missing"):
    bundle.load_bundle(folder)


def test_a_text_encoder_of_another_width_is_refused(tmp_path):
  folder = tiny.save_model(tmp_path / "model", **tiny.IMPORTED)
  text = json.loads((folder / "config.json").read_text())["text"]
  edit_config(folder, text=text | {"width": 64})
  with pytest.raises(MismatchError, match=r"T5 is 32 wide, config.json says 64"):
    bundle.load_bundle(folder)


def test_saving_again_replaces_the_model_and_leaves_what_the_user_put_there(folder):
  (folder / "README.md").write_text("mine")
  (folder / bundle.ALIGNMENT).touch()  # of a model that had its noise aligned
  tiny.save_model(folder, seconds=1.0)
  assert sorted(path.name for path in folder.iterdir()) == sorted({*FILES, "README.md"})
  assert (folder / "README.md").read_text() == "mine"
  assert bundle.load_bundle(folder).config["seconds"] == 1.0
  assert list(folder.parent.iterdir()) == [folder]


def test_a_failure_while_saving_leaves_the_old_model(folder, monkeypatch):
  before = bundle.load_bundle(folder).fingerprint

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(bundle, "save_params", full)
  with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"):
    tiny.save_model(folder)
  assert bundle.load_bundle(folder).fingerprint == before
  assert list(folder.parent.iterdir()) == [folder]


def test_a_model_cannot_be_saved_below_a_file(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(OutputError, match="cannot be written"):
    tiny.save_model(tmp_path / "file" / "model")


def test_a_model_in_half_the_size_is_the_same_to_eleven_bits(folder, tmp_path):
  whole, half = (
    bundle.load_bundle(folder),
    bundle.export_bundle(folder, tmp_path / "half", half=True),
  )
  for name in ("vae_params", "dit_params"):
    a, b = materialize(getattr(whole, name)), materialize(getattr(half, name))
    assert {leaf.dtype for leaf in jax.tree.leaves(b)} == {np.dtype(np.float32)}
    jax.tree.map(lambda x, y: np.testing.assert_allclose(y, x, rtol=2**-11, atol=2**-25), a, b)
  sizes = [(path / "dit.safetensors").stat().st_size for path in (folder, half.directory)]
  assert sizes[1] < 0.52 * sizes[0]


@pytest.mark.parametrize("half", [False, True])
def test_a_model_is_passed_on_with_the_decoder_that_was_fine_tuned(folder, tmp_path, half):
  parts = tiny.parts()["vae_params"]
  parts["decoder"] = jax.tree.map(lambda x: x / 2, parts["decoder"])
  save_params(tmp_path / "vae.safetensors", parts)
  made = bundle.export_bundle(folder, tmp_path / "out", half=half, decoder=tmp_path)
  check = functools.partial(np.testing.assert_allclose, rtol=half * 2**-11, atol=half * 2**-25)
  jax.tree.map(check, materialize(made.vae_params), materialize(parts))
  again = bundle.export_bundle(tmp_path / "out", tmp_path / "again", decoder=tmp_path / "out")
  jax.tree.map(
    np.testing.assert_array_equal, materialize(made.vae_params), materialize(again.vae_params)
  )


def test_a_model_is_passed_on_with_the_envelope_of_a_decoder_and_opened_with_it(tmp_path):
  shape = {"architecture": "spectral", "size": 64, "stride": 16, "stacked": 4, "resolution": 8}
  shape |= {"latent": tiny.LATENT, "width": 8, "depth": 1, "refinements": 2}
  plain = tiny.parts() | {"vae_params": tiny.random_params(vae_shapes(build_vae(shape)))}
  bundle.save_bundle(tmp_path / "plain", tiny.CONFIG | {"vae": shape}, **plain)
  assert not bundle.load_bundle(tmp_path / "plain").vae.has_envelope
  shaped = build_vae(shape).clone(has_envelope=True)
  parts = {**tiny.random_params(vae_shapes(shaped)), **plain["vae_params"]}
  save_params(tmp_path / "vae.safetensors", parts)
  made = bundle.export_bundle(tmp_path / "plain", tmp_path / "out", decoder=tmp_path)
  assert made.vae == shaped
  jax.tree.map(np.testing.assert_array_equal, materialize(made.vae_params), parts)
  half = bundle.export_bundle(tmp_path / "out", tmp_path / "half", half=True)
  assert half.vae == shaped
  edit_config(half.directory, vae=shape | {"size": 24, "stride": 6, "stacked": 4})
  with pytest.raises(MismatchError, match="stride 6: expected a multiple of 4 for an envelope"):
    bundle.load_bundle(half.directory)
  parts["envelope"].pop("in")
  save_params(tmp_path / "vae.safetensors", parts)
  with pytest.raises(MismatchError, match="envelope/in/bias: file lacks it"):
    bundle.export_bundle(tmp_path / "plain", tmp_path / "again", decoder=tmp_path)


@pytest.mark.parametrize("half", [False, True])
def test_a_model_is_passed_on_half_way_to_the_one_it_was_trained_on_from(folder, tmp_path, half):
  moved = jax.tree.map(lambda x: x + 0.5, tiny.parts()["dit_params"])
  save_params(folder / "dit.safetensors", moved)
  edit_config(folder, licence="CC-BY-4.0")
  (folder / "NOTICE.txt").write_text("By somebody.")
  made = bundle.export_bundle(folder, tmp_path / "out", half=half, average=tiny.model())
  assert made.config["licence"] == "CC-BY-4.0; CC0-1.0"
  assert (made.directory / "NOTICE.txt").read_text() == "By somebody.\n"
  (made.directory / "NOTICE.txt").write_bytes("By somebody. By Zoë.".encode("latin-1"))
  again = bundle.export_bundle(folder, tmp_path / "again", average=made.directory)
  told = (again.directory / "NOTICE.txt").read_bytes()
  assert told == "By somebody. By Zoë.\n".encode("latin-1")  # each once, in any encoding
  assert again.config["licence"] == "CC-BY-4.0; CC0-1.0"
  expected = jax.tree.map(lambda x: x + 0.25, tiny.parts()["dit_params"])
  check = functools.partial(np.testing.assert_allclose, rtol=half * 2**-11 + 1e-6, atol=1e-6)
  jax.tree.map(check, materialize(made.dit_params), expected)


def test_models_that_mean_different_things_are_not_averaged(folder, tmp_path):
  config = json.loads((folder / "config.json").read_text())
  edit_config(folder, latents=config["latents"] | {"std": [2.0] * len(config["latents"]["std"])})
  with pytest.raises(MismatchError, match="is of another network, tokenizer or data than"):
    bundle.export_bundle(folder, tmp_path / "out", average=tiny.model())
  assert not (tmp_path / "out").exists()


def test_a_decoder_of_other_latents_is_refused(folder, tmp_path):
  parts = tiny.parts()["vae_params"]
  parts["encoder"] = jax.tree.map(lambda x: x / 2, parts["encoder"])
  save_params(tmp_path / "vae.safetensors", parts)
  with pytest.raises(MismatchError, match="another encoder than"):
    bundle.export_bundle(folder, tmp_path / "out", decoder=tmp_path)
  with pytest.raises(MissingError, match="no such file"):
    bundle.export_bundle(folder, tmp_path / "out", decoder=tmp_path / "nothing")
  assert not (tmp_path / "out").exists()


def test_a_weight_beyond_16_bits_is_not_made_infinite(folder, tmp_path):
  parts = tiny.parts()
  parts["vae_params"] = jax.tree.map(lambda x: 1e6 * np.ones_like(x), parts["vae_params"])
  bundle.save_bundle(folder, tiny.CONFIG, **parts)
  with pytest.raises(OutputError, match="float16"):
    bundle.export_bundle(folder, tmp_path / "half", half=True)
  assert not (tmp_path / "half").exists()

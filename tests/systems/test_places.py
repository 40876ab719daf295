"""What a config names on disk is looked at before its workdir is claimed, and nothing is made."""

import importlib
import math
import shutil

import numpy as np
import pytest

from stemphonic_jax import main
from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.data.batching.records import Segment
from stemphonic_jax.data.preparing.shards import write_shards
from stemphonic_jax.errors import MismatchError, MissingError, StemphonicError, UsageError
from stemphonic_jax.systems.catalogue import system_of
from stemphonic_jax.training.distributed import mesh
from stemphonic_jax.training.inputs.codes import codecs_of, fingerprints
from stemphonic_jax.weights.architecture import build_codec, codec_shapes
from stemphonic_jax.weights.code_bundle import NETWORKS, save_code_bundle
from stemphonic_jax.weights.codec import CodecWeights, open_codec, save_codec
from tests import tiny

MAKE_MESH = mesh.make_mesh  # of all devices that there are
pytestmark = pytest.mark.usefixtures("one_device")
DROPOUT = {"text": 0.3, "bpm": 0.0, "context": 0.0, "activity": 1.0}


def load(name, **changes):
  """A tiny config with changes, which are by their names with a dot."""
  config = importlib.import_module(f"configs.{name}").get_config("tiny")
  config.update_from_flattened_dict(changes)
  return config


def save_some_codec(folder, rate=32_000, **sizes):
  numbers = {"architecture": "spectral", "levels": 4, "entries": 32, "components": 8}
  model = build_codec({**numbers, **sizes})
  params = tiny.random_params(codec_shapes(model))
  save_codec(folder, CodecWeights(model, params, rate), {"licence": "CC0-1.0"})


def save_some_model(folder, config, codecs):
  content = {name: config.to_dict()[name] for name in ("system", "sample_rate", "seconds")}
  content |= {name: config.to_dict()[name] for name in ("network", "sample")}
  content |= {"types": [], "dropout": DROPOUT, "whole_mixes": False}
  content["sample"] = {"steps": 1, **content["sample"], "share_noise": True}
  if "text" in config:
    text = {**config.text.to_dict(), "vocabulary": len(tiny.tokenizer())}
    content |= {"text": text, "editing": config.editing.to_dict()}
  _, shapes = NETWORKS[config.system](content, codecs_of(config))
  save_code_bundle(
    folder,
    content,
    params=tiny.random_params(shapes),
    codecs=codecs,
    tokenizer=tiny.tokenizer() if "text" in config else None,
  )


def save_some_records(folder, config, codecs):
  """One record of a stem of zeros."""
  hop = next(iter(codecs_of(config).values())).hop
  frames = frames_of(config.data.segment, config.sample_rate, hop)
  codes, sounding = np.zeros((1, frames, 4), np.uint16), np.ones((1, frames), np.int8)
  record = Segment("one", ("drums",), ("drums",), "a song", math.nan, codes, sounding)
  notes = {"codecs": fingerprints({name: open_codec(path) for name, path in codecs.items()})}
  shards = [lambda: [record]]
  write_shards(folder / "train", shards, hop=hop, rate=config.sample_rate, notes=notes)


@pytest.fixture(scope="module")
def there(tmp_path_factory):
  """A folder of codecs, and a model and records of each system that generates codes."""
  folder = tmp_path_factory.mktemp("places")
  for name, sizes in {
    "stems": {},
    "other": {},
    "bass": {"levels": 1},
    "drums": {"levels": 1, "components": 7},
    "slow": {"rate": 16_000},
    "another": {"components": 7},
  }.items():
    save_some_codec(folder / name, **sizes)
  for name, codecs in {"stemgen": ("stems",), "musicgen_stem": ("bass", "drums", "other")}.items():
    of = {codec: folder / codec for codec in codecs}
    save_some_model(folder / name, load(name), of)
    save_some_records(folder / f"{name}_records", load(name), of)
  tiny.save_model(folder / "c_ii")
  return folder


SIZE = r"has network\.width = 64, this config 32; take that of the model, --config\.network\.width="
# By system: what it names, {} for the folder; what is said.
REFUSED = [
  ("stemgen", {"init_from": "{}/stemgen", "network.width": 32}, SIZE + "64$"),
  ("stemgen", {"init_from": "{}/stemgen", "network.heads": 4}, r"network\.heads = 2, this config"),
  ("musicgen_stem", {"init_from": "{}/musicgen_stem", "text.depth": 2}, r"text\.depth = 1, this"),
  ("c_ii", {"init_from": "{}/c_ii"}, r"/c_ii has dit\.width = 32, this config 64; take that of"),
  ("c_ii", {"init_from": "{}/stemgen"}, "/stemgen is a model of stemgen, expected one of stemph"),
  ("c_ii", {"init_from": "{}/musicgen_stem"}, "a model of musicgen-stem, expected one of stemphon"),
  ("distilled", {"init_from": "{}/stemgen"}, "is a model of stemgen, expected one of stemphonic"),
  ("stable_audio", {"init_from": "{}/stemgen"}, "a model of stemgen, expected one of stemphonic"),
  ("stable_audio", {"init_from": ""}, r"text\.path: no T5 named; .*--config\.text\.path=DIR"),
  ("stemgen", {"init_from": "{}/musicgen_stem"}, "of musicgen-stem, expected one of stemgen"),
  ("musicgen_stem", {"init_from": "{}/c_ii"}, "a model of stemphonic, expected one of musicgen"),
  ("stemgen", {"data.records": "{}/nothing"}, "/nothing/train: no such folder of records"),
  (
    "stemgen",
    {"data.records": "{}/musicgen_stem_records"},
    "/musicgen_stem_records/train: holds codes of bass, drums, other, expected stems; it is of an",
  ),
  (
    "musicgen_stem",
    {"data.records": "{}/stemgen_records", "init_from": "{}/musicgen_stem"},
    "holds codes of stems, expected bass, drums, other",
  ),
  (
    "stemgen",
    {"data.records": "{}/stemgen_records"},
    r"data\.records: name the codec that they were coded with, --config\.codec\.stems\.path=DIR",
  ),
  (
    "stemgen",
    {"data.records": "{}/stemgen_records", "codec.stems.path": "{}/another"},
    "was coded by another codec of 'stems'",
  ),
  (
    "stemgen",
    {"data.records": "{}/stemgen_records", "init_from": "{}/stemgen", "data.segment": 4.0},
    "segments have 150 frames, expected 200",
  ),
  (
    "stemgen",
    {"codec.stems.path": "{}/bass"},
    r"codec\.stems\.path: .*/bass: codec 'stems' has levels 1, codec\.stems says 4; name a codec",
  ),
  (
    "musicgen_stem",
    {"codec.other.path": "{}/slow"},
    r"codec\.other\.path: .*/slow: codec 'other' hears 16000 Hz, sample_rate is 32000; take a",
  ),
  ("stemgen", {"codec.stems.path": "{}/stemgen"}, "/stemgen: format .*, expected '.* codec 1'"),
  ("stemgen", {"codec.stems.path": "{}/nothing"}, "/nothing: no codec here"),
  (
    "stemgen",
    {"init_from": "{}/stemgen", "codec.stems.entries": 16},
    r"init_from: .*/stemgen: codec 'stems' has entries 32, codec\.stems says 16",
  ),
  (
    "stemgen",
    {"init_from": "{}/stemgen", "sample_rate": 16_000},
    r"init_from: .*: codec 'stems' hears 32000 Hz, sample_rate is 16000; .*sample_rate=32000",
  ),
  (
    "stemgen",
    {"init_from": "{}/stemgen", "codec.stems.path": "{}/another"},
    "was trained with another codec 'stems'",
  ),
]
REFUSED += [
  (name, changes, message)
  for name in ("c_ii", "stemgen", "musicgen_stem")
  for changes, message in (
    ({"train.micro_batches": 3}, "does not divide by 3 micro-batches"),
    ({"data.source": "folder", "data.root": "{}/nothing"}, "/nothing: no such folder; expected"),
    ({"data.source": "folder"}, "folder: its root is not named"),
  )
] + [("c_ii", {"train.trainable": ("block/*",)}, r"no parameter fits 'block/\*'; there are")]


def named(changes, folder):
  return {name: v.format(folder) if isinstance(v, str) else v for name, v in changes.items()}


@pytest.mark.parametrize(("name", "changes", "message"), REFUSED, ids=str)
def test_what_a_stage_would_refuse_is_refused_before_there_is_a_workdir(
  there, tmp_path, name, changes, message
):
  config = load(name, **named(changes, there))
  system_of(config).check(config)
  with pytest.raises(StemphonicError, match=message) as error:
    main.begin(config, tmp_path / "run")
  assert "\n" not in str(error.value)
  assert not (tmp_path / "run").exists()


def test_a_mesh_of_more_devices_than_there_are_is_refused_before_there_is_a_workdir(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(mesh, "make_mesh", MAKE_MESH)
  for name in ("c_ii", "stemgen", "musicgen_stem"):
    with pytest.raises(UsageError, match="mesh: got data -1 x fsdp 7 x tensor 1, expected sizes"):
      main.begin(load(name, **{"mesh.fsdp": 7}), tmp_path / "run")
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("name", "changes"),
  [
    ("stemgen", {}),
    ("stemgen", {"init_from": "{}/stemgen", "data.records": "{}/stemgen_records"}),
    ("stemgen", {"codec.stems.path": "{}/stems", "data.records": "{}/stemgen_records"}),
    ("musicgen_stem", {"init_from": "{}/musicgen_stem"}),
    ("musicgen_stem", {"codec.bass.path": "{}/bass"}),
  ],
  ids=str,
)
def test_what_fits_is_begun(there, tmp_path, name, changes):
  assert main.begin(load(name, **named(changes, there)), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_of_a_model_only_what_is_taken_has_to_fit(there, tmp_path):
  """Before a training it is the codecs, whatever the network."""
  config = load("stemgen", init_from=str(there / "stemgen"), **{"network.width": 32})
  with pytest.raises(MismatchError, match=r"network\.width"):
    main.begin(config, tmp_path)
  assert main.begin(config, tmp_path, ("train_vae", "prepare"))


@pytest.mark.parametrize("name", ["vae", "musicgen_stem"])
def test_what_codes_audio_is_trained_without_a_text_encoder(tmp_path, name):
  config = importlib.import_module(f"configs.{name}").get_config()
  assert main.begin(config, tmp_path, ("train_vae",))
  with pytest.raises(MissingError, match=r"text\.path: no T5 named"):
    main.begin(config, tmp_path / "run", ("train_vae", "prepare"))


def test_a_run_that_goes_on_asks_for_nothing_that_it_took(there, tmp_path):
  shutil.copytree(there / "stems", tmp_path / "stems")
  config = load("stemgen", **{"codec.stems.path": str(tmp_path / "stems")})
  assert main.begin(config, tmp_path / "run")
  main.train_vae(config, tmp_path / "run")
  shutil.rmtree(tmp_path / "stems")
  assert not main.begin(config, tmp_path / "run")
  main.train_vae(config, tmp_path / "run")


def test_codecs_that_are_taken_are_compared_before_one_is_copied_or_made(there, tmp_path):
  paths = {"codec.bass.path": str(there / "bass"), "codec.other.path": str(there / "slow")}
  with pytest.raises(MismatchError, match=r"codec\.other\.path: .*/slow: codec 'other' hears"):
    main.train_vae(load("musicgen_stem", **paths), tmp_path)
  with pytest.raises(MissingError, match="no codec here"):
    main.train_vae(load("stemgen", **{"codec.stems.path": str(there)}), tmp_path)
  assert list(tmp_path.iterdir()) == []


def test_a_teacher_and_a_part_to_train_are_asked_for_before_there_is_a_workdir(there, tmp_path):
  (tmp_path / "base").mkdir()
  shutil.copy(there / "c_ii" / "vae.safetensors", tmp_path / "base")
  sizes = {f"vae.{name}": size for name, size in tiny.CONFIG["vae"].items()}
  taught = load("distilled", init_from=str(tmp_path / "base"), **sizes)
  with pytest.raises(UsageError, match=r"distil\.to: .*/base has no transformer to learn from"):
    main.begin(taught, tmp_path / "run")
  part = load("c_ii", **{"train_vae.only": "decoder"})
  with pytest.raises(UsageError, match=r"train_vae\.only=decoder: name the autoencoder"):
    main.begin(part, tmp_path / "run")
  assert not (tmp_path / "run").exists()

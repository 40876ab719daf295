"""Every config, shrunk, goes the whole way: trains, stops, resumes, generates."""

import importlib
import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util

from stemphonic_jax import main
from stemphonic_jax.data.batching.records import open_records
from stemphonic_jax.errors import MismatchError, MissingError, UsageError
from stemphonic_jax.training.inputs.prepare import records_of
from stemphonic_jax.training.trainers import dit
from stemphonic_jax.weights.bundle import load_bundle, save_bundle
from stemphonic_jax.weights.files import digest
from stemphonic_jax.weights.t5 import TextWeights
from stemphonic_jax.weights.tensors import materialize
from tests import tiny

EVERY = sorted(path.stem for path in Path("configs").glob("*.py") if path.stem != "base")
NUMBERS = {  # Sec. 4.1
  "sample_rate": 44_100,
  "seconds": 32.0,
  "vae.latent": 64,
  "train.batch_size": 512,
  "train.learning_rate": 1e-4,
  "train.steps": 30_000,
  "dropout.text": 1 / 3,
  "dropout.bpm": 1 / 3,
  "dropout.context": 1 / 3,
  "sample.steps": 32,
  "sample.guidance": 3.0,
  "sample.interval": (3, 28),
}


def load(name, size=""):
  return importlib.import_module(f"configs.{name}").get_config(size)


CONFIGS = [name for name in EVERY if load(name).system == "stemphonic" and name != "distilled"]


def run(config, workdir, *, steps):
  """What `main` does for --mode=train, up to `steps` steps of both trainings."""
  config.train.steps = config.train_vae.steps = steps
  config.train.save_every = config.train_vae.save_every = 1
  main.claim(config, workdir)
  for stage in (main.train_vae, main.prepare, main.train):
    stage(config, workdir)


pytestmark = pytest.mark.usefixtures("one_device", "equal_steps_compile_once")


@pytest.fixture(scope="module")
def autoencoders(tmp_path_factory):
  """A workdir with a trained autoencoder of the config's architecture, made once."""
  folders = {}

  def trained(config):
    kind = config.vae.architecture
    if kind not in folders:
      folders[kind] = tmp_path_factory.mktemp(kind)
      fresh = config.copy_and_resolve_references()
      for steps in (1, 2):  # stops, and resumes
        fresh.train_vae.update(steps=steps, save_every=1)
        main.train_vae(fresh, folders[kind])
    return str(folders[kind])

  return trained


@pytest.fixture(scope="module")
def started(tmp_path_factory, autoencoders):
  """A config by its name that starts from what was made once: a trained autoencoder or, where a
  frozen text encoder is named, a whole model such as an import leaves; and the records it made."""
  found = {}

  def imported(config):
    content = {name: config.to_dict()[name] for name in tiny.CONFIG if name in config}
    folder = tmp_path_factory.mktemp("imported") / "model"
    content |= {name: tiny.CONFIG[name] for name in ("whole_mixes", "licence", "source")}
    if "vocabulary" in content["text"]:
      content["text"]["vocabulary"] = len(tiny.tokenizer())
    parts = tiny.parts(content)
    parts["vae_params"] = jax.tree.map(lambda leaf: leaf.astype(np.float16), parts["vae_params"])
    save_bundle(folder, content, **parts)
    return str(folder)

  def ready(name):
    config = load(name, "tiny")
    taught = bool(config.distil.to)
    kind = config.text.encoder, config.vae.architecture, config.data.whole_mixes, taught
    if kind not in found:
      fresh, folder = config.copy_and_resolve_references(), tmp_path_factory.mktemp("prepared")
      whole = config.text.encoder == "t5" or taught
      fresh.init_from = (imported if whole else autoencoders)(config)
      main.train_vae(fresh, folder)
      main.prepare(fresh, folder)
      found[kind] = fresh.init_from, str(folder / "records")
    config.init_from, config.data.records = found[kind]
    return config

  return ready


@pytest.mark.parametrize("name", CONFIGS)
def test_tiny_trains_stops_resumes_and_generates(name, started, tmp_path):
  config = started(name)
  run(config, tmp_path, steps=1)
  run(config, tmp_path, steps=2)
  lines = [
    json.loads(line) for line in (tmp_path / "dit" / "metrics.jsonl").read_text().splitlines()
  ]
  assert [line["step"] for line in lines if "held_out_loss" in line] == [1, 2]
  main.generate(config, tmp_path)
  song = json.loads((tmp_path / "songs" / "0" / "song.json").read_text())
  assert song["sampler"]["share_noise"] == config.sample.share_noise
  asked = set(open_records(records_of(config, tmp_path) / "held_out")[0].types)
  assert song["sampler"]["align_noise"] == config.sample.align_noise
  expected = {"mix"} if config.data.whole_mixes else asked
  assert {stem["type"] for stem in song["stems"].values()} == expected


def test_a_mode_finished_is_not_done_again(started, tmp_path):
  config = started("c_ii")
  run(config, tmp_path, steps=1)
  before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
  run(config, tmp_path, steps=1)
  after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
  assert after == before


def own_turns(records, statistics):
  return {"keys": -np.eye(records.index.channels, dtype=np.float32)}


def test_a_finished_model_can_be_the_start_of_another(started, tmp_path, monkeypatch):
  config = started("c_ii")
  config.sample.align_noise = True
  run(config, tmp_path / "first", steps=1)
  (tmp_path / "first" / "model" / "NOTICE.txt").write_text("Played by somebody.")
  config.init_from = str(tmp_path / "first")
  config.train.learning_rate = 1e-12
  config.dit.dtype = "bfloat16"  # on a CPU that emulates it, which makes no difference
  monkeypatch.setattr("stemphonic_jax.models.dit.dtype_here", lambda dtype: np.float32)
  monkeypatch.setattr(
    "stemphonic_jax.training.trainers.dit.align", None
  )  # rotations are the start's
  run(config, tmp_path / "second", steps=1)
  turns = [load_bundle(tmp_path / name).turns for name in ("first", "second")]
  assert set(turns[0]) == set(turns[1]) != set()
  assert all(np.array_equal(turn, turns[1][name]) for name, turn in turns[0].items())
  files = [tmp_path / name / "tokenizer.model" for name in ("first", "second")]
  assert files[0].read_bytes() == files[1].read_bytes()
  monkeypatch.setattr("stemphonic_jax.training.trainers.dit.align", own_turns)
  config.sample.own_alignment, config.init_from = True, str(tmp_path / "second")
  run(config, tmp_path / "third", steps=1)
  third = load_bundle(tmp_path / "third")
  assert {name: turn[0, 0] for name, turn in third.turns.items()} == {"keys": -1.0}
  assert "own_alignment" not in third.config["sample"]
  assert (third.directory / "NOTICE.txt").read_text() == "Played by somebody.\n"
  assert third.config["corpus"] == {"version": config.data.corpus, "soundfont_share": 0.0}
  first, second = (
    [json.loads(line) for line in (tmp_path / n / "dit" / "metrics.jsonl").read_text().splitlines()]
    for n in ("first", "second")
  )
  held_out = [line["held_out_loss"] for line in first + second if "held_out_loss" in line]
  assert held_out[0] == pytest.approx(held_out[1], rel=1e-5)


def test_fine_tuning_starts_from_the_imported_model_and_moves_only_what_it_may(started, tmp_path):
  config = started("stable_audio")
  run(config, tmp_path, steps=1)
  start, tuned = load_bundle(Path(config.init_from)), load_bundle(tmp_path / "model")
  before, after = (
    traverse_util.flatten_dict(materialize(model.dit_params), sep="/") for model in (start, tuned)
  )
  moved = {name for name in before if not np.array_equal(before[name], after[name])}
  adapted = {name for name in before if fnmatch(name, "blocks/*/kernel")}
  inputs = {name for name in before if name.startswith(("in_", "activity_", "tempo_"))}
  assert moved <= adapted | inputs
  assert {"blocks/feed_forward/in/kernel", "in_projection/kernel"} <= moved
  assert before.keys() == after.keys()  # adapters are part of their kernels
  np.testing.assert_array_equal(start.statistics.std, tuned.statistics.std)
  assert tuned.config["licence"] == start.config["licence"] == "CC0-1.0"
  assert tuned.config["source"].endswith("started from: random numbers")
  assert tuned.text_encoder.config == start.text_encoder.config
  autoencoders = [model.directory / "vae.safetensors" for model in (start, tuned)]
  assert digest(autoencoders[0]) == digest(autoencoders[1])  # by which records know it


def test_a_model_teaches_itself_to_take_fewer_steps(started, tmp_path):
  config = started("distilled")
  config.train.update(steps=1, save_every=1)
  main.train_vae(config, tmp_path)
  main.prepare(config, tmp_path)
  dit.train(config, tmp_path, lambda *_: None)
  teacher, student = load_bundle(Path(config.init_from)), load_bundle(tmp_path / "model")
  assert student.config["sample"] | {"steps": 2, "guidance": 1.0} == student.config["sample"]
  before, after = (
    traverse_util.flatten_dict(materialize(model.dit_params), sep="/")
    for model in (teacher, student)
  )
  assert before.keys() == after.keys()
  assert any(not np.array_equal(before[name], after[name]) for name in before)
  lines = [json.loads(line) for line in (tmp_path / "dit" / "metrics.jsonl").open()]
  assert [np.isfinite(line["held_out_loss"]) for line in lines if "held_out_loss" in line] == [True]
  config.init_from = ""
  with pytest.raises(UsageError, match=r"distil\.to: there is no teacher"):
    dit.train(config, tmp_path / "other", lambda *_: None)


def test_a_model_that_computes_something_else_is_no_start(started, tmp_path):
  config = started("stable_audio")
  config.dit.prediction = "velocity"
  with pytest.raises(MismatchError, match=r"has dit\.prediction v instead of velocity"):
    run(config, tmp_path, steps=1)


def test_the_trainer_never_holds_t5(started, tmp_path, monkeypatch):
  config = started("stable_audio")
  main.claim(config, tmp_path)
  for stage in (main.train_vae, main.prepare):
    stage(config, tmp_path)
  monkeypatch.setattr(TextWeights, "build", None)
  config.train.update(steps=1, save_every=1)
  main.train(config, tmp_path)  # with the preview of its save
  main.generate(config, tmp_path)
  assert (tmp_path / "songs" / "0" / "song.json").is_file()


def test_embeddings_of_another_t5_are_refused(started, tmp_path):
  config = started("stable_audio")
  records = shutil.copytree(config.data.records, tmp_path / "copy")
  config.data.records = str(records)
  texts = json.loads((records / "texts" / "index.json").read_text())
  (records / "texts" / "index.json").write_text(json.dumps(texts | {"encoder": "x"}))
  with pytest.raises(MismatchError, match="for other records or by another T5"):
    run(config, tmp_path / "run", steps=1)


def test_without_a_t5_the_error_says_where_to_get_one(started, tmp_path):
  config = started("c_ii")
  config.text = load("base").text
  with pytest.raises(MissingError, match=r"google/t5-v1_1-xxl.*--config\.text\.path=DIR"):
    run(config, tmp_path, steps=1)


def test_a_pattern_that_fits_no_parameter_is_an_error(started, tmp_path):
  config = started("c_ii")
  config.train.trainable = ("block/*",)
  with pytest.raises(UsageError, match=r"no parameter fits 'block/\*'; there are .*blocks/"):
    run(config, tmp_path, steps=1)


def test_stems_that_hear_each_other_need_blocks_of_rows(started, tmp_path):
  config = started("ensemble")
  config.data.block = 0
  with pytest.raises(UsageError, match=r"dit\.ensemble: got data\.block=0"):
    run(config, tmp_path, steps=1)
  config.data.update(block=4, share_noise=1.5)
  with pytest.raises(UsageError, match=r"share_noise: got 1\.5, expected a share from 0 to 1"):
    main.train(config, tmp_path)
  config.data.share_noise = 0.0
  config.sample.noise_share = -0.1
  with pytest.raises(UsageError, match=r"sample\.noise_share: got -0\.1, expected a share"):
    main.train(config, tmp_path)


def test_the_settings_differ_where_the_table_says():
  switches = {
    name: (c.data.group_stems, c.data.share_noise, c.sample.share_noise)
    for name, c in ((name, load(name)) for name in CONFIGS if name[:2] in ("a_", "b_", "c_"))
  }
  assert switches == {
    "a_i": (False, False, False),
    "a_ii": (False, False, True),
    "b_i": (True, False, False),
    "b_ii": (True, False, True),
    "c_i": (True, True, False),
    "c_ii": (True, True, True),
    "c_ii_act": (True, True, True),
  }
  assert load("c_ii").dropout.activity == 1.0
  assert load("c_ii_act").dropout.activity == 1 / 3


@pytest.mark.parametrize("number", NUMBERS)
def test_the_numbers_of_the_paper_are_in_the_base(number):
  value = load("base")
  for key in number.split("."):
    value = value[key]
  assert value == NUMBERS[number]


def test_a_batch_is_sixteen_thousand_seconds():
  config = load("c_ii")
  assert config.train.batch_size * config.seconds == 16_384
  assert main.describe(config).startswith("32 s of 44100 Hz: 394 frames of 3584 samples")

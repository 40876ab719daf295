"""Which trainings a table takes, and which it refuses."""

import functools
import json
from dataclasses import replace

import pytest
from ml_collections import ConfigDict

from configs import a_ii, b_ii, c_ii, c_ii_act
from stemphonic_jax.data.preparing.shards import write_shards
from stemphonic_jax.errors import MismatchError, MissingError, UsageError
from stemphonic_jax.evaluation.songs import trained
from stemphonic_jax.evaluation.songs.trained import check_alike, find_models
from tests import tiny
from tests.data.batching.marked import segment
from tests.data.sources import trees

CONFIGS = {"a": a_ii, "b": b_ii, "c": c_ii, "act": c_ii_act}


@pytest.fixture
def training(tmp_path, monkeypatch):
  """Makes the workdir of a training, finished unless `reached` says otherwise."""
  bundle = tiny.pipeline().bundle
  monkeypatch.setattr(trained, "open_bundle", lambda _: bundle)
  monkeypatch.setattr(trained, "reached", lambda folder, step: int(at(folder)) >= step)

  def at(folder):
    return (folder / "step").read_text()

  def make(name, reached=6, **changes):
    setting, _, seed = name.partition("_")
    config: ConfigDict = CONFIGS[setting].get_config("tiny")
    config.seed = int(seed)
    with config.unlocked():
      config.update_from_flattened_dict(changes)
    workdir = tmp_path / name
    (workdir / "dit" / "checkpoints").mkdir(parents=True)
    (workdir / "dit" / "checkpoints" / "step").write_text(str(reached))
    (workdir / "model").mkdir()
    (workdir / "config.json").write_text(config.to_json())
    return workdir

  return make


def test_finished_trainings_are_found_by_setting_and_number(training, tmp_path):
  for name in ("a_0", "a_10", "a_2", "b_0", "c_0", "act_0"):
    training(name, init_from="shared")
  (tmp_path / "a_x").mkdir()
  found = {setting: find_models(tmp_path, setting) for setting in CONFIGS}
  names = [model.name for model in found["a"]]
  assert names == ["a_0", "a_2", "a_10"]
  check_alike(model for models in found.values() for model in models)


def test_a_training_says_what_it_held_out_of_its_own_set(training, tmp_path, monkeypatch):
  own = {"data.source": "folder", "data.root": "set", "data.held_out": 7}
  model = trained.open_model(training("c_0", **own) / "model")  # as `find_model` finds it
  monkeypatch.chdir(tmp_path)
  held_out = functools.partial(trained.held_out_of, model)
  assert held_out("folder", "set") == held_out("folder", str(tmp_path / "set")) == 7
  assert held_out("folder", "other") is held_out("mixes", "set") is None
  assert trained.held_out_of(replace(model, config=None), "folder", "set") is None
  whole = trained.open_model(training("c_1", **own | {"data.held_out": 0}))
  with pytest.raises(MismatchError, match="was trained on all of set"):
    trained.held_out_of(whole, "folder", "set")


def test_a_training_on_records_says_what_they_held_out_of_their_set(training, tmp_path):
  music = trees.write_folder(tmp_path / "music", mixes=3, seconds=0.2)
  other = trees.write_folder(tmp_path / "other", mixes=1, seconds=0.2)
  (other / "mix 00").rename(other / "another")
  records = tmp_path / "records"
  rows = [{"id": f"mix 0{number}", "taken": True} for number in range(3)]
  records.mkdir()
  (records / "report.jsonl").write_text("\n".join(map(json.dumps, rows)))
  model = trained.open_model(training("c_0", **{"data.records": str(records)}))
  assert trained.held_out_of(model, "folder", str(other)) is None
  with pytest.raises(MismatchError, match="none of it was held out; measure on another set"):
    trained.held_out_of(model, "folder", str(music))
  write_shards(
    records / "held_out", [lambda: [segment(0, 3)]], hop=8, rate=8000, notes={"mixes": 2}
  )
  assert trained.held_out_of(model, "folder", str(music)) == 2


def test_a_model_folder_is_taken_as_it_is(tmp_path):
  (tmp_path / "a_0").symlink_to(tiny.model())
  (model,) = find_models(tmp_path, "a")
  assert model.config is None
  check_alike([model, model])
  with pytest.raises(MissingError, match="no model named b_0; expected b_0, b_1, …"):
    find_models(tmp_path, "b")
  with pytest.raises(UsageError, match="whole mixes"):
    trained.open_model(tiny.save_model(tmp_path / "mixes", whole_mixes=True))


@pytest.mark.parametrize(
  ("name", "changes", "words"),
  [
    ("a_0", {"data.group_stems": True}, "data.group_stems = True, but a_0 is to have False"),
    ("b_0", {"data.share_noise": True}, "data.share_noise = True, but b_0 is to have False"),
    ("c_0", {"dropout.activity": 0.3}, "dropout.activity < 1 = True, but c_0 is to have False"),
    ("act_0", {"dropout.activity": 1.0}, "dropout.activity < 1 = False, but act_0 is to have True"),
    ("c_1", {"seed": 0}, "seed = 0, but c_1 is to have 1"),
    ("c_0", {"reached": 3}, "has not come to step 6; run it again"),
  ],
)
def test_a_training_that_is_not_what_its_name_says_is_refused(
  training, tmp_path, name, changes, words
):
  training(name, **changes)
  with pytest.raises(MismatchError) as caught:
    find_models(tmp_path, name.partition("_")[0])
  assert words in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_config_that_is_none_of_a_run_is_named(training, tmp_path):
  (training("c_0") / "config.json").write_text(json.dumps({"seed": 0}))
  with pytest.raises(MismatchError, match=r"'train\.steps' is wrong or missing"):
    find_models(tmp_path, "c")


@pytest.mark.parametrize(("name", "value"), [("train.steps", 5), ("train.learning_rate", 1.0)])
def test_trainings_that_differ_in_more_than_their_setting_are_not_compared(
  training, tmp_path, name, value
):
  training("b_0")
  training("c_0", **{name: value})
  models = [*find_models(tmp_path, "b"), *find_models(tmp_path, "c")]
  with pytest.raises(MismatchError, match=rf"b_0 was trained with {name} = .*, c_0 with {value}"):
    check_alike(models)

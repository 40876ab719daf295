"""Places: a run knows its records, data set and models by what they hold."""

import json
import shutil
from pathlib import Path

import pytest

from configs import c_ii
from stemphonic_jax import main
from stemphonic_jax.errors import MismatchError
from stemphonic_jax.training.run.identity import PLACES, lasting
from stemphonic_jax.training.run.places import _CONTENT, digests, is_same


def write(path, text="content"):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)


FILES = {
  "data.records": "train/index.json",
  "data.root": "song/drums.wav",
  "data.captions": "",
  "data.soundfont": "",
  "init_from": "model/manifest.json",
  "text.path": "model.safetensors",
  **{name: "codec.safetensors" for name in PLACES if name.startswith("codec.")},
}


def claim(workdir, **places):
  config = c_ii.get_config("tiny")
  with config.unlocked():
    config.codec = {part: {} for part in ("bass", "drums", "other", "stems")}
    config.update_from_flattened_dict({name: str(path) for name, path in places.items()})
  main.claim(config, Path(workdir))


def test_each_place_has_a_content():
  assert _CONTENT.keys() == FILES.keys() == set(PLACES)


@pytest.mark.parametrize("name", PLACES)
def test_a_place_may_be_spelled_otherwise_and_moved_but_not_be_another(tmp_path, monkeypatch, name):
  write(tmp_path / "here" / FILES[name])
  write(tmp_path / "other" / FILES[name].replace("song", "tune").replace("model.", "llm."), "other")
  monkeypatch.chdir(tmp_path)
  claim("run", **{name: "here"})
  claim("run", **{name: tmp_path / "here"})
  claim("run", **{name: "./other/../here"})
  with pytest.raises(MismatchError, match=f"{name} = 'here', of which 'other' is no copy"):
    claim("run", **{name: "other"})
  shutil.move("here", "there")
  claim("run", **{name: "there"})
  claim("run", **{name: "here"})  # which the stages then miss
  with pytest.raises(MismatchError, match="is no copy"):
    claim("run", **{name: ""})
  with pytest.raises(MismatchError, match="is no copy"):
    claim("run", **{name: "nowhere"})


def test_records_that_were_made_anew_are_others_and_a_data_set_may_grow(tmp_path):
  for name in ("data.records", "data.root"):
    write(tmp_path / name / FILES[name])
  paths = {name: tmp_path / name for name in ("data.records", "data.root")}
  claim(tmp_path / "run", **paths)
  write(tmp_path / "data.root" / "song 2" / "drums.wav")
  claim(tmp_path / "run", **paths)
  write(tmp_path / "data.records" / FILES["data.records"], "made anew")
  with pytest.raises(MismatchError, match=r"data\.records"):
    claim(tmp_path / "run", **paths)


def test_a_run_of_before_places_were_written_goes_on(tmp_path, monkeypatch):
  write(tmp_path / "here" / FILES["data.records"])
  monkeypatch.chdir(tmp_path)
  claim("run", **{"data.records": "here"})
  config = json.loads((tmp_path / "run" / "config.json").read_text())
  assert config.pop("places").keys() == {"data.records"}
  (tmp_path / "run" / "config.json").write_text(json.dumps(config))
  claim("run", **{"data.records": tmp_path / "here"})
  with pytest.raises(MismatchError):
    claim("run", **{"data.records": "elsewhere"})


def test_paths_are_no_part_of_what_checkpoints_compare():
  config = c_ii.get_config("tiny")
  assert not set(PLACES) & lasting(config).keys()
  old = {"seed": 0, "data.root": "somewhere"}  # as older checkpoints hold it
  assert lasting(old) == {"seed": 0}
  assert digests({"data": {"root": "nowhere"}}) == {}
  assert is_same("data.root", {"data": {"root": ""}}, {"data": {}})

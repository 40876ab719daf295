"""Saved songs: what a folder holds, and that it is there whole or not at all."""

import contextlib
import dataclasses
import itertools
import json
import os
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from safetensors import numpy as safetensors

from stemphonic_jax.audio import levels
from stemphonic_jax.audio.files import read_audio
from stemphonic_jax.errors import OutputError, UsageError
from stemphonic_jax.generation import song as module
from stemphonic_jax.generation.context import read_context
from stemphonic_jax.generation.song_folder import check_output
from tests import tiny


def make(**options):
  given = {"keys": np.full((1000, 2), 0.1, np.float32)}
  options = dict(bpm=96, seed=7, duration=2, context=given, activity={"drums": [(0, 1)]}) | options
  return tiny.pipeline().generate("Relaxing country rock", ["drums", "basses"], **options)


@pytest.fixture(scope="module")
def song():
  return make()


def files(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_holds_all_there_is_of_a_song(song, tmp_path):
  song.save(tmp_path / "a" / "song")
  folder = tmp_path / "a" / "song"
  names = {"keys.wav", "drums.wav", "basses.wav", "mix.wav", "latents.safetensors"}
  assert set(files(folder)) == names | {"stems.png", "song.json"}
  assert list(folder.parent.iterdir()) == [folder]
  assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # all or none can be shared
  for name, audio in song.stems.items():
    np.testing.assert_array_equal(read_audio(folder / f"{name}.wav", tiny.RATE), audio)
  latents = safetensors.load_file(folder / "latents.safetensors")
  assert latents.keys() == {"drums", "basses"}
  for name, z in latents.items():
    np.testing.assert_array_equal(z, song.latents[name])
  assert matplotlib.image.imread(folder / "stems.png").shape[0] > 300


def test_the_mix_has_the_models_relative_levels_and_does_not_clip(song, tmp_path):
  song.save(tmp_path / "song")
  mix = read_audio(tmp_path / "song" / "mix.wav", tiny.RATE)
  total = sum(song.stems.values())
  assert 1 - 1e-6 < np.abs(mix).max() <= 1, "at -16 dBFS it would be more"
  assert levels.dbfs(total / np.abs(total).max()) < -16
  factor = np.abs(mix).max() / np.abs(total).max()
  np.testing.assert_allclose(mix, factor * total, atol=1e-5)


def test_what_keeps_a_mix_quiet_is_said(song, tmp_path, caplog):
  quiet = {name: np.full_like(audio, 0.01) for name, audio in song.stems.items()}
  with caplog.at_level("INFO", "absl"):
    dataclasses.replace(song, stems=quiet).save(tmp_path / "even")
  assert not caplog.text
  quiet["drums"][22_050] = 4.0
  with caplog.at_level("INFO", "absl"):
    dataclasses.replace(song, stems=quiet).save(tmp_path / "song")
  assert "because drums reaches +12.0 dBFS at 0.5 s" in caplog.text


def test_song_json_says_what_the_song_was_made_from(song, tmp_path):
  song.save(tmp_path / "song")
  info = json.loads((tmp_path / "song" / "song.json").read_text())
  assert info["request"] == {
    "prompt": "Relaxing country rock",
    "stems": ["drums", "basses"],
    "words": {},
    "negative": None,
    "context": ["keys"],
    "bpm": 96,
    "metre": "4/4",
    "seed": 7,
    "variation": 0,
    "duration": 2.0,
    "activity": {"drums": [[0.0, 1.0]]},
  }
  sampler = {"steps": 4, "guidance": 3.0, "passes": 1, "share_noise": True}
  assert info["sampler"] | sampler == info["sampler"]
  assert info["model"] == tiny.pipeline().bundle.fingerprint
  assert info["sample_rate"] == tiny.RATE
  assert list(info["stems"]) == ["keys", "drums", "basses"]
  assert [stem["given"] for stem in info["stems"].values()] == [True, False, False]
  assert (tmp_path / "song" / info["latents"]).is_file()
  assert info["timings"].keys() == {"encode", "sample", "decode", "look"}
  assert all(seconds >= 0 for seconds in info["timings"].values())


def test_the_same_request_gives_the_same_files(song, tmp_path):
  song.save(tmp_path / "one")
  make().save(tmp_path / "two")
  make(seed=8).save(tmp_path / "other")
  one, two, other = (files(tmp_path / name) for name in ("one", "two", "other"))
  infos = [json.loads(found.pop("song.json")) for found in (one, two)]
  for info in infos:
    del info["timings"]
  assert infos[0] == infos[1]
  assert one == two
  assert one["keys.wav"] == other["keys.wav"]
  for name in ("drums.wav", "mix.wav", "latents.safetensors", "stems.png"):
    assert one[name] != other[name]


def test_a_song_is_overwritten_only_where_that_is_asked_for(song, tmp_path):
  folder = tmp_path / "song"
  song.save(folder)
  (folder / "drums.wav").write_text("mine")
  before = files(folder)
  with pytest.raises(OutputError, match="already exists; choose another --out or add --overwrite"):
    song.save(folder)
  assert files(folder) == before
  song.save(folder, overwrite=True)
  assert files(folder)["drums.wav"] != b"mine"


def test_nothing_but_a_song_is_overwritten(song, tmp_path):
  holiday = tmp_path / "holiday"
  holiday.mkdir()
  (holiday / "photo.jpg").touch()
  for path in (holiday, holiday / "photo.jpg"):
    with pytest.raises(OutputError, match="is not the folder of a song, so it is not overwritten"):
      song.save(path, overwrite=True)
  assert files(tmp_path / "holiday") == {"photo.jpg": b""}
  (tmp_path / "empty").mkdir()
  song.save(tmp_path / "empty", overwrite=True)


def names(folder):
  return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_the_user_keeps_in_a_songs_folder_stays(song, tmp_path):
  folder = tmp_path / "song"
  song.save(folder)
  mine = {"take 1.wav": "a take", "project/song.als": "a project", "project/keys.wav": "a bounce"}
  for name, text in mine.items():
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
  info = song.info | {"stems": {"vocals": {"type": "vocals", "given": False}}}
  other = dataclasses.replace(song, stems={"vocals": song.stems["drums"]}, latents={}, info=info)
  other.save(folder, overwrite=True)
  assert {name: (folder / name).read_text() for name in mine} == mine
  made = {"vocals.wav", "mix.wav", "latents.safetensors", "stems.png", "song.json"}
  assert names(folder) == made | mine.keys()


def test_a_file_of_the_users_with_the_name_of_a_new_stem_is_known_before_the_work(song, tmp_path):
  folder = tmp_path / "song"
  dataclasses.replace(song, stems={"keys": song.stems["keys"]}).save(folder)
  info = json.loads((folder / "song.json").read_text())
  (folder / "song.json").write_text(json.dumps(info | {"stems": {"keys": {}}}))
  (folder / "drums.wav").write_text("a take")
  before = files(folder)
  check_output(folder, True, ["keys", "basses"])
  for refused in (lambda: check_output(folder, True, ["drums"]), lambda: song.save(folder, True)):
    with pytest.raises(OutputError, match=r"drums\.wav: is not of what was saved here before"):
      refused()
  assert files(folder) == before


def test_a_song_json_cannot_name_files_elsewhere(song, tmp_path):
  song.save(tmp_path / "song")
  (tmp_path / "letter.wav").write_text("mine")
  info = json.loads((tmp_path / "song" / "song.json").read_text())
  stems = {"../letter": {}, str(tmp_path / "letter"): {}} | info["stems"]
  (tmp_path / "song" / "song.json").write_text(json.dumps(info | {"stems": stems}))
  song.save(tmp_path / "song", overwrite=True)
  assert (tmp_path / "letter.wav").read_text() == "mine"


@pytest.mark.parametrize("kill", range(8))  # a song of three stems is seven files and one folder
def test_a_kill_leaves_the_old_song_or_the_new_one(song, tmp_path, monkeypatch, kill):
  folder, other = tmp_path / "song", make(seed=8, context=None)
  song.save(folder)
  (folder / "take.wav").write_text("mine")
  replace, count = os.replace, itertools.count()

  def killed(source, target):
    inside = Path(source).name.startswith(".stemphonic") or ".saved" in str(source)
    if inside and next(count) >= kill:
      raise SystemExit  # and nothing more is done
    replace(source, target)

  with monkeypatch.context() as patch:
    patch.setattr(os, "replace", killed)
    with contextlib.suppress(SystemExit):
      other.save(folder, overwrite=True)
  found = read_context(folder, tiny.RATE, 2.0).audio
  expected = song if kill == 0 else other
  assert list(found) == list(expected.stems)
  for name, audio in expected.stems.items():
    np.testing.assert_array_equal(found[name], audio)
  assert (folder / "take.wav").read_text() == "mine"
  assert (folder / "keys.wav").exists() == (kill == 0)
  assert not [name for name in names(folder) if name.startswith(".")]


FAILURES = [OSError(28, "No space left on device"), ValueError("a fault"), KeyboardInterrupt()]


@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("step", ["write_wav", "stems_figure"])
def test_a_failure_leaves_all_as_it_was(song, tmp_path, monkeypatch, step, error, existed):
  folder = tmp_path / "song"
  if existed:
    song.save(folder)
  before = files(folder) if existed else None

  def fail(*_, **__):
    raise error

  monkeypatch.setattr(module, step, fail)
  expected = OutputError if isinstance(error, OSError) else type(error)
  with pytest.raises(expected):
    song.save(folder, overwrite=True)
  assert list(tmp_path.iterdir()) == ([folder] if existed else [])
  assert not existed or files(folder) == before


@pytest.mark.parametrize("gain", ["loud", np.nan, None])
def test_a_gain_is_a_finite_number(song, gain):
  with pytest.raises(UsageError, match="gain for 'drums': got"):
    song.mix({"drums": gain})

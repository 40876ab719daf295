"""A song's folder is an editing session: takes are kept, what lies there counts, it is replayed."""

import functools
import json
import shutil

import numpy as np
import pytest
import soundfile

from stemphonic_jax.audio.files import read_audio, write_wav
from stemphonic_jax.errors import DataError, MissingError, OutputError
from stemphonic_jax.generation import song as module
from stemphonic_jax.generation.replaying import differences
from stemphonic_jax.generation.saved import load_song
from tests import tiny
from tests.generation.asking import PROMPT, assert_same, tone


@functools.cache
def song():
  pipe = tiny.pipeline()
  first = pipe.generate(PROMPT, ["drums", "basses"], context={"keys": tone()}, seed=5)
  return pipe.again(first, ["basses"], range=(1, 1.5))


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
  """Most of the time of saving goes into it."""
  monkeypatch.setattr(module, "stems_figure", lambda path, *_: path.touch())


@pytest.fixture
def folder(tmp_path):
  song().save(tmp_path / "song")
  return tmp_path / "song"


def names(folder):
  return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def content(folder):
  return {name: (folder / name).read_bytes() for name in names(folder)}


SAVED = {"keys.wav", "drums.wav", "basses.wav", "mix.wav", "song.json", "stems.png"}
SAVED |= {"latents.safetensors", "takes/0/basses.wav", "takes/0/basses.safetensors"}


def test_a_song_is_read_as_it_was_saved(folder):
  assert names(folder) == SAVED
  found = load_song(folder)
  assert list(found.stems) == ["keys", "drums", "basses"]
  for name, audio in song().stems.items():
    np.testing.assert_array_equal(found.stems[name], audio)
  assert json.loads(json.dumps(song().info)) == found.info
  assert_same(found.take("basses", 0), song().take("basses", 0), [])
  np.testing.assert_array_equal(found.take("basses", 0).audio, song().take("basses", 0).audio)
  np.testing.assert_array_equal(found.latents["drums"], song().latents["drums"])


def test_steps_are_undone_and_done_again_and_takes_used_elsewhere(folder):
  before, drums = content(folder), (folder / "drums.wav").stat()
  load_song(folder).at(0).save(folder, overwrite=True)
  undone = content(folder)
  assert undone["basses.wav"] == before["takes/0/basses.wav"]
  assert undone["takes/1/basses.wav"] == before["basses.wav"]
  assert "takes/0/basses.wav" not in undone
  assert (folder / "drums.wav").stat() == drums  # it did not change, and is not written again
  load_song(folder).at(1).save(folder, overwrite=True)
  assert content(folder) == before
  branch = tiny.pipeline().again(load_song(folder).at(0), ["drums"], range=(0, 1))
  branch = branch.use("basses", 1)
  branch.save(folder, overwrite=True)
  steps = load_song(folder).info["steps"]
  assert [step["from"] for step in steps] == [None, 0, 0, 2]
  assert steps[3]["stems"] == {"keys": 0, "drums": 2, "basses": 1}


def test_a_session_is_replayed_to_the_bit_from_what_was_given(folder, tmp_path):
  found = load_song(folder)
  again = tiny.pipeline().replay(found)
  assert not differences(found, again)
  again.save(tmp_path / "again")
  for path in ("basses.wav", "drums.wav", "mix.wav", "takes/0/basses.wav", "stems.png"):
    assert (tmp_path / "again" / path).read_bytes() == (folder / path).read_bytes()
  write_wav(folder / "drums.wav", tone(330), tiny.RATE)
  by_hand = load_song(folder)
  assert not differences(by_hand, tiny.pipeline().replay(by_hand))


def test_what_was_changed_by_hand_counts(folder):
  soundfile.write(folder / "drums.wav", tone(330), tiny.RATE, subtype="PCM_24")
  write_wav(folder / "Guitar.wav", tone(220, seconds=1.5), tiny.RATE)
  write_wav(folder / "bounce.wav", tone(220), tiny.RATE)
  (folder / "keys.wav").unlink()
  mine = {name: (folder / name).read_bytes() for name in ("Guitar.wav", "drums.wav")}
  found = load_song(folder)
  assert list(found.stems) == ["drums", "basses", "Guitar"]
  assert {len(audio) for audio in found.stems.values()} == {tiny.SAMPLES}
  assert not found.stems["Guitar"][66_150:].any()
  assert found.latents.keys() == {"basses"}
  step = found.info["steps"][2]
  assert step["ask"] == {"added": ["Guitar"], "changed": ["drums"], "removed": ["keys"]}
  assert found.info["stems"]["Guitar"] == {"type": "guitars", "given": True}
  edited = tiny.pipeline().again(found, ["basses"], range=(0, 1))
  edited.save(folder, overwrite=True)
  assert {name: (folder / name).read_bytes() for name in mine} == mine
  assert (folder / "bounce.wav").exists()
  assert len(load_song(folder).info["steps"]) == 4  # nothing was found anew
  tiny.pipeline().again(load_song(folder), ["Guitar"], seed=1).save(folder, overwrite=True)
  np.testing.assert_array_equal(
    read_audio(folder / "takes" / "2" / "Guitar.wav", tiny.RATE), found.stems["Guitar"]
  )


def test_a_take_that_was_changed_is_said_or_refused(folder, caplog):
  take = folder / "takes" / "0" / "basses.wav"
  write_wav(take, tone(330), tiny.RATE)
  with caplog.at_level("INFO", "absl"):
    np.testing.assert_array_equal(load_song(folder).at(0).stems["basses"], tone(330))
  assert f"{take}: was changed since it was made" in caplog.text
  write_wav(take, tone(330, seconds=1), tiny.RATE)
  with pytest.raises(DataError, match="and the song of that step"):
    load_song(folder).at(0)


def test_latents_that_cannot_be_read_are_said(folder, caplog):
  (folder / "latents.safetensors").write_bytes(b"no latents")
  with caplog.at_level("INFO", "absl"):
    assert not load_song(folder).latents
  assert "latents.safetensors: cannot be read" in caplog.text


def test_files_that_lie_in_one_folder_replace_none_in_another(folder, tmp_path):
  write_wav(folder / "Guitar.wav", tone(220), tiny.RATE)
  song().save(tmp_path / "other")
  write_wav(tmp_path / "other" / "Guitar.wav", tone(110), tiny.RATE)
  mine = (tmp_path / "other" / "Guitar.wav").read_bytes()
  with pytest.raises(OutputError, match=r"Guitar\.wav: is not of what was saved here before"):
    load_song(folder).save(tmp_path / "other", overwrite=True)
  assert (tmp_path / "other" / "Guitar.wav").read_bytes() == mine


def test_another_kind_of_file_stands_for_a_stem_and_a_folder_for_none(folder):
  (folder / "keys.wav").unlink()
  soundfile.write(folder / "keys.flac", tone(220), tiny.RATE)
  (folder / "winds.wav").mkdir()
  found = load_song(folder)
  assert found.info["steps"][-1]["ask"] == {"added": [], "changed": ["keys"], "removed": []}
  assert found.info["stems"]["keys"] == {"type": "keys", "given": True}
  np.testing.assert_allclose(found.stems["keys"], tone(220), atol=1e-4)
  found.remove(["drums"]).save(folder, overwrite=True)
  assert (folder / "keys.flac").is_file()
  assert (folder / "winds.wav").is_dir()
  assert [len(load_song(folder).info["steps"]), *load_song(folder).stems] == [4, "keys", "basses"]


def test_a_song_of_before_there_were_steps_is_read(folder):
  tiny.pipeline().generate(PROMPT, ["drums", "basses"], seed=5).save(folder, overwrite=True)
  assert names(folder) == SAVED - {"keys.wav", "takes/0/basses.wav", "takes/0/basses.safetensors"}
  info = json.loads((folder / "song.json").read_text())
  assert [len(info.pop("steps")), info.pop("now"), info.pop("hop")] == [1, 0, 3584]
  (folder / "song.json").write_text(json.dumps(info))
  old = load_song(folder)
  assert old.info["request"] == info["request"]
  again = tiny.pipeline().replay(old)
  np.testing.assert_array_equal(again.stems["drums"], old.stems["drums"])
  tiny.pipeline().again(old, ["drums"], range=(0, 1)).save(folder, overwrite=True)
  assert load_song(folder).info["now"] == 1


def test_what_somebody_else_saved_meanwhile_is_not_replaced(folder):
  mine, other = load_song(folder), load_song(folder)
  other.remove(["drums"]).save(folder, overwrite=True)
  before = content(folder)
  with pytest.raises(OutputError, match="was changed since it was read; nothing is saved"):
    tiny.pipeline().again(mine, ["drums"], range=(0, 1)).save(folder, overwrite=True)
  assert content(folder) == before


def test_a_take_is_not_lost_where_somebody_else_went_back_meanwhile(folder):
  mine = load_song(folder)
  load_song(folder).at(0).save(folder, overwrite=True)  # no step more, but takes are moved
  before = content(folder)
  with pytest.raises(OutputError, match="was changed since it was read; nothing is saved"):
    mine.remove(["drums"]).save(folder, overwrite=True)
  assert content(folder) == before


def test_what_came_to_the_folder_since_the_song_was_read_is_not_lost(folder):
  """A take that comes back from the bin, a stem that was away, a file that a DAW wrote."""
  away = {name: (folder / name).read_bytes() for name in ("takes/0/basses.wav", "keys.wav")}
  for name in away:
    (folder / name).unlink()
  mine = load_song(folder)
  assert mine.info["steps"][-1]["ask"]["removed"] == ["keys"]
  for name, wav in away.items():
    (folder / name).write_bytes(wav)
  edited = mine.remove(["basses"])
  edited.save(folder, overwrite=True)
  assert {name: (folder / name).read_bytes() for name in away} == away
  assert load_song(folder).info["steps"][-1]["ask"]["added"] == ["keys"]
  edited.use("basses", 1).save(folder, overwrite=True)  # who saved goes on with what was saved
  write_wav(folder / "basses.wav", tone(330), tiny.RATE)
  before = content(folder)
  with pytest.raises(OutputError, match=r"basses\.wav: was changed since it was read; nothing is"):
    tiny.pipeline().again(edited.use("basses", 1), ["basses"]).save(folder, overwrite=True)
  assert content(folder) == before


def test_a_song_goes_to_another_folder_with_its_takes(folder, tmp_path):
  before = content(folder)
  load_song(folder).remove(["drums"]).save(tmp_path / "other")
  expected = SAVED - {"drums.wav"} | {"takes/0/drums.wav", "takes/0/drums.safetensors"}
  assert names(tmp_path / "other") == expected
  shutil.rmtree(folder / "takes")
  with pytest.raises(MissingError, match="the take of 'basses' of step 0 is not there any more"):
    load_song(folder).at(0)
  assert content(folder).items() < before.items()


DAMAGES = [
  lambda info: info.update(now=9),
  lambda info: info["steps"][1]["stems"].update({"../letter": 0}),
  lambda info: info.update(steps=[{}]),
  lambda info: info["steps"][1].update(seconds=1e9),
  lambda info: info.pop("model"),
  lambda info: info["request"].update(duration=-1),
  lambda info: info["request"].update(activity={"drums": [[0, 1, 2]]}),
  lambda info: info["sampler"].update(passes=True),
  lambda info: info["steps"][0]["ask"].update(seed="x"),
  lambda info: info["steps"][1].update({"from": 1}),
  lambda info: info["stems"]["drums"].pop("given"),
  lambda info: info["request"].update(bpm=0),
  lambda info: info["steps"][0].update(seconds=1e308),
  lambda info: info["steps"][1].update(do="use", ask={}),
  lambda info: info["steps"][1]["ask"].update(stems=5),
  lambda info: info["steps"][1]["ask"].update(range="abc"),
  lambda info: info["request"].update(prompt="half \ud800"),
  lambda info: info["request"].update(activity={"drums": [[1e308, 1e308]]}),
  lambda info: info["steps"][0]["made"]["drums"].update(activity=[[0, 10**400]]),
]


def test_a_damaged_song_is_named_in_one_line(folder):
  whole = (folder / "song.json").read_text()
  for damage in DAMAGES:
    (folder / "song.json").write_text(whole)
    damage(info := json.loads(whole))
    (folder / "song.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"song\.json: not a song's \("):
      load_song(folder)


def test_folders_that_cannot_be_edited_are_named(folder, tmp_path):
  with pytest.raises(MissingError, match="is not the folder of a song"):
    load_song(tmp_path)
  write_wav(folder / "drums.wav", tone(seconds=2.5), tiny.RATE)
  with pytest.raises(DataError, match=r"drums\.wav: lasts 2.50 s and the song 2.00 s; cut it"):
    load_song(folder)
  for name in ("keys", "drums", "basses"):
    (folder / f"{name}.wav").unlink()
  with pytest.raises(DataError, match="none of its stems is there any more"):
    load_song(folder)

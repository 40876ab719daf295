"""The bin: what is deleted comes back as it was, whatever was cut off."""

import contextlib
import functools
import json
import os

import pytest

from stemphonic_jax.audio.folders import alone
from stemphonic_jax.errors import MissingError, OutputError
from stemphonic_jax.studio.bin import Bin
from stemphonic_jax.studio.library import Library


def test_what_is_deleted_lies_in_the_bin_and_comes_back_as_it_was(studio):
  name = studio.make("Thrown away", title="Mine")
  studio.wait(studio("POST", f"/api/songs/{name}/jobs", {"do": "again", "stems": ["drums"]}, 202))
  take = studio.send("GET", f"/api/songs/{name}/takes/0/drums/audio")[2]
  (studio.songs / name / "notes.txt").write_text("of the user's")
  before = {path.name: path.read_bytes() for path in (studio.songs / name).glob("*.*")}

  thing = studio("DELETE", f"/api/songs/{name}/takes/0/drums")["bin"]
  song = studio("GET", f"/api/songs/{name}")["song"]
  assert [step["gone"] for step in song["steps"]] == [["drums"], []]
  studio("GET", f"/api/songs/{name}/takes/0/drums/audio", status=404)
  said = studio("POST", f"/api/songs/{name}/now", {"do": "at", "step": 0}, 404)["error"]
  assert said == "the take of 'drums' of step 0 is not there any more"
  said = studio("DELETE", f"/api/songs/{name}/takes/1/drums", status=400)["error"]
  assert said == "the take of 'drums' of step 1 is heard; use another one first"
  assert studio("POST", f"/api/bin/{thing}") == {"song": name}
  assert studio.send("GET", f"/api/songs/{name}/takes/0/drums/audio")[2] == take

  take = studio("DELETE", f"/api/songs/{name}/takes/0/drums")["bin"]
  thing = studio("DELETE", f"/api/songs/{name}")["bin"]
  assert not (studio.songs / name).exists()
  assert name not in [one["id"] for one in studio("GET", "/api/songs")]
  studio("GET", f"/api/songs/{name}", status=404)
  studio("GET", f"/api/songs/{name}/takes/0/drums/audio", status=404)
  (found,) = [one for one in studio("GET", "/api/bin") if one["id"] == thing]
  assert (found["kind"], found["title"], found["song"]) == ("song", "Mine", name)
  other = studio("POST", "/api/songs", {"prompt": "Thrown away"}, 201)["id"]
  assert other == name  # its name is free
  said = studio("POST", f"/api/bin/{take}", status=404)["error"]
  assert said == f"the song of this take, '{name}', is not there any more"
  assert studio("POST", f"/api/bin/{thing}") == {"song": f"{name}-2"}
  after = {path.name: path.read_bytes() for path in (studio.songs / f"{name}-2").glob("*.*")}
  assert after == before
  assert studio("GET", f"/api/songs/{name}-2")["desk"]["title"] == "Mine"
  with alone(
    studio.songs / f"{name}-2"
  ):  # as a command does, which would delete what it has not seen
    assert "somebody else" in studio("POST", f"/api/bin/{take}", status=409)["error"]
  assert studio("POST", f"/api/bin/{take}") == {"song": f"{name}-2"}  # it goes where its song went

  thing = studio("DELETE", f"/api/songs/{other}")["bin"]  # of which nothing was made
  assert studio("DELETE", f"/api/bin/{thing}") == {"forgotten": thing}
  studio("POST", f"/api/bin/{thing}", status=404)


def test_a_song_that_is_worked_on_is_not_deleted(studio):
  desk = {"prompt": "slow", "lanes": [{"name": "drums"}], "variations": 2}
  name = studio("POST", "/api/songs", desk, 201)["id"]
  job = studio("POST", f"/api/songs/{name}/jobs", {"do": "make"}, 202)
  said = studio("DELETE", f"/api/songs/{name}", status=409)["error"]
  assert "is being worked on; wait until it is done, or cancel it" in said
  studio.wait(job)
  with alone(studio.songs / name):  # as a command does that edits it
    said = studio("DELETE", f"/api/songs/{name}", status=409)["error"]
    assert "somebody else is changing it" in said
    job = studio("POST", f"/api/songs/{name}/jobs", {"do": "again"}, 202)
    assert "somebody else is changing it" in studio.wait(job, "failed")["error"]
  studio("DELETE", f"/api/songs/{name}")


def test_a_take_does_not_come_back_in_another_song_of_that_name(tmp_path):
  library = Library(tmp_path)
  (tmp_path / "song" / "takes" / "0").mkdir(parents=True)
  file = tmp_path / "song" / "takes" / "0" / "drums.wav"
  file.write_bytes(b"sound")

  def of(sha256):
    step = {"do": "again", "from": 0, "ask": {}, "seconds": 1.0, "stems": {"drums": 1}}
    made = {"type": "drums", "sha256": sha256}
    song = {"stems": {"drums": {}}, "sample_rate": 8000, "request": {"prompt": "", "bpm": None}}
    steps = [step | {"made": {"drums": made}}, step | {"made": {"drums": {"type": "drums"}}}]
    (tmp_path / "song" / "song.json").write_text(json.dumps(song | {"now": 1, "steps": steps}))

  of("that take")
  found = Bin(library, tmp_path / "desks")
  thing = found.throw_take("song", 0, "drums", "")
  of("another one")
  with pytest.raises(MissingError, match="the song of this take, 'song', is not there any more"):
    found.restore(thing, set())
  of("that take")
  assert found.restore(thing, set()) == "song"
  assert file.read_bytes() == b"sound"


def test_what_is_no_part_of_the_bin_stops_no_studio(tmp_path, caplog):
  place = tmp_path / ".studio" / "bin"
  (place / "odd").mkdir(parents=True)
  (place / "odd" / "about.json").write_text('{"kind": "book"}')
  (place / ".DS_Store").write_text("of a file browser")
  assert Bin(Library(tmp_path), tmp_path / "desks").all() == []
  assert "about.json: does not say what was deleted" in caplog.text
  assert (place / ".DS_Store").is_file()


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_a_deletion_that_is_cut_off_is_done_or_undone(tmp_path, monkeypatch, renamed):
  library, desks = Library(tmp_path), tmp_path / ".studio" / "desks"
  desks.mkdir(parents=True)
  (tmp_path / "song").mkdir()
  (tmp_path / "song" / "song.json").write_text("{}")
  (desks / "song.json").write_text("[]")
  rename, left = os.rename, [renamed]

  def cut(source, target, error=KeyboardInterrupt):
    left[0] -= 1
    if left[0] == -1:
      raise error
    rename(source, target)

  with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
    patch.setattr(os, "rename", cut)
    Bin(library, desks).throw_song("song", "A song")
  there = Bin(library, desks).all()
  assert len(there) == (renamed > 0)
  assert (tmp_path / "song").is_dir() == (desks / "song.json").is_file() == (renamed == 0)
  if there:
    for error in (OSError, KeyboardInterrupt):  # the disk refuses, then the process ends
      left[0] = renamed - 1
      with monkeypatch.context() as patch, contextlib.suppress(OutputError, KeyboardInterrupt):
        patch.setattr(os, "rename", functools.partial(cut, error=error))
        Bin(library, desks).restore(there[0]["id"], set())
      if error is OSError:
        assert not (desks / "song.json").is_file(), "all is in the bin again"
    (again,) = Bin(library, desks).all()
    assert Bin(library, desks).restore(again["id"], set()) == "song"
    assert (tmp_path / "song" / "song.json").read_text() == "{}"
    assert (desks / "song.json").read_text() == "[]"
    assert not any((tmp_path / ".studio" / "bin").iterdir())

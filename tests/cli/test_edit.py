"""`stemphonic again` and the others: a song in its folder, in one line each where it cannot be."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stemphonic_jax.audio.folders import alone
from stemphonic_jax.generation import song as module
from stemphonic_jax.generation.saved import load_song
from tests import tiny
from tests.generation.asking import PROMPT

MODEL = ("--model", tiny.model())


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setattr(module, "stems_figure", lambda path, *_: path.touch())  # it takes longest
  tiny.pipeline().generate(PROMPT, ["drums", "basses"], bpm=120).save(tmp_path / "song")
  return tmp_path / "song"


def test_a_song_is_edited_in_its_folder_or_into_another(stemphonic, folder):
  again = ("again", "song", "--stems", "drums", "--range", "0-0.5,1-1.5", "--seed", 3, *MODEL)
  assert stemphonic(*again)[:2] == (0, "song\n")
  assert stemphonic("add", "song", "--stems", "keys", "--out", "more", *MODEL)[:2] == (0, "more\n")
  assert stemphonic("remove", "more", "--stems", "basses")[0] == 0
  looped = ("loop", "song", "--range", "0-2", "--out", "loop", *MODEL)
  assert stemphonic(*looped)[:2] == (0, "loop\n")
  assert "loop      drums, basses  range 0-2" in stemphonic("takes", "loop")[1]
  assert stemphonic("extend", "loop", "--seconds", 2.5, "--left", *MODEL)[0] == 0
  on = ("--activity", "keys=0-1.234,2-3")
  assert stemphonic("add", "loop", "--stems", "keys", *on, *MODEL)[0] == 0
  *_, left, added = stemphonic("takes", "loop")[1].splitlines()
  assert "extend    drums, basses  seconds 2.5  left  seed" in left
  assert "add       keys  activity keys=0-1.23,2-3  seed" in added
  assert [step["do"] for step in load_song("song").info["steps"]] == ["generate", "again"]
  more = load_song("more")
  assert list(more.stems) == ["drums", "keys"]
  assert sorted(more.takes) == [(0, "basses"), (0, "drums")]
  code, out, _ = stemphonic("takes", "more")
  assert code == 0
  assert [line[:17].strip() for line in out.splitlines()] == [
    "0  generate", "1  again", "2  add", "*   3  remove"
  ]  # fmt: skip
  assert stemphonic("takes", "more", "--use", "drums=0")[0] == 0
  assert "use       drums of step 0" in stemphonic("takes", "more")[1]
  assert stemphonic("takes", "more", "--step", 1)[0] == 0
  assert list(load_song("more").stems) == ["drums", "basses"]
  assert stemphonic("replay", "more", "--out", "once more", *MODEL)[0] == 0
  assert Path("once more", "mix.wav").read_bytes() == Path("song", "mix.wav").read_bytes()


REFUSED = {
  "nowhere: no such folder; name the folder of a song": (
    66,
    "remove",
    "nowhere",
    "--stems",
    "drums",
  ),
  "range '8': expected START-END": (2, "again", "song", "--range", "8"),
  "range 1-9: expected start < end": (2, "again", "song", "--range", "1-9", *MODEL),
  "unknown stem type 'drumz'; did you mean": (2, "add", "song", "--stems", "drumz", *MODEL),
  "song: already exists; choose": (73, "remove", "song", "--stems", "drums", "--out", "song"),
  "--use 'drums': expected STEM=STEP": (2, "takes", "song", "--use", "drums"),
  "--use 'drums=1000000': expected STEM=STEP": (2, "takes", "song", "--use", "drums=1000000"),
  "name either --step or --use": (2, "takes", "song", "--use", "drums=0", "--step", "0"),
  "step: got 7, expected 0 to 0": (2, "takes", "song", "--step", "7"),
}


def test_what_is_wrong_is_one_line_and_changes_nothing(stemphonic, folder):
  before = {path.name: path.read_bytes() for path in folder.iterdir()}
  for message, (code, *command) in REFUSED.items():
    found, out, err = stemphonic(*command)
    assert (found, out) == (code, ""), err
    assert message in err
    assert err.count("\n") == 1
  assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_stems_follow_a_file(stemphonic, folder):
  follow = ("follow", "song/drums.wav", "rock", "--stems", "basses", "--out", "with", *MODEL)
  assert stemphonic(*follow)[:2] == (0, "with\n")
  made = load_song("with")
  assert made.info["stems"]["drums"] == {"type": "drums", "given": True}
  assert list(made.stems) == ["drums", "basses"]
  again = ("follow", "song", "rock", "--stems", "keys", "--out", "whole", *MODEL)
  assert stemphonic(*again)[0] == 0
  assert load_song("whole").info["request"]["bpm"] == 120


def test_who_comes_second_is_told_before_the_work(stemphonic, folder):
  with alone(folder):
    code, _, err = stemphonic("again", "song", "--stems", "drums", "--model", "none")
    assert code == 73
    assert "song: somebody else is changing it; wait until that is done" in err
  assert stemphonic("remove", "song", "--stems", "drums")[0] == 0


KILLED = """
import os, signal, sys
from stemphonic_jax.generation.saved import load_song
song = load_song(sys.argv[1]).remove(["drums"])
left, write = int(sys.argv[2]), os.replace
def replace(source, target):
  global left
  left -= 1
  if left < 0:
    os.kill(os.getpid(), signal.SIGKILL)
  write(source, target)
os.replace = replace
song.save(sys.argv[1], overwrite=True)
"""


@pytest.mark.parametrize("writes", [1, 6])
def test_a_kill_leaves_the_song_before_the_edit_or_after_it(folder, writes):
  info = json.loads((folder / "song.json").read_text())
  command = [sys.executable, "-c", KILLED, folder, str(writes)]
  environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
  assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL
  found = load_song(folder)
  if writes == 1:
    assert found.info == info
  else:
    assert list(found.stems) == ["basses"]
    assert len(found.take("drums", 0).audio) == tiny.SAMPLES

"""Folders that appear whole or not at all, and leave alone what they did not bring."""

import json
import os

import pytest

from stemphonic_jax.audio.folders import SAVED, settle, whole_folder
from stemphonic_jax.errors import OutputError


def write(folder, **texts):
  for name, text in texts.items():
    (folder / name).write_text(text)


def texts(folder):
  paths = (path for path in folder.rglob("*") if path.is_file())
  return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path):
  with (
    pytest.raises(OutputError, match="cannot be written"),
    whole_folder(tmp_path / "model") as new,
  ):
    write(new, weights="half", **{"no/such/folder": ""})
  assert not list(tmp_path.iterdir())
  with whole_folder(tmp_path / "model") as new:
    write(new, weights="new")
    assert not (tmp_path / "model").exists()
  assert texts(tmp_path) == {"model/weights": "new"}


def test_in_an_old_folder_only_what_was_brought_there_is_replaced(tmp_path):
  write(tmp_path, weights="old", config="old", notes="mine")
  with whole_folder(tmp_path, lambda _: {"weights", "config", "never"}) as new:
    write(new, weights="new")
    assert (tmp_path / "weights").read_text() == "old"
  assert texts(tmp_path) == {"weights": "new", "notes": "mine"}


def test_folders_in_it_go_with_their_last_file(tmp_path):
  for name in ("1/a", "2/b"):
    (tmp_path / name).mkdir(parents=True)
    write(tmp_path / name, song="old")
  write(tmp_path / "2", notes="mine")
  with whole_folder(tmp_path, lambda _: {"1/a/song", "2/b/song"}) as new:
    (new / "3").mkdir()
    write(new / "3", song="new")
  assert texts(tmp_path) == {"2/notes": "mine", "3/song": "new"}
  assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"]


@pytest.mark.parametrize("place", ["weights", "weights/deep"])
def test_what_is_in_the_way_is_the_users_and_stays(tmp_path, place):
  write(tmp_path, weights="mine")
  taken = pytest.raises(OutputError, match="weights: is not of what was saved here before")
  with taken, whole_folder(tmp_path) as new:
    (new / place).parent.mkdir(exist_ok=True)
    (new / place).write_text("new")
  assert texts(tmp_path) == {"weights": "mine"}


@pytest.mark.parametrize("name", ["../letter", "/letter", "a/../../letter", "..", ""])
def test_names_that_lead_elsewhere_are_nobodys(tmp_path, name):
  (tmp_path / "model").mkdir()
  write(tmp_path, letter="mine")
  own = {str(tmp_path / "letter") if name == "/letter" else name}
  with whole_folder(tmp_path / "model", lambda _: own) as new:
    write(new, weights="new")
  assert texts(tmp_path) == {"letter": "mine", "model/weights": "new"}


def test_a_link_to_a_folder_stays_one(tmp_path):
  (tmp_path / "disk").mkdir()
  (tmp_path / "model").symlink_to(tmp_path / "disk")
  with whole_folder(tmp_path / "model") as new:
    write(new, weights="new")
  assert (tmp_path / "model").is_symlink()
  assert texts(tmp_path / "disk") == {"weights": "new"}


def test_what_fails_while_files_are_moved_is_finished_later(tmp_path, monkeypatch):
  write(tmp_path, a="old", b="old", stale="old", notes="mine")
  replace = os.replace

  def fails(source, target):
    if os.path.basename(source) == "b":
      raise OSError(5, "Input/output error")
    replace(source, target)

  with monkeypatch.context() as patch:
    patch.setattr(os, "replace", fails)
    failing = pytest.raises(OutputError, match="Input/output")
    with failing, whole_folder(tmp_path, lambda _: {"a", "b", "stale"}) as new:
      write(new, a="new", b="new")
  assert (tmp_path / SAVED).is_dir()
  settle(tmp_path)
  assert texts(tmp_path) == {"a": "new", "b": "new", "notes": "mine"}
  settle(tmp_path)  # once more is nothing more


def saved_by_a_stranger(folder, stale, *names):
  """What somebody put into a folder that they pass on."""
  for name in names:
    (folder / SAVED / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / SAVED / name).write_text("new")
  (folder / SAVED).mkdir(parents=True, exist_ok=True)
  (folder / SAVED / ".stale").write_text(stale)


def test_what_is_saved_in_a_folder_reaches_nothing_outside_of_it(tmp_path):
  folder, mine = tmp_path / "song", tmp_path / "mine"
  mine.mkdir()
  write(mine, letter="mine")
  folder.mkdir()
  (folder / "link").symlink_to(mine)
  names = ["../mine/letter", str(mine / "letter"), "link/letter", "nul\0", 3, None]
  saved_by_a_stranger(folder, json.dumps(names), "link/letter", "drums")
  settle(folder)
  assert texts(mine) == {"letter": "mine"}
  assert (folder / "drums").read_text() == "new"
  (folder / SAVED).symlink_to(mine)
  settle(folder)
  assert texts(mine) == {"letter": "mine"}
  assert not (folder / "letter").exists()


@pytest.mark.parametrize("stale", ["", "[]{}", "3", "null", "[" * 100_000])
def test_names_that_cannot_be_read_remove_nothing(tmp_path, stale):
  write(tmp_path, drums="old", bass="old")
  saved_by_a_stranger(tmp_path, stale, "drums")
  settle(tmp_path)
  assert texts(tmp_path) == {"drums": "new", "bass": "old"}


@pytest.mark.parametrize("there", [False, True])
def test_two_at_once_do_not_mix_their_files(tmp_path, there):
  folder = tmp_path / "song"
  if there:
    folder.mkdir()
  with whole_folder(folder) as first:
    write(first, drums="first")
    other = pytest.raises(OutputError, match="another process is writing it")
    with other, whole_folder(folder) as second:
      write(second, drums="second", bass="second")
  assert texts(tmp_path) == {"song/drums": "first"}

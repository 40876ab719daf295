"""The bin: songs and takes that were deleted, until somebody brings them back or empties it.

Each lies in a folder of its own in .studio/bin, with what it is in about.json:

    song/ and desk.json              a song, as far as there is one, and its desk
    take.wav and take.safetensors    a take, which fits to its song by the digest of its audio

about.json comes first and goes last, and what counts, the folder of a song or the WAV of a take, is
moved by one renaming. So whatever was cut off is done, or undone, when the studio starts again.
"""

import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.errors import (
  DataError,
  MissingError,
  OutputError,
  StemphonicError,
  UsageError,
)
from stemphonic_jax.generation.song_folder import INFO, TAKES
from stemphonic_jax.studio.files import read_json, write_json
from stemphonic_jax.studio.library import Library

ABOUT, SONG, DESK = "about.json", "song", "desk.json"
WAV, LATENTS = "take.wav", "take.safetensors"
FIELDS = {  # of about.json
  "song": {"song", "title", "made", "desk"},
  "take": {"song", "title", "step", "stem", "sha256"},
}
LONGEST = 60  # letters of an id in the bin, of which some file systems take no more than 255 bytes


class Bin:
  """What was deleted of a library's songs, whose desks are in the folder `desks`."""

  def __init__(self, library: Library, desks: Path):
    self._library, self._desks = library, desks
    self._folder = library.private / "bin"
    for folder in self._folders():
      try:
        self._settle(folder)
      except (OSError, StemphonicError) as error:
        logging.warning("%s: cannot be looked at (%s)", folder, error)

  def _folders(self) -> list[Path]:
    """Its folders, the last one first."""
    return sorted((path for path in self._folder.glob("*") if path.is_dir()), reverse=True)

  def all(self) -> list[dict[str, Any]]:
    """What is in it, the last one first."""
    found = []
    for folder in self._folders():
      with suppress(DataError, FileNotFoundError):
        found.append({"id": folder.name, **_about(folder)})
    return found

  def throw_song(self, name: str, title: str) -> str:
    """Puts a song and its desk into the bin; its id there. MissingError where there is none."""
    place, desk = self._library.folder(name), self._desks / f"{name}.json"
    made, there = (place / INFO).is_file(), desk.is_file()
    if not made and not there:
      raise MissingError(f"no song {name[:60]!r}; GET /api/songs lists those that are there")
    about = {"kind": "song", "song": name, "title": title, "made": made, "desk": there}
    folder = self._begin(about)
    try:
      if made:
        os.rename(place, folder / SONG)
      if there:
        os.rename(desk, folder / DESK)
    except OSError as error:
      with suppress(OSError):
        os.rename(folder / SONG, place)
      self._settle(folder)
      raise OutputError(f"{place}: cannot be moved ({error.strerror or error})") from None
    return folder.name

  def throw_take(self, name: str, step: int, stem: str, title: str) -> str:
    """Puts a take into the bin; UsageError for one that is heard."""
    path = self._library.take(name, step, stem)
    if path.parent.name != str(step) or path.parent.parent.name != TAKES:
      raise UsageError(f"the take of {stem!r} of step {step} is heard; use another one first")
    about = {"kind": "take", "song": name, "title": title, "step": step, "stem": stem}
    about["sha256"] = self._digest(about)
    folder = self._begin(about)
    try:
      if (latents := path.with_suffix(".safetensors")).is_file():
        os.rename(latents, folder / LATENTS)
      os.rename(path, folder / WAV)
    except OSError as error:
      self._settle(folder)
      raise OutputError(f"{path}: cannot be moved ({error.strerror or error})") from None
    return folder.name

  def about(self, thing: str) -> dict[str, Any]:
    """What something in the bin is; MissingError where it is not there."""
    plain = len(thing) <= LONGEST and thing.replace("-", "").isalnum()
    if not plain or not (self._folder / thing / ABOUT).is_file():
      raise MissingError(f"nothing {thing[:60]!r} is in the bin; GET /api/bin lists what is")
    return _about(self._folder / thing)

  def restore(self, thing: str, taken: set[str]) -> str:
    """Brings something back, and says in which song it is.

    A song whose id is `taken` meanwhile gets another one. MissingError or OutputError where a take
    has no place any more.
    """
    about, folder = self.about(thing), self._folder / thing
    try:
      if about["kind"] == "take":
        self._restore_take(about, folder)
        return about["song"]
      return self._restore_song(about, folder, taken)
    except OSError as error:
      with suppress(OSError, StemphonicError):
        self._settle(folder)
      raise OutputError(f"{folder}: cannot be moved back ({error.strerror or error})") from None

  def _restore_song(self, about: dict[str, Any], folder: Path, taken: set[str]) -> str:
    name = self._library.free_name(about["song"], taken)
    if name != about["song"]:
      write_json(folder / ABOUT, about | {"song": name})
    place = self._library.folder(name)
    if (folder / DESK).is_file():
      os.rename(folder / DESK, self._desks / f"{name}.json")
    if (folder / SONG).is_dir():
      place.parent.mkdir(parents=True, exist_ok=True)
      os.rename(folder / SONG, place)
    self._end(folder)
    if name != about["song"]:
      self._let_takes_follow(about["song"], name)
    return name

  def _let_takes_follow(self, old: str, new: str) -> None:
    """Writes down that what is here of a song is of its new id."""
    for folder in self._folders():
      with suppress(DataError, MissingError, FileNotFoundError):
        about = _about(folder)
        if about["kind"] == "take" and about["song"] == old:
          moved = about | {"song": new}
          if self._digest(moved) == about["sha256"]:
            write_json(folder / ABOUT, moved)

  def _digest(self, about: dict[str, Any]) -> str | None:
    """That of a take's audio by its song; None where the song has no such take."""
    steps, step = self._library.info(about["song"])["steps"], about["step"]
    made = steps[step]["made"].get(about["stem"]) if step < len(steps) else None
    return None if made is None else made.get("sha256", "")

  def _restore_take(self, about: dict[str, Any], folder: Path) -> None:
    song = self._library.folder(about["song"])
    if not (song / INFO).is_file() or self._digest(about) != about["sha256"]:
      raise MissingError(f"the song of this take, {about['song']!r}, is not there any more")
    place = song / TAKES / str(about["step"]) / f"{about['stem']}.wav"
    if place.exists():
      raise OutputError(f"{place}: is there already; nothing is brought back")
    place.parent.mkdir(parents=True, exist_ok=True)
    if (folder / LATENTS).is_file():
      os.rename(folder / LATENTS, place.with_suffix(".safetensors"))
    os.rename(folder / WAV, place)
    self._end(folder)

  def forget(self, thing: str) -> None:
    """Deletes for good what is in the bin."""
    self.about(thing)
    self._end(self._folder / thing)

  def _begin(self, about: dict[str, Any]) -> Path:
    folder = self._folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    write_json(folder / ABOUT, about | {"deleted": time.time()})
    return folder

  def _end(self, folder: Path) -> None:
    """about.json goes first: what is left of a folder without one is nothing."""
    try:
      (folder / ABOUT).unlink(missing_ok=True)
      shutil.rmtree(folder)
    except OSError as error:
      raise OutputError(f"{folder}: cannot be deleted ({error.strerror or error})") from None

  def _settle(self, folder: Path) -> None:
    """Ends what was cut off: a deletion that had begun is done, one that had not is undone."""
    if not (folder / ABOUT).is_file():
      self._end(folder)
      return
    about = _about(folder)
    if about["kind"] == "take":
      if not (folder / WAV).is_file():
        place = self._library.folder(about["song"]) / TAKES / str(about["step"])
        latents = place / f"{about['stem']}.safetensors"
        if (folder / LATENTS).is_file() and place.is_dir() and not latents.exists():
          os.rename(folder / LATENTS, latents)
        self._end(folder)
      return
    desk = self._desks / f"{about['song']}.json"
    if about["made"] and not (folder / SONG).is_dir():
      if (folder / DESK).is_file() and not desk.exists():
        os.rename(folder / DESK, desk)
      self._end(folder)
    elif about["desk"] and not (folder / DESK).is_file():
      if about["made"] and desk.is_file():
        os.rename(desk, folder / DESK)
      elif not about["made"]:
        self._end(folder)


def _about(folder: Path) -> dict[str, Any]:
  """What something in the bin is; DataError where its about.json does not say it."""
  about = read_json(folder / ABOUT)
  kind = about.get("kind") if isinstance(about, dict) else None
  if kind not in list(FIELDS) or not FIELDS[kind] <= about.keys():
    raise DataError(f"{folder / ABOUT}: does not say what was deleted")
  return about

"""What can be done with songs, for the server: seen, prepared, made, mixed, gone back in."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.audio.folders import alone
from stemphonic_jax.audio.metre import COMMON
from stemphonic_jax.data.taxonomy import MIX, STEM_TYPES
from stemphonic_jax.errors import DataError, MissingError, OutputError, UsageError
from stemphonic_jax.generation import values
from stemphonic_jax.generation.colours import colour_of
from stemphonic_jax.generation.mixer import Strip, check_strip, read_mixer, save_mixer
from stemphonic_jax.generation.saved import load_song
from stemphonic_jax.generation.song import Song
from stemphonic_jax.generation.song_folder import INFO, TAKES
from stemphonic_jax.generation.stem_names import unique_name
from stemphonic_jax.studio import asking
from stemphonic_jax.studio import desk as desks
from stemphonic_jax.studio.bin import Bin
from stemphonic_jax.studio.crew import Crew
from stemphonic_jax.studio.events import Events
from stemphonic_jax.studio.files import lock_folder, read_json, write_json
from stemphonic_jax.studio.jobs import ENDED, Job, Jobs
from stemphonic_jax.studio.library import Library, check_name

QUICK = ("at", "use", "remove")


class Busy(OutputError):
  """A song that is being worked on, of which nothing else can be changed meanwhile."""


class Studio:
  """One folder of songs, one worker."""

  def __init__(self, root: Path, command: list[str]):
    """OutputError where the folder cannot be written, or another studio works on it."""
    self.library = Library(root)
    self._lock = lock_folder(self.library.private)
    self.events = Events()
    private = self.library.private
    self.jobs = Jobs(private / "jobs", self._job_changed)
    self.crew = Crew(command, self.jobs, self.library, self._model_changed)
    self._desks = private / desks.DESKS
    self.bin = Bin(self.library, self._desks)
    self._locks: dict[str, asyncio.Lock] = {}
    self._naming = asyncio.Lock()  # held while ids of songs are chosen and taken

  def close(self) -> None:
    """Gives the folder back."""
    os.close(self._lock)

  def _job_changed(self, job: Job) -> None:
    self.events.tell("job", job=job.shown())
    if job.state == "done":
      self._take_over(job)
      for name in (job.result or {}).get("songs", []):
        self.events.tell("song", song=name)

  def _take_over(self, job: Job) -> None:
    """What was asked of a job, and is in the song now, is not on its desk any more."""
    with contextlib.suppress(DataError, MissingError, OutputError, UsageError):
      desk, played = self.desk(job.song), job.ask.get("activity") or {}
      before = [dict(lane) for lane in desk["lanes"]]
      said = asking.words_asked(job.do, job.ask)
      for lane in desk["lanes"]:
        if lane["activity"] == played.get(lane["name"]):
          lane["activity"] = None
        if lane["words"] is not None and said.get(lane["name"]) == asking.plain(lane["words"]):
          lane["words"] = None
      if desk["lanes"] != before:
        write_json(self._desk_file(job.song), desk)
        self.events.tell("desk", song=job.song, desk=desk, author="")

  def _model_changed(self, model: dict[str, Any]) -> None:
    self.events.tell("model", model=model)

  def lock(self, name: str) -> asyncio.Lock:
    """Held while a song, or what is in the bin, is changed by the server itself."""
    return self._locks.setdefault(name, asyncio.Lock())

  # Songs and desks

  def songs(self) -> list[dict[str, Any]]:
    """All songs and desks in short, the newest first; one that cannot be read says why."""
    made = self.library.names()
    known = {path.stem: path.stat().st_mtime for path in self._desks.glob("*.json")}
    drafts = [name for name in sorted(known, key=lambda n: -known[n]) if name not in made]
    return [self._in_short(name) for name in (*drafts, *made)]

  def _in_short(self, name: str) -> dict[str, Any]:
    try:
      desk, info = self.desk(name), self._info(name)
    except (DataError, MissingError, UsageError) as error:
      return {"id": name, "title": name, "error": str(error)}
    request = info["request"] if info else desk
    return {
      "id": name,
      "title": (desk["title"] or request["prompt"] or desk["prompt"] or name)[:120],
      "bpm": request["bpm"],
      "seconds": info["steps"][info["now"]]["seconds"] if info else None,
      "stems": [stem["type"] for stem in info["stems"].values()] if info else [],
      "made": bool(info),
    }

  def _info(self, name: str) -> dict[str, Any] | None:
    """What song.json says; None where nothing was made yet, but there is a desk."""
    folder = self.library.folder(name)
    if (folder / INFO).is_file():
      return self.library.info(name)
    if self._desk_file(name).is_file():
      return None
    raise MissingError(f"no song {name[:60]!r}; GET /api/songs lists those that are there")

  def _desk_file(self, name: str) -> Path:
    self.library.folder(name)  # which refuses what is no id
    return self._desks / f"{name}.json"

  def desk(self, name: str) -> dict[str, Any]:
    """The desk of a song; one that has none is as the song was asked for."""
    info = self._info(name)
    with contextlib.suppress(FileNotFoundError):
      return desks.check_desk(read_json(self._desk_file(name)))
    request = info["request"]
    given = {"prompt": request["prompt"], "bpm": request["bpm"], "seed": request.get("seed", 0)}
    given["metre"] = request.get("metre")
    return desks.check_desk({**given, "lanes": [_lane(n, s) for n, s in info["stems"].items()]})

  def song(self, name: str) -> dict[str, Any]:
    """All there is to a song: what was made step by step, desk, mixer, and jobs that go on."""
    info, desk = self._info(name), self.desk(name)
    jobs = [job.shown() for job in self.jobs.of(name)]
    mixer = {}
    if info:
      mixer = {stem: asdict(s) for stem, s in read_mixer(self.library.folder(name)).items()}
      there = {lane["name"] for lane in desk["lanes"]}
      desk["lanes"] += [_lane(n, s) for n, s in info["stems"].items() if n not in there]
    folder = str(self.library.folder(name))
    return {
      "id": name, "folder": folder, "desk": desk, "mixer": mixer, "jobs": jobs,
      "song": _shown(info, self.library.folder(name)) if info else None,
    }  # fmt: skip

  def _taken(self) -> set[str]:
    """Ids of songs of which no folder is there yet."""
    jobs = (job for job in self.jobs.all() if job.state in ("queued", "running"))
    desks_ = {path.stem for path in self._desks.glob("*.json")}
    return desks_.union(*(job.ask.get("others", []) for job in jobs))

  async def new(self, given: Any) -> dict[str, Any]:
    """A new desk, of which a song can be made."""
    desk = desks.check_desk(given)
    _check_takes(desk["takes"], None)
    async with self._naming:
      name = self.library.new_name(desks.words_of(desk) or "song", self._taken())
      await asyncio.to_thread(write_json, self._desk_file(name), desk)
    self.events.tell("song", song=name)
    return self.song(name)

  async def prepare(self, name: str, given: Any, author: str = "") -> dict[str, Any]:
    """Changes a desk, and tells the other pages."""
    async with self.lock(name):
      old = self.desk(name)
      desk = desks.check_desk(given, old)
      _check_takes(desk["takes"].keys() - old["takes"], self._info(name))
      await asyncio.to_thread(write_json, self._desk_file(name), desk)
    self.events.tell("desk", song=name, desk=desk, author=author)
    return desk

  async def mix(self, name: str, given: Any, author: str = "") -> dict[str, Any]:
    """Sets the strips of some stems."""
    if not isinstance(given, Mapping) or len(given) > 2 * desks.MAX_STEMS:
      raise UsageError("mixer: expected an object, as {'drums': {'gain': -3}}")
    async with self.lock(name):
      stems = sorted({stem for step in self.library.info(name)["steps"] for stem in step["made"]})
      if unknown := [stem for stem in given if stem not in stems]:
        raise UsageError(f"mixer: no stem {unknown[0][:60]!r}; there are {', '.join(stems)}")
      folder = self.library.folder(name)
      strips = read_mixer(folder)
      for stem, strip in given.items():  # what is not named of a strip stays
        before = asdict(strips.get(stem, Strip()))
        new = {**before, **strip} if isinstance(strip, Mapping) else strip
        strips[stem] = check_strip(stem, new)
      await asyncio.to_thread(save_mixer, folder, strips)
    shown = {stem: asdict(strip) for stem, strip in strips.items()}
    self.events.tell("mixer", song=name, mixer=shown, author=author)
    return shown

  # The bin

  async def throw(self, name: str, step: int | None = None, stem: str = "") -> dict[str, Any]:
    """Puts a song into the bin, or a take of it; Busy where there is work for the song."""
    async with self.lock(f"{name} jobs"), self.lock(name):
      self._refuse_busy(name)
      with alone(self.library.folder(name)):
        if step is None:
          title = (await asyncio.to_thread(self._in_short, name))["title"]
          thing = await asyncio.to_thread(self.bin.throw_song, name, title)
        else:
          title = self.desk(name)["takes"].get(f"{step} {stem}", "")
          thing = await asyncio.to_thread(self.bin.throw_take, name, step, stem, title)
    self.events.tell("gone" if step is None else "song", song=name)
    return {"bin": thing}

  async def restore(self, thing: str) -> dict[str, Any]:
    """Brings back what is in the bin, and says in which song it is."""
    about = self.bin.about(thing)
    name = about["song"]
    async with self.lock(thing), self.lock(name), self._naming:
      if about["kind"] == "take":
        self._refuse_busy(name)
      taken = self._taken() | {job.song for job in self.jobs.all() if job.state not in ENDED}
      with (
        alone(self.library.folder(name)) if about["kind"] == "take" else contextlib.nullcontext()
      ):
        name = await asyncio.to_thread(self.bin.restore, thing, taken)
    self.events.tell("song", song=name)
    return {"song": name}

  async def forget(self, thing: str) -> None:
    """Deletes for good what is in the bin."""
    self.bin.about(thing)
    async with self.lock(thing):
      await asyncio.to_thread(self.bin.forget, thing)

  def _refuse_busy(self, name: str) -> None:
    jobs = [job for job in self.jobs.all() if job.state not in ENDED]
    if any(name in (job.song, *job.ask.get("others", [])) for job in jobs):
      raise Busy(f"{name}: is being worked on; wait until it is done, or cancel it")

  # What the server does itself

  async def quick(self, name: str, do: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Undo, redo, another take, or without a stem: nothing that takes a model."""
    if do == "at":
      step = values.whole("step", given.get("step"))
      change: Callable[[Song], Song] = lambda song: song.at(step)  # noqa: E731
    elif do == "use":
      stem, step = check_name(given.get("stem")), values.whole("step", given.get("step"))
      change = lambda song: song.use(stem, step)  # noqa: E731
    else:
      stems = asking.names_of(given.get("stems"))
      change = lambda song: song.remove(stems)  # noqa: E731
    await self.change(name, change)
    return self.song(name)

  async def change(self, name: str, change: Callable[[Song], Song]) -> None:
    """Saves a song that was changed; Busy where a job works on it."""
    self.library.info(name)
    async with self.lock(name):
      if any(job.state == "running" for job in self.jobs.of(name)):
        raise Busy(f"{name}: is being worked on; wait until it is done, or cancel it")
      await asyncio.to_thread(_changed, self.library.folder(name), change)
    self.events.tell("song", song=name)

  # What takes the model

  async def ask(self, name: str, given: Any) -> Job:
    """Accepts a job for a song: `make` what its desk asks for, or an edit of what is there."""
    if not isinstance(given, Mapping):
      raise UsageError("job: expected an object, as {'do': 'again', 'stems': ['drums']}")
    do = values.text("do", given.get("do"))
    async with self.lock(f"{name} jobs"), self._naming:
      info, desk = self._info(name), self.desk(name)
      if do == "make":
        do, ask = self._make(name, info, desk)
      elif do in asking.EDITS:
        if info is None:
          raise UsageError(f"{do}: nothing was made of {name!r} yet; make it first")
        ask = asking.edit(do, given, info, desk)
      else:
        raise UsageError(f"do: got {do[:40]!r}, expected make, {', '.join(asking.EDITS)}")
      if self.crew.known and not self.jobs.of(name):  # else it may be another song when it is done
        asking.check(self.crew.known, do, ask, info)
      if given["do"] == "make":
        await asyncio.to_thread(write_json, self._desk_file(name), desk)
      job = await self.jobs.accept(name, do, ask)
    self.crew.wake()
    return job

  def _make(
    self, name: str, info: dict[str, Any] | None, desk: dict[str, Any]
  ) -> tuple[str, dict[str, Any]]:
    there = info["stems"] if info else {}
    lanes = [lane for lane in desk["lanes"] if lane["name"] not in there]
    if not lanes:
      what = "every lane has its stem" if info else "there are no lanes"
      raise UsageError(f"{what}; add a stem, or make one again")
    if not info and any(job.do == "make" for job in self.jobs.of(name)):
      raise Busy(f"{name}: is being made already; wait until it is done, or cancel it")
    taken = list(there)
    for lane in lanes:  # names as the pipeline will give them
      kind = "music" if lane["type"] == MIX else lane["type"]
      lane["name"] = check_name(unique_name(kind, taken))
      taken.append(lane["name"])
    asked = [asking.with_words(lane["type"], lane["words"] or "") for lane in lanes]
    activity = {lane["name"]: lane["activity"] for lane in lanes if lane["activity"] is not None}
    if silent := [stem for stem, ranges in activity.items() if not ranges]:
      raise UsageError(f"{silent[0]}: its lane is silent from start to end; paint where it plays")
    ask: dict[str, Any] = {"stems": asked, "activity": activity}
    ask["names"] = [lane["name"] for lane in lanes]
    ask |= {key: desk[key] for key in ("steps", "guidance") if desk[key] is not None}
    ask |= {"negative": negative} if (negative := desk["negative"].strip()) else {}
    if info:
      prompt = desks.words_of(desk)
      return "add", ask | ({"prompt": prompt} if prompt else {})
    twins = len(set(asked)) < len(asked)
    ask |= {"prompt": desks.words_of(desk), "bpm": desk["bpm"], "seed": desk["seed"]}
    ask["metre"] = desk["metre"]
    passes = "K" if twins else desk["passes"]
    ask |= {"duration": desk["duration"]} | ({} if passes == 1 else {"passes": passes})
    if desk["variations"] > 1:
      taken, others = {*self._taken(), name}, []
      for _ in range(desk["variations"] - 1):
        others.append(self.library.new_name(name.replace("~", "-"), {*taken, *others}))
      ask |= {"variations": desk["variations"], "others": others}
    return "make", ask


def _changed(folder: Path, change: Callable[[Song], Song]) -> None:
  start = time.perf_counter()
  with alone(folder):
    change(load_song(folder)).save(folder, overwrite=True)
  logging.info("%s: changed in %.2f s", folder.name, time.perf_counter() - start)


def _check_takes(named: Iterable[str], info: dict[str, Any] | None) -> None:
  """UsageError for the first of these, as "3 keys", that is no take of the song."""
  steps = info["steps"] if info else []
  for take in sorted(named):
    step, _, stem = take.partition(" ")
    if int(step) >= len(steps) or stem not in steps[int(step)]["made"]:
      raise UsageError(f"takes: no take of {stem[:60]!r} of step {step}; GET the song lists them")


def _lane(name: str, stem: Mapping[str, Any]) -> dict[str, Any]:
  kind = stem.get("type") or name
  empty = {"label": "", "words": None, "activity": None, "locked": False}
  return {"name": name, "type": kind, **empty}


def _shown(info: dict[str, Any], folder: Path) -> dict[str, Any]:
  """song.json as the page needs it, and in no other words; `gone` are takes in the bin."""
  request, heard = info["request"], info["steps"][info["now"]]["stems"]

  def gone(step: int, name: str) -> bool:
    return heard.get(name) != step and not (folder / TAKES / str(step) / f"{name}.wav").is_file()

  keys = ("do", "from", "ask", "seconds", "stems", "made")
  return {
    "prompt": request["prompt"],
    "bpm": request["bpm"],
    "metre": request.get("metre", COMMON),
    "rate": info["sample_rate"],
    "model": info.get("model"),
    "now": info["now"],
    "seconds": info["steps"][info["now"]]["seconds"],
    "stems": info["stems"],
    "activity": request.get("activity", {}),
    "words": request.get("words", {}),
    "steps": [
      {key: step.get(key) for key in keys} | {"gone": [n for n in step["made"] if gone(k, n)]}
      for k, step in enumerate(info["steps"])
    ],
  }


def stem_types() -> list[dict[str, str]]:
  """The types that may be asked for, each with its colour."""
  return [{"type": kind, "colour": colour_of(kind)} for kind in STEM_TYPES]

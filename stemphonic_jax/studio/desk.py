"""A desk: how the next version of a song is prepared, and what people call it and its parts.

What was asked for but not made yet: prompt, tempo, lanes with words and painted activity; which
stems are locked; names of the song, of its stems and of takes. One JSON for each song, beside the
songs: all tabs see the same, and the next day.
"""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stemphonic_jax.audio.lengths import SHORTEST
from stemphonic_jax.audio.metre import METRES
from stemphonic_jax.data.stems import BPM_RANGE
from stemphonic_jax.data.taxonomy import guess_type
from stemphonic_jax.errors import DataError, UsageError
from stemphonic_jax.generation import values
from stemphonic_jax.generation.limits import (
  MAX_GUIDANCE,
  MAX_PROMPT,
  MAX_SEED,
  MAX_STEMS,
  MAX_STEPS,
)
from stemphonic_jax.studio.files import read_json
from stemphonic_jax.studio.library import DEPTH, PRIVATE, check_name

DESKS = "desks"  # the folder of desks, within the private one
MOST = 600.0  # seconds of a song: what a browser can hold of sixteen stems
MAX_WORDS = 200
MAX_RANGES = 200
MAX_NAMED = 1_000  # takes
FEW = 8  # variations at once
NEW = {
  "title": "",
  "prompt": "",
  "negative": "",
  "key": "",
  "bpm": None,
  "metre": None,
  "duration": None,
  "seed": 0,
  "passes": 1,
  "guidance": None,
  "steps": None,
  "variations": 1,
  "lanes": [],
  "takes": {},
}
LANE = ("name", "type", "label", "words", "activity", "locked")


def check_desk(given: Any, old: Mapping[str, Any] = NEW) -> dict[str, Any]:
  """`old` with the fields that are `given`; UsageError for the first that is none, or wrong."""
  if not isinstance(given, Mapping):
    raise UsageError("desk: expected an object, as {'prompt': 'slow funk', 'bpm': 96}")
  if unknown := [key for key in given if key not in NEW]:
    raise UsageError(f"desk: got {str(unknown[0])[:40]!r}, expected one of {', '.join(NEW)}")
  new = {**NEW, **old}
  for key, value in given.items():
    new[key] = CHECKS[key](key, value)
  return new


def check_lanes(name: str, given: Any) -> list[dict[str, Any]]:
  """Lanes, each a stem by name: its type, what people call it, words, activity, whether locked.

  Words and activity are what was asked for but not made yet; None is as it was made.
  """
  if not isinstance(given, list):
    raise UsageError(f"{name}: expected a list of stems, as [{{'name': 'drums'}}]")
  if len(given) > MAX_STEMS:
    raise UsageError(f"{name}: got {len(given)} stems, expected at most {MAX_STEMS}")
  lanes = [_lane(lane) for lane in given]
  names = [lane["name"].lower() for lane in lanes]
  if twice := [name for name in names if names.count(name) > 1]:
    raise UsageError(f"{name}: {twice[0]!r} is there twice; give one another name, as 'keys 2'")
  return lanes


def _lane(given: Any) -> dict[str, Any]:
  if not isinstance(given, Mapping):
    raise UsageError("lanes: expected an object for each stem, as {'name': 'drums'}")
  if unknown := set(given) - set(LANE):
    raise UsageError(
      f"lanes: got {sorted(map(str, unknown))[0][:40]!r}, expected one of {', '.join(LANE)}"
    )
  name = check_name(given.get("name"))
  kind = given.get("type") or guess_type(name)
  activity, words = given.get("activity"), given.get("words")
  return {
    "name": name,
    "type": _text(f"type of {name}", kind, MAX_WORDS),
    "label": _called(f"label of {name}", given.get("label", "")),
    "words": None if words is None else _text(f"words of {name}", words, MAX_WORDS),
    "activity": None if activity is None else check_ranges(name, activity),
    "locked": values.flag(f"locked of {name}", given.get("locked", False)),
  }


def check_ranges(name: str, given: Any) -> list[list[float]]:
  """Pairs of seconds in order, each start before its end."""
  if not isinstance(given, list) or len(given) > MAX_RANGES:
    raise UsageError(f"activity of {name}: expected at most {MAX_RANGES} ranges, as [[0, 4]]")
  ranges = []
  for pair in given:
    if not isinstance(pair, list) or len(pair) != 2:
      raise UsageError(f"activity of {name}: expected pairs of seconds, as [[0, 4], [8, 12]]")
    start, end = (values.number(f"activity of {name}", edge) for edge in pair)
    if not 0 <= start < end <= MOST:
      raise UsageError(f"activity of {name}: got {start:g} to {end:g} s, expected start < end")
    ranges.append([start, end])
  return sorted(ranges)


def _text(name: str, value: Any, most: int) -> str:
  text = values.text(name, value)
  if len(text) > most:
    raise UsageError(f"{name}: {len(text)} characters, expected at most {most}")
  return text


def _called(name: str, value: Any) -> str:
  """What somebody calls something, on one line; "" is nothing."""
  return " ".join(_text(name, value, MAX_WORDS).split())


def _takes(name: str, given: Any) -> dict[str, str]:
  """Names of takes by step and stem, as {"3 keys": "the good one"}."""
  if not isinstance(given, Mapping) or len(given) > MAX_NAMED:
    raise UsageError(f"{name}: expected an object, as {{'3 keys': 'the good one'}}")
  found = {}
  for key, value in given.items():
    step, _, stem = str(key).partition(" ")
    if not (step.isascii() and step.isdecimal()) or len(step) > 9:
      raise UsageError(f"{name}: got {str(key)[:40]!r}, expected a step and a stem, as '3 keys'")
    if called := _called(f"{name} {str(key)[:40]!r}", value):
      found[f"{int(step)} {check_name(stem)}"] = called
  return found


def _number(low: float, high: float, *, whole: bool = False, open_: bool = True):
  """A check of a number between two others, which may be left open (None)."""

  def check(name: str, value: Any) -> float | int | None:
    if value is None and open_:
      return None
    number = (values.whole if whole else values.number)(name, value)
    if not math.isfinite(number) or not low <= number <= high:
      raise UsageError(f"{name}: got {value}, expected {low:g} to {high:g}")
    return number

  return check


def _metre(name: str, value: Any) -> str | None:
  if value is None or value in METRES:
    return value
  raise UsageError(f"{name}: got {str(value)[:20]!r}, expected one of {', '.join(METRES)}")


def _passes(name: str, value: Any) -> int | str:
  if value in (1, 2, "K") and not isinstance(value, bool):
    return value
  raise UsageError(f"{name}: got {str(value)[:20]!r}, expected 1, 2 or K")


CHECKS = {
  "title": _called,
  "prompt": lambda name, value: _text(name, value, MAX_PROMPT),
  "negative": lambda name, value: _text(name, value, MAX_PROMPT),
  "key": lambda name, value: _text(name, value, MAX_WORDS),
  "bpm": _number(*BPM_RANGE),
  "metre": _metre,
  "duration": _number(SHORTEST, MOST),
  "seed": _number(0, MAX_SEED, whole=True, open_=False),
  "passes": _passes,
  "guidance": _number(0, MAX_GUIDANCE),
  "steps": _number(1, MAX_STEPS, whole=True),
  "variations": _number(1, FEW, whole=True, open_=False),
  "lanes": check_lanes,
  "takes": _takes,
}


def labels_of(desk: Mapping[str, Any]) -> dict[str, str]:
  """What people call stems, of those that have such a name."""
  return {lane["name"]: lane["label"] for lane in desk["lanes"] if lane["label"]}


def named(song: Path) -> tuple[str, dict[str, str]]:
  """What people call a song, by its folder, and its stems; nothing where no studio knows it."""
  song = song.absolute()
  for depth, root in enumerate(song.parents[:DEPTH], 1):
    file = root / PRIVATE / DESKS / f"{'~'.join(song.parts[-depth:])}.json"
    with contextlib.suppress(DataError, UsageError, OSError):  # too long a name for a file, too
      desk = check_desk(read_json(file))
      return desk["title"], labels_of(desk)
  return "", {}


def words_of(desk: Mapping[str, Any]) -> str:
  """The prompt with the key, where the prompt does not say it already."""
  prompt, key = " ".join(desk["prompt"].split()), " ".join(desk["key"].split())
  if not key or key.lower() in prompt.lower():
    return prompt
  return f"{prompt} in {key}" if prompt else f"Music in {key}"

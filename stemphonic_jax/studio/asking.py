"""What is asked of the model for a song: edits, and the words that stems are asked with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from stemphonic_jax.audio.lengths import samples_of
from stemphonic_jax.errors import DataError, UsageError
from stemphonic_jax.generation import editing, song_json, values
from stemphonic_jax.generation.asking import order
from stemphonic_jax.generation.song import Song
from stemphonic_jax.studio import desk as desks
from stemphonic_jax.studio.library import check_name
from stemphonic_jax.weights.known import Known

# What may be asked of each edit, beside what song.json says of it (generation/session.py).
OPTIONS = ("prompt", "negative", "seed", "steps", "guidance")
STEMS = ("stems", *OPTIONS, "activity")
EDITS = {
  "again": (*STEMS, "range"),
  "vary": (*STEMS, "range", "strength"),
  "add": STEMS,
  "extend": ("seconds", "left", *OPTIONS),
  "loop": ("range", *OPTIONS),
}


def edit(
  do: str, given: Mapping[str, Any], info: dict[str, Any], desk: dict[str, Any]
) -> dict[str, Any]:
  """What is asked of an edit, without what is None; locked stems are left alone."""
  if unknown := set(map(str, given)) - {"do", *EDITS[do]}:
    raise UsageError(f"{do}: got {sorted(unknown)[0][:40]!r}, expected {', '.join(EDITS[do])}")
  ask = {key: given[key] for key in EDITS[do] if given.get(key) is not None}
  if do in ("again", "vary"):
    locked = {lane["name"] for lane in desk["lanes"] if lane["locked"]}
    stems = _listed(ask["stems"]) if "stems" in ask else None
    names = [stem if stem in info["stems"] else _split(stem)[0] for stem in stems or ()]
    if kept := sorted(locked & set(names)):
      raise UsageError(f"{do}: {kept[0]} is locked; unlock it first")
    made = [name for name, stem in info["stems"].items() if not stem["given"]]
    ask["stems"] = stems or [name for name in made if name not in locked]
    ask["names"] = names or ask["stems"]
    if not ask["stems"]:
      raise UsageError(f"{do}: all stems are locked, or were brought; unlock one")
    if missing := [stem for stem in ask["names"] if stem not in info["stems"]]:
      raise UsageError(f"{do}: no stem {missing[0]!r}; there are {', '.join(info['stems'])}")
  return ask


def check(known: Known, do: str, ask: Mapping[str, Any], info: dict[str, Any] | None) -> None:
  """Raises what the worker would say of what is asked, of the song that `info` is of."""
  ask = {key: value for key, value in ask.items() if key not in ("names", "others")}
  if do == "make":
    order(known, count=ask.pop("variations", 1), **ask)
  else:
    editing.check(known, _unheard(info), do, **ask)


def _unheard(info: dict[str, Any]) -> Song:
  """A song by its song.json alone: its stems have its length, and no channel."""
  try:
    song_json.check(info)
  except (LookupError, TypeError, ValueError, AttributeError) as error:
    raise DataError(f"song.json: not a song's ({error})") from None
  rate = info["sample_rate"]
  nothing = np.empty((samples_of(info["request"]["duration"], rate), 0), np.float32)
  return Song(dict.fromkeys(info["stems"], nothing), rate, info.get("hop", 1), {}, {}, info)


def plain(words: str) -> str:
  """Words with one space between any two."""
  return " ".join(words.split())


def with_words(stem: str, words: str) -> str:
  """A stem as a model is asked for it: "guitars: muted electric", or "guitars" alone."""
  said = plain(words)
  return f"{stem}: {said}" if said else stem


def _split(stem: str) -> tuple[str, str]:
  """Name and words."""
  name, _, words = stem.partition(":")
  return name.strip(), words


def words_asked(do: str, ask: Mapping[str, Any]) -> dict[str, str]:
  """The words by stem that a job asked for; "" where it asked for none any more."""
  pairs = zip(ask.get("names", []), ask.get("stems") or [], strict=False)
  new = do in ("make", "add")
  return {name: plain(_split(stem)[1]) for name, stem in pairs if new or stem != name}


def _listed(given: Any) -> list[str]:
  """Stems of a song by name, some with words for them, as "guitars: muted electric"."""
  for stem in _some(given):
    name, words = _split(values.text("stems", stem))
    check_name(name)
    if len(words) > desks.MAX_WORDS or not words.isprintable():
      raise UsageError(f"stems: {name}: expected at most {desks.MAX_WORDS} letters of words")
  return given


def names_of(given: Any) -> list[str]:
  """Names of stems in a list; UsageError for anything else."""
  return [check_name(name) for name in _some(given)]


def _some(given: Any) -> list[Any]:
  if not isinstance(given, list) or not given or len(given) > 2 * desks.MAX_STEMS:
    raise UsageError("stems: expected a list of names, as ['drums']")
  return given

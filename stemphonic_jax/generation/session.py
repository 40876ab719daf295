"""What was asked of a song, step by step, and which take of each stem is heard after each.

song.json holds it as `steps`, and as `now` the step that is heard:

    do       what was asked for: generate, again, add, …, or "found" of what was changed by hand
    from     the step it was asked of; None of the first
    ask      what was asked, with all that was left open filled in, so that it can be done again
    seconds  how long the song is after it
    stems    all stems after it, in order, each with the step that made the take that is heard
    made     the takes that it made: type, whether given, when it plays, a hash of the samples

So a take is known by a step and a stem. Nothing is taken back: an earlier step can be heard again,
and what is asked then is another branch.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from stemphonic_jax.audio.activity import lanes_from_ranges
from stemphonic_jax.audio.lengths import samples_of

OF_STEMS = ("activity", "words")  # what a request asks of single stems

Info = Mapping[str, Any]
About = Mapping[str, Mapping[str, Any]]  # what there is to say of stems, by name


def begun(info: Info, do: str, ask: Mapping[str, Any], made: Mapping[str, np.ndarray]) -> Info:
  """A new song's info with its first step, which made all of its stems."""
  about = _about(info)
  seconds = info["request"]["duration"]
  empty = {**info, "steps": [], "now": None}
  return stepped(empty, do, ask, dict.fromkeys(made, 0), made, about, seconds)


def _about(info: Info) -> dict[str, dict[str, Any]]:
  """What there is to say of the stems of a song that was generated."""
  asked = {key: info["request"].get(key, {}) for key in OF_STEMS}
  return {
    name: {**stem, **{key: asked[key][name] for key in OF_STEMS if name in asked[key]}}
    for name, stem in info["stems"].items()
  }


def stepped(
  info: Info,
  do: str,
  ask: Mapping[str, Any],
  stems: Mapping[str, int],
  made: Mapping[str, np.ndarray],
  about: About,
  seconds: float,
) -> Info:
  """The same of a song that has one step more; `described` says the rest."""
  step = {
    "do": do,
    "from": info["now"],
    "ask": dict(ask),
    "model": info["model"],
    "seconds": seconds,
    "stems": dict(stems),
    "made": {name: {**about[name], "sha256": digest(audio)} for name, audio in made.items()},
  }
  return {**info, "now": len(info["steps"]), "steps": [*info["steps"], step]}


def described(info: Info, stems: Mapping[str, int]) -> Info:
  """An info of which stems, request and duration are those of the step that is heard.

  `stems` are those that are there, each with the step that made its take.
  """
  made = {name: info["steps"][step]["made"][name] for name, step in stems.items()}
  shown = ("type", "given", "silent")
  request = {
    **info["request"],
    "stems": [name for name in made if not made[name]["given"]],
    "context": [name for name in made if made[name]["given"]],
    "duration": info["steps"][info["now"]]["seconds"],
  }
  for key in OF_STEMS:
    request[key] = {name: made[name][key] for name in made if key in made[name]}
  about = {name: {key: take[key] for key in shown if key in take} for name, take in made.items()}
  return {**info, "request": request, "stems": about}


def lanes_of(info: Info, hop: int) -> dict[str, np.ndarray]:
  """The activity that was asked of the stems, as lanes."""
  request, rate = info["request"], info["sample_rate"]
  frames = -(-samples_of(request["duration"], rate) // hop)
  return {
    name: lanes_from_ranges(ranges, frames, hop, rate)
    for name, ranges in request["activity"].items()
  }


def of_old(info: Info) -> Info:
  """The info of a song, of which one that was saved when there were no steps was generated."""
  if "steps" in info:
    return info
  request, sampler = info["request"], info["sampler"]
  types = {name: stem["type"] for name, stem in info["stems"].items()}
  ask = {name: sampler[name] for name in ("passes", "steps", "guidance", "share_noise")}
  ask |= {name: request[name] for name in ("prompt", "bpm", "seed", "duration", "context")}
  ask |= {"activity": request["activity"], "first": request.get("variation", 0)}
  words = request.get("words", {})
  ask |= {
    "stems": [f"{types[n]}: {words[n]}" if n in words else types[n] for n in request["stems"]]
  }
  begins = begun(info, "generate", ask, {})
  step = begins["steps"][0]
  step |= {"stems": dict.fromkeys(info["stems"], 0)}
  step |= {"made": _about(info)}
  return begins


def digest(audio: np.ndarray) -> str:
  """SHA-256 of the samples, as float32."""
  return hashlib.sha256(np.ascontiguousarray(audio, np.float32)).hexdigest()

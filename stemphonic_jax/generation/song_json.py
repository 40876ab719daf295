"""What song.json has to hold: people change it by hand, so it is checked once, when it is read."""

import math
from typing import Any

from stemphonic_jax.audio.lengths import LONGEST
from stemphonic_jax.audio.metre import COMMON, METRES
from stemphonic_jax.data.stems import BPM_RANGE
from stemphonic_jax.generation.limits import MAX_STEMS

FASTEST = 768_000  # Hz, of any sound card; a latent frame is shorter than a second of it
NUMBER, NOTHING = (int, float), type(None)
RANGES = [[NUMBER, NUMBER]]
STEM = {"type": (str, NOTHING), "given": (bool,), "activity?": RANGES, "words?": (str,)}

TIME = {"bpm?": (*NUMBER, NOTHING), "metre?": (str,)}
ASK = {"seed?": (int, NOTHING), "stems?": [(str,)], "stem?": (str,), "step?": (int,)}
ASK |= {"range?": (list, NOTHING)}

# By key what is expected, where "?" may be missing and ... is any: types, an object, or a list of
# any number of equal entries, or of two.
SONG = {
  "request": {
    "prompt": (str,),
    "bpm": (*NUMBER, NOTHING),
    "metre?": (str,),
    "seed": (int,),
    "duration": NUMBER,
    "activity": {...: RANGES},
    "words?": {...: (str,)},
  },
  "sampler": {
    "steps": (int,),
    "guidance": (*NUMBER, dict),
    "passes": (int,),
    "share_noise": (bool,),
  },
  "model": (str,),
  "sample_rate": (int,),
  "hop?": (int,),
  "stems": {...: STEM},
  "steps": [
    {
      "do": (str,),
      "from": (int, NOTHING),
      "ask": ASK,
      "seconds": NUMBER,
      "stems": {...: (int,)},
      "made": {...: STEM},
    }
  ],
  "now": (int,),
}


def check(info: Any) -> None:
  """ValueError for the first place where something else is than is expected."""
  _check("song", info, SONG)
  check_time(info["request"])
  _within("sample_rate", info["sample_rate"], FASTEST)
  _within("hop", info.get("hop", 1), FASTEST)
  _within("passes", info["sampler"]["passes"], MAX_STEMS)
  ranges = list(info["request"]["activity"].values())
  for number, step in enumerate(info["steps"]):
    ranges += [made["activity"] for made in step["made"].values() if "activity" in made]
    if not 0 < step["seconds"] <= LONGEST:
      raise ValueError(f"step {number}: has {step['seconds']} s, expected at most {LONGEST}")
    if step["do"] == "use" and not {"stem", "step"} <= step["ask"].keys():
      raise ValueError(f"step {number}: says of no stem which take it uses")
    for name in (*step["stems"], *step["made"]):
      if not name or name.startswith(".") or set("/\\\0") & set(name):
        raise ValueError(f"a stem is called {name[:40]!r}")
    for name, made in step["stems"].items():
      if not 0 <= made <= number or name not in info["steps"][made]["made"]:
        raise ValueError(f"step {number}: no step {made} made {name[:40]!r}")
    if step["from"] not in (range(number) if number else [None]):
      raise ValueError(f"step {number}: is from step {step['from']}")
  for edge in (edge for playing in ranges for pair in playing for edge in pair):
    if not 0 <= edge <= LONGEST + 1:
      raise ValueError(f"activity: got {str(edge)[:40]} s, expected 0 to {LONGEST:g}")
  if not 0 <= info["now"] < len(info["steps"]):
    raise ValueError(f"now: got {info['now']}, and there are {len(info['steps'])} steps")
  if info["stems"].keys() != info["steps"][info["now"]]["stems"].keys():
    raise ValueError("stems: are others than those of the step that is heard")
  if info["request"]["duration"] != (seconds := info["steps"][info["now"]]["seconds"]):
    raise ValueError(f"duration: is not the {seconds} s of the step that is heard")


def check_time(request: Any) -> None:
  """ValueError for a tempo or a metre that is none; a request may have neither."""
  _check("request", request, TIME)
  if (metre := request.get("metre", COMMON)) not in METRES:
    raise ValueError(f"metre: got {metre[:20]!r}, expected one of {', '.join(METRES)}")
  bpm = request.get("bpm")
  if bpm is not None and not BPM_RANGE[0] <= bpm <= BPM_RANGE[1]:
    raise ValueError(f"bpm: got {str(bpm)[:40]}, expected {BPM_RANGE[0]} to {BPM_RANGE[1]}")


def _within(name: str, value: int, most: int) -> None:
  if not 1 <= value <= most:
    raise ValueError(f"{name}: got {str(value)[:40]}, expected 1 to {most}")


def _check(where: str, value: Any, expected: Any) -> None:
  kinds = expected if isinstance(expected, tuple) else (type(expected),)
  if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
    raise ValueError(f"{where}: got {str(value)[:40]!r}, expected {_named(kinds)}")
  if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
    raise ValueError(f"{where}: is no text, but half of a letter")
  if isinstance(value, float) and not math.isfinite(value):
    raise ValueError(f"{where}: got {value}, expected a finite number")
  if isinstance(expected, list):
    if len(expected) == 2 != len(value):
      raise ValueError(f"{where}: got {len(value)} entries, expected 2")
    for number, entry in enumerate(value):
      _check(f"{where} {number}", entry, expected[0])
  if isinstance(expected, dict):
    needed = [name for name in expected if name is not ... and not name.endswith("?")]
    if missing := [name for name in needed if name not in value]:
      raise ValueError(f"{where}: has no {missing[0]!r}")
    for name, entry in value.items():
      known = expected.get(name, expected.get(f"{name}?", expected.get(...)))
      if known is not None:
        _check(name[:40], entry, known)


def _named(kinds: tuple[type, ...]) -> str:
  names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number"}
  return " or ".join(dict.fromkeys(names.get(kind, "a number") for kind in kinds if kind))

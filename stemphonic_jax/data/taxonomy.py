"""Stem types: the paper's eleven (Sec. 4.2), and what else people and datasets call them."""

from __future__ import annotations

import difflib

from stemphonic_jax.errors import UsageError

STEM_TYPES = (
  "drums",
  "basses",
  "percussion",
  "synths",
  "keys",
  "guitars",
  "strings",
  "SFX",
  "vocals",
  "synth-vocals",
  "winds",
)

# Words in lower case with single spaces; `_key` brings every spelling to that form.
ALIASES = {
  "drums": ("drum", "drumkit", "drum kit", "drum machine", "beat", "kit"),
  "basses": ("bass", "bass guitar", "bass synthesizer", "contrabass", "double bass", "sub bass"),
  "percussion": ("perc", "percussions", "percussive", "chromatic percussion", "mallets", "shaker"),
  "synths": ("synth", "synthesizer", "synthesizers", "synth lead", "synth pad", "pad", "lead"),
  "keys": ("key", "keyboard", "keyboards", "piano", "electric piano", "organ", "other keys"),
  "guitars": ("guitar", "acoustic guitar", "electric guitar", "banjo", "mandolin", "ukulele"),
  "strings": ("string", "bowed strings", "violin", "viola", "cello", "orchestra", "harp"),
  "SFX": ("fx", "effects", "sound effects", "sound fx", "riser", "risers"),
  "vocals": ("vocal", "voice", "voices", "singer", "singing", "vox", "choir", "backing vocals"),
  "synth-vocals": ("synth vocal", "synth voice", "vocoder", "talkbox"),
  "winds": (
    "wind",
    "brass",
    "woodwind",
    "woodwinds",
    "horns",
    "flute",
    "reeds",
    "saxophone",
    "sax",
    "trumpet",
    "clarinet",
  ),
}


def _key(name: str) -> str:
  return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


_TYPE_OF = {_key(name): kind for kind, names in ALIASES.items() for name in (kind, *names)}


def parse_type(name: str) -> str:
  """The canonical stem type for a word, whatever its case: 'Bass' -> 'basses', 'fx' -> 'SFX'.

  UsageError with the nearest type and the whole list where the word is not known.
  """
  key = _key(name)
  if key in _TYPE_OF:
    return _TYPE_OF[key]
  near = difflib.get_close_matches(key, _TYPE_OF, n=1)
  hint = f" did you mean {_TYPE_OF[near[0]]!r}?" if near else ""
  raise UsageError(f"unknown stem type {name!r};{hint} types: {', '.join(STEM_TYPES)}")

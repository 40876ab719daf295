"""Stem types: the paper's eleven (Sec. 4.2), and what else people and datasets call them."""

from __future__ import annotations

import difflib
import re

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
MIX = "mix"  # the type of a whole mix's only "stem"

# Words in lower case with single spaces; `_key` brings every spelling to that form.
ALIASES = {
  "drums": (
    "drum",
    "drumkit",
    "drum kit",
    "drum machine",
    "beat",
    "kit",
    "kick",
    "snare",
    "hi hat",
    "hihat",
    "toms",
    "cymbals",
    "overheads",
  ),
  "basses": (
    "bass",
    "bass guitar",
    "bass synthesizer",
    "bass synth",
    "synth bass",
    "contrabass",
    "double bass",
    "sub bass",
  ),
  "percussion": ("perc", "percussions", "percussive", "chromatic percussion", "mallets", "shaker"),
  "synths": ("synth", "synthesizer", "synthesizers", "synth lead", "synth pad", "pad", "lead"),
  "keys": ("key", "keyboard", "keyboards", "piano", "electric piano", "organ", "other keys"),
  "guitars": (
    "guitar",
    "acoustic guitar",
    "electric guitar",
    "banjo",
    "mandolin",
    "ukulele",
    "lute",
  ),
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


NEAR = 0.85  # a word with one letter too few or too many, as difflib compares them


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


def guess_type(name: str) -> str:
  """The type that the name of a stem means, or the name as a free type: lower case, no numbers.

  A word for a type, one letter or so beside it ('Gitar 2' -> 'guitars'), or several words of which
  one is such a word and no other contradicts ('lead vocal' -> 'vocals'). 'theremin' stays.
  """
  key = _unnumbered(name)
  if key in _TYPE_OF:
    return _TYPE_OF[key]
  if near := difflib.get_close_matches(key, _TYPE_OF, n=1, cutoff=NEAR):
    return _TYPE_OF[near[0]]
  # "lead" alone is a synth, but beside another word it says which guitar, or which voice.
  meant = {_TYPE_OF[word] for word in key.split() if word in _TYPE_OF and word != "lead"}
  return meant.pop() if len(meant) == 1 else key


def knows(name: str) -> bool:
  """Whether a stem's name, numbers aside, is a word for a type, so that `guess_type` is certain."""
  return _unnumbered(name) in _TYPE_OF


def _unnumbered(name: str) -> str:
  """'02 Guitar (L) 1' -> 'guitar l'; what has no letters stays, and nothing is 'other'."""
  key = _key(name)
  return _key(re.sub(r"[\d.,#()\[\]{}]+", " ", key)) or key or "other"

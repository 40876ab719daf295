"""Where the sections of a song begin: where other stems play than before."""

import itertools
from collections.abc import Mapping

import numpy as np

from stemphonic_jax.audio.daw.project import Marker
from stemphonic_jax.audio.levels import dbfs

SILENT = -50.0  # dBFS, below which a stem does not play in a bar
SHORTEST = 2  # bars, of a section that is told from the next
BAR = 2.0  # seconds, where no tempo is known
NAMED = 3  # stems in the name of a section


def sections(stems: Mapping[str, np.ndarray], rate: int, bar: float | None) -> list[Marker]:
  """A marker at the first bar of each section, as "B drums, basses"; equal ones have one letter.

  `stems` are [samples, 2] at `rate` Hz. A bar has so many seconds; the first is at
  the start.
  """
  bar = bar or BAR
  samples = len(next(iter(stems.values())))
  starts = [round(k * bar * rate) for k in range(max(1, round(samples / rate / bar)))]
  edges = [*starts, samples]
  playing = [
    tuple(name for name, audio in stems.items() if dbfs(audio[a:b]) > SILENT)
    for a, b in itertools.pairwise(edges)
  ]
  markers, letters, last = [], {}, None
  for k, names in enumerate(playing):
    lasts = playing[k : k + SHORTEST] == [names] * len(playing[k : k + SHORTEST])
    if k and (names == last or not lasts):
      continue
    last = names
    letter = letters.setdefault(names, _letter(len(letters)))
    markers.append(Marker(k * bar, f"{letter} {_named(names, list(stems))}"))
  return markers


def _letter(number: int) -> str:
  """A, B, … Z, AA, AB, …"""
  more, place = divmod(number, 26)
  return (_letter(more - 1) if more else "") + chr(ord("A") + place)


def _named(names: tuple[str, ...], stems: list[str]) -> str:
  if not names:
    return "silence"
  left = [name for name in stems if name not in names]
  if not left:
    return "all stems"
  if len(names) > NAMED and len(left) <= NAMED:
    return "without " + ", ".join(left)
  return ", ".join(names) if len(names) <= NAMED else f"{len(names)} stems"

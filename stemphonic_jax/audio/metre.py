"""Metres: how many beats a bar has, and how long it is at a tempo.

A tempo counts beats. In 6/8, 9/8 and 12/8 a beat has three eighths, as such music is felt and the
demo corpus has it: 6/8 has two beats in a bar. DAWs count quarters, whatever the metre.
"""

import re

METRES = ("2/4", "3/4", "4/4", "5/4", "7/4", "6/8", "9/8", "12/8")
COMMON = "4/4"
FIGURES = re.compile(r"(?<![\d/.])(\d{1,2})/(\d)(?![\d/])")
# Words that say a metre as clearly as figures do.
DANCES = {"3/4": ("waltz", "waltzes", "walzer", "valse", "vals"), "6/8": ("jig", "jigs")}


def figures(metre: str) -> tuple[int, int]:
  """3 and 4 of "3/4"."""
  above, below = map(int, metre.split("/"))
  return above, below


def beats(metre: str) -> int:
  """Beats in a bar."""
  above, below = figures(metre)
  return above // 3 if below == 8 else above


def bar_seconds(bpm: float | None, metre: str) -> float | None:
  """How long a bar is; None where the tempo is not known."""
  return None if bpm is None else beats(metre) * 60 / bpm


def quarters(bpm: float, metre: str) -> float:
  """The tempo in quarters a minute, as DAWs have it."""
  return bpm * 1.5 if figures(metre)[1] == 8 else bpm


def said(text: str) -> str | None:
  """The metre that a prompt names in figures or by a dance, the first where there are several."""
  found = [f"{int(above)}/{below}" for above, below in FIGURES.findall(text)]
  known = [metre for metre in found if metre in METRES]
  words = set(re.findall(r"\w+", text.lower()))
  known += [metre for metre, dances in DANCES.items() if words & set(dances)]
  return known[0] if known else None

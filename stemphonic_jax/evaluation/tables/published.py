"""The numbers that papers print, as rows below ours where the data set is theirs.

They are of the authors' own models, trained on licensed or internal music, and of their captions
and tempi: a level to be read against, not a race.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from stemphonic_jax.evaluation.scores import Score
from stemphonic_jax.evaluation.shown.sheet import NONE, Line

MARK = " (published)"
NOTE = (
  f"Rows marked{MARK} are what the paper prints of its own models on this set, on 32 s and with its"
  " own captions and tempi; seconds on one A100."
)
STEMGEN_NOTE = (
  f"Rows marked{MARK} are what the paper prints of its own models on this set: 400 stems, contexts"
  " of 20 s, MIRDD of eleven descriptors by closed extractors."
)
METRICS = ("vggish_fad_stem", "vggish_fad_mix", "clap", "activity")
COUNTS = {"moisesdb": 1488, "musdb": 964}
# Tables 1 and 3 of STEMPHONIC: FAD stem, FAD mix, CLAP and, of partially active stems, F1.
SETTINGS: dict[str, dict[str, dict[str, tuple[float, ...]]]] = {
  "1": {
    "moisesdb": {
      "A-(i)": (2.69, 1.84, 28.82),
      "A-(ii)": (2.80, 1.78, 28.67),
      "B-(i)": (2.41, 1.55, 28.85),
      "B-(ii)": (2.41, 1.53, 28.93),
      "C-(ii)": (2.31, 1.25, 30.19),
    },
    "musdb": {
      "A-(i)": (2.91, 1.09, 28.73),
      "A-(ii)": (3.02, 1.24, 28.28),
      "B-(i)": (2.92, 0.91, 29.14),
      "B-(ii)": (2.97, 1.10, 28.76),
      "C-(ii)": (2.72, 1.05, 29.27),
    },
  },
  "3": {
    "moisesdb": {
      "C-(ii)": (2.31, 1.25, 30.19),
      "C-(ii) +Act": (2.66, 1.54, 28.78),
      "C-(ii) +Act, given": (2.47, 1.46, 29.55, 0.9942),
    },
    "musdb": {
      "C-(ii)": (2.72, 1.05, 29.27),
      "C-(ii) +Act": (2.74, 1.08, 28.94),
      "C-(ii) +Act, given": (2.77, 1.13, 29.14, 0.9943),
    },
  },
}
# Table 2, of MoisesDB: for each K the number of mixes, then FAD mix, CLAP and seconds.
PASSES: dict[int, tuple[int, dict[str, tuple[float, float, float]]]] = {
  3: (
    190,
    {
      "A-(i), K passes": (1.03, 30.65, 4.10),
      "C-(ii), 2 passes": (0.78, 30.62, 3.03),
      "C-(ii), 1 pass": (1.06, 29.51, 2.00),
    },
  ),
  4: (
    456,
    {
      "A-(i), K passes": (1.02, 30.34, 5.50),
      "C-(ii), 2 passes": (0.83, 31.23, 3.27),
      "C-(ii), 1 pass": (1.12, 30.44, 2.52),
    },
  ),
  5: (
    379,
    {
      "A-(i), K passes": (1.48, 29.65, 6.88),
      "C-(ii), 2 passes": (1.34, 30.32, 3.70),
      "C-(ii), 1 pass": (1.56, 30.26, 3.13),
    },
  ),
  6: (
    283,
    {
      "A-(i), K passes": (2.09, 30.67, 8.28),
      "C-(ii), 2 passes": (1.92, 30.05, 4.16),
      "C-(ii), 1 pass": (2.29, 29.93, 3.60),
    },
  ),
}
# Table 3 of StemGen, of Slakh2100: FAD of isolated stems and MIRDD of 400 outputs.
STEMGEN = {"slakh": {"StemGen, naive": (4.3, 0.43), "StemGen, best": (3.12, 0.14)}}
STEMGEN_COUNT = 400


def rows(
  table: str, source: str, k: int | None, columns: Mapping[str, tuple[str, ...]], where: str = ""
) -> list[Line]:
  """The rows that the paper prints of a table on a data set; `columns` are by label of a row.

  None where it has no such table of that set. With `k`, those of as many stems, in `where`.
  """
  if table == "2":
    if source != "moisesdb" or k not in PASSES:
      return []
    count, found = PASSES[k]
    named = {
      label: ({"vggish_fad_mix": fad, "clap": clap}, seconds)
      for label, (fad, clap, seconds) in found.items()
    }
  else:
    count = COUNTS.get(source, 0)
    settings = SETTINGS.get(table, {}).get(source, {})
    named = {
      label: (dict(zip(METRICS, values, strict=False)), None) for label, values in settings.items()
    }
  return [
    Line(
      f"{where}{label}{MARK}",
      marked(columns[label], 1 if k else 0),
      {name: Score(value, math.nan, math.nan, count) for name, value in values.items()},
      Score(seconds, math.nan, math.nan, count) if seconds else None,
    )
    for label, (values, seconds) in named.items()
  ]


def stemgen(source: str, width: int) -> list[Line]:
  """The rows that StemGen prints of a data set, in a table of so many columns."""
  return [
    Line(
      label + MARK,
      (label + MARK, *[NONE] * (width - 1)),
      {
        "vggish_fad_stem": Score(fad, math.nan, math.nan, STEMGEN_COUNT),
        "mirdd": Score(mirdd, math.nan, math.nan, STEMGEN_COUNT),
      },
    )
    for label, (fad, mirdd) in STEMGEN.get(source, {}).items()
  ]


def marked(columns: Sequence[str], place: int) -> tuple[str, ...]:
  """The columns of a row of ours, marked as published where they name its setting."""
  return (*columns[:place], columns[place] + MARK, *columns[place + 1 :])

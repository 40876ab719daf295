"""Bars of 3/4 and 6/8: their steps, and what every style in them may use.

A bar of 3/4 has 12 steps, four to a beat; one of 6/8 has 12 too, six to a beat.
"""

from __future__ import annotations

from stemphonic_jax.data.sources.demo.styles import COMMON, Effects, Groove, Line

STEPS = {"4/4": (16, 4), "3/4": (12, 4), "6/8": (12, 6)}  # to a bar and to a beat
HELD = "x-----------"

# What every style with bars of 12 steps may use of pitched parts.
_TRIPLE: dict[str, tuple[Line | Groove | Effects, ...]] = {
  "basses": (
    Line("fingered bass", 34, "1-----5---a-"),
    Line("upright bass", 34, "1-----------"),
    Line("synth bass", 34, "1---1---5---"),
  ),
  "synths": (
    Line("synth pad", 60, HELD),
    Line("plucked synth", 70, "1.2.3.4.3.2."),
    Line("synth lead", 74),
    Line("bell synth", 74, "1...3...2..."),
  ),
  "keys": (
    Line("grand piano", 60, "1.2.3.4.3.2."),
    Line("electric piano", 60, "x-----x-----"),
    Line("organ", 62, HELD),
  ),
  "guitars": (
    Line("acoustic guitar", 57, "X---x-o-x-o-"),
    Line("electric guitar", 57, "1-2-3-4-3-2-"),
    Line("nylon guitar", 57, "1-3-2-4-3-2-"),
    Line("muted guitar", 60, "....x.o.x.o."),
  ),
  "strings": (
    Line("string ensemble", 64, HELD),
    Line("staccato strings", 62, "1.3.2.3.4.3."),
    Line("solo violin", 77),
  ),
  "SFX": COMMON["SFX"],
  "vocals": (Line("lead vocals", 67), Line("choir", 62, HELD)),
  "synth-vocals": (Line("vocoder", 62, "x---x---x---"), Line("vocal chops", 71, "1.3.2.3.1.2.")),
  "winds": (
    Line("flute", 77),
    Line("clarinet", 69),
    Line("saxophone", 65),
    Line("brass section", 63, "x-------x-x-"),
  ),
}
COMMONS = {
  "4/4": COMMON,
  "3/4": _TRIPLE
  | {
    "drums": (
      Groove(
        "waltz drums", {"kick": "X...........", "snare": "....x...x...", "hat": "x.x.x.x.x.x."}
      ),
      Groove(
        "waltz drums", {"kick": "X.......x...", "rim": "....x...x...", "ride": "x...x...x.x."}
      ),
    ),
    "percussion": (
      Groove("tambourine", {"tambourine": "....X...x.x."}),
      Groove("shaker", {"shaker": "x.o.x.o.x.o."}),
      Groove("triangle", {"triangle": "x.......x..."}),
    ),
  },
  "6/8": _TRIPLE
  | {
    "drums": (
      Groove("6/8 drums", {"kick": "X.........x.", "snare": "......X.....", "hat": "X.x.x.X.x.x."}),
      Groove("6/8 drums", {"kick": "X...x.......", "rim": "......X.....", "ride": "X.x.x.X.x.x."}),
    ),
    "percussion": (
      Groove("tambourine", {"tambourine": "x.o.o.X.o.o."}),
      Groove("shaker", {"shaker": "X.o.x.X.o.x."}),
      Groove("congas", {"high conga": "....x.X...x.", "low conga": "x.......x..."}),
    ),
  },
}

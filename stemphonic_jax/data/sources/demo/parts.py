"""How each part of a piece is played: patterns, grooves and melodies become notes in steps.

A step is a sixteenth note at the tempo of the piece, before swing; bar b starts at step 16 b.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stemphonic_jax.data.sources.demo.styles import Effects, Groove, Line
from stemphonic_jax.data.sources.demo.theory import Chord, Key

BAR = 16  # steps
CALM = 0.6  # sections of less energy leave out soft hits and crashes
ACCENTS = {"X": 1.0, "x": 0.8, "p": 0.85, "o": 0.45}

# Rhythms of a sung bar; they begin a phrase, go on with it, or end it with room to breathe.
OPENINGS = ("..x-x-x---x-x---", "x---x-x-x---x---", "x--x--x-x---x-x-", "....x-x-x-x-x---")
ENDINGS = ("x-x-x-----......", "x---x---........", "..x-x---x---....", "x-------........")


class Note(NamedTuple):
  """One event: times in steps while composing and in seconds in a finished piece.

  `pitches` is empty for drums and effects; `velocity` in (0, 1]; `sound` names the instrument.
  """

  start: float
  length: float
  pitches: tuple[int, ...]
  velocity: float
  sound: str


@dataclass(frozen=True)
class Section:
  """Bars [first, first + bars) of a piece, with energy from 0 (calm) to 1."""

  first: int
  bars: int
  energy: float

  @property
  def span(self) -> range:
    return range(self.first, self.first + self.bars)


@dataclass(frozen=True)
class Score:
  """What all parts share: the key, one chord per bar (and one after the end), the sections."""

  key: Key
  chords: tuple[Chord, ...]
  sections: tuple[Section, ...]


def hits(pattern: str, bar: int) -> Iterator[tuple[int, int, str]]:
  """(step, length, symbol) of the hits of one bar; a pattern of 32 steps takes two bars."""
  start = BAR * (bar % (len(pattern) // BAR))
  for match in re.finditer(r"[^.-]-*", pattern[start : start + BAR]):
    yield match.start(), len(match.group()), match.group()[0]


def play_chords(line: Line, score: Score, sections: Sequence[Section]) -> Iterator[Note]:
  """Chords, broken chords and arpeggios: everything voiced around the line's centre."""
  low = line.centre - 6
  for bar in (bar for section in sections for bar in section.span):
    pitches = score.chords[bar].voicing(line.centre)
    root = low + (score.chords[bar].root - low) % 12
    for step, length, symbol in hits(line.pattern, bar):
      if symbol.isdigit():
        octave, tone = divmod(int(symbol) - 1, len(pitches))
        played = (pitches[tone] + 12 * octave,)
      else:
        played = (root, root + 7, root + 12) if symbol == "p" else pitches
      velocity = ACCENTS.get(symbol, 0.85 if step % 4 == 0 else 0.7)
      yield Note(BAR * bar + step, 0.95 * length, played, velocity, line.voice)


def play_bass(line: Line, score: Score, sections: Sequence[Section]) -> Iterator[Note]:
  """A bass line below everything else, each root in the octave around the line's centre."""
  low = line.centre - 6
  for bar in (bar for section in sections for bar in section.span):
    chord, following = score.chords[bar], score.chords[bar + 1]
    root = low + (chord.root - low) % 12
    ahead = low + (following.root - low) % 12
    interval = {"1": 0, "3": chord.intervals[1], "5": chord.intervals[2], "8": 12}
    interval["a"] = ahead - root + (-1 if ahead > root else 1)
    for step, length, symbol in hits(line.pattern, bar):
      velocity = 1.0 if step == 0 else 0.85
      pitches = (root + interval.get(symbol, 0),)
      yield Note(BAR * bar + step, 0.95 * length, pitches, velocity, line.voice)


def play_melody(
  line: Line, score: Score, sections: Sequence[Section], rng: np.random.Generator
) -> Iterator[Note]:
  """A tune in phrases of four bars (opening, ending, opening, ending), varied by the chords.

  It moves by steps of the scale, and long or stressed notes settle on a chord tone.
  """
  phrase = [str(rng.choice(bars)) for bars in (OPENINGS, ENDINGS)] * 2
  phrase[3] = str(rng.choice(ENDINGS))
  moves = rng.choice((-2, -1, -1, 0, 1, 1, 2), (2, BAR))  # of the scale, one row per kind of bar
  home = score.key.nearest_degree(line.centre)
  for section in sections:
    for bar in section.span:
      place = (bar - section.first) % 4
      degree = home + (2 if place == 2 else 0) if place % 2 == 0 else degree
      for step, length, _ in hits(phrase[place], 0):
        degree = int(np.clip(degree + moves[place % 2, step], home - 5, home + 6))
        if step % 8 == 0 or length >= 4:
          degree = _settle(degree, score.key, score.chords[bar])
        velocity = 0.95 if step % 8 == 0 else 0.8
        pitches = (score.key.pitch(degree),)
        yield Note(BAR * bar + step, 0.92 * length, pitches, velocity, line.voice)


def _settle(degree: int, key: Key, chord: Chord) -> int:
  """The nearest degree of the scale that belongs to the chord."""
  near = (degree, degree - 1, degree + 1, degree - 2)
  return next((d for d in near if key.pitch(d) % 12 in chord.classes), degree)


def play_groove(
  groove: Groove, sections: Sequence[Section], fills: bool, rng: np.random.Generator
) -> Iterator[Note]:
  """A groove on drums; with `fills`, the last bar of a section may lead into the next."""
  for section in sections:
    for bar in section.span:
      fill = BAR - int(rng.choice((0, 4, 4, 8))) if fills and bar == section.span[-1] else BAR
      for drum, pattern in groove.lines.items():
        for step, _, symbol in hits(pattern, bar):
          if step < fill and not (section.energy < CALM and symbol == "o"):
            yield Note(BAR * bar + step, 1, (), ACCENTS[symbol], drum)
      yield from _fill(BAR * bar, fill, rng)
    if fills and section.energy > CALM:
      yield Note(BAR * section.first, 1, (), 0.8, "crash")


def _fill(start: int, first: int, rng: np.random.Generator) -> Iterator[Note]:
  """Sixteenths from step `first` to the end of the bar, louder and louder, down the toms."""
  for step in range(first, BAR):
    if rng.random() < 0.85:
      progress = (step - first) / (BAR - first)
      drum = ("snare", "high tom", "mid tom", "low tom")[int(4 * progress)]
      yield Note(start + step, 1, (), 0.6 + 0.35 * progress, drum)


def play_effects(
  effects: Effects, sections: Sequence[Section], rng: np.random.Generator
) -> Iterator[Note]:
  """Marks the borders of sections, and calls now and then between them."""
  for section in sections:
    start, end = BAR * section.first, BAR * (section.first + section.bars)
    yield Note(start, BAR, (), 0.9, effects.on)
    length = int(rng.choice((BAR // 2, BAR, BAR)))
    yield Note(end - length, length, (), 0.8, effects.before)
    for bar in section.span[1:-1]:
      if effects.between and rng.random() < 0.4:
        yield Note(BAR * bar + int(rng.integers(12)), 4, (), 0.5, effects.between)

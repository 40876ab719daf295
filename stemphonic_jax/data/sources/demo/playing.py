"""How the second version of the corpus plays: led voices, basses that walk, ghost notes and fills,
tunes whose phrases answer each other.

All times are in steps; a bar has `Sheet.bar` of them, `Sheet.beat` to a beat.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stemphonic_jax.data.sources.demo.parts import ACCENTS, ENDINGS, OPENINGS, Note, Section
from stemphonic_jax.data.sources.demo.styles import Effects, Groove, Line
from stemphonic_jax.data.sources.demo.theory import Chord, Key
from stemphonic_jax.data.sources.demo.triple import STEPS

CALM = 0.6  # below it soft hits and crashes are left out
BUILT = 0.25  # by which the next section has to be louder to be built up to
SNARES = ("snare", "tight snare", "brushed snare", "rim", "clap")
TOMS = ("snare", "high tom", "mid tom", "low tom")
# Bars of tunes: those that begin a phrase, and those that end it with room to breathe.
CELLS = {
  "4/4": (OPENINGS, ENDINGS),
  "3/4": (
    ("x-x-x---x-x-", "x---x-x-x---", "..x-x-x-x---", "x-----x-x-x-"),
    ("x-----......", "x-x-x---....", "x---x-......"),
  ),
  "6/8": (
    ("x---x-x-x-x-", "x-x-x-x---x-", "x-----x---x-", "..x-x-x---x-"),
    ("x-----......", "x---x-x-....", "x-x-x-x-...."),
  ),
}


@dataclass(frozen=True)
class Sheet:
  """What all parts share: key, metre, a chord for each bar and one after the end, sections, and how
  loud each bar is, from 0 to 1.
  """

  key: Key
  metre: str
  chords: tuple[Chord, ...]
  sections: tuple[Section, ...]
  loudness: tuple[float, ...]

  @property
  def bar(self) -> int:
    return STEPS[self.metre][0]

  @property
  def beat(self) -> int:
    return STEPS[self.metre][1]


def hits(pattern: str, bar: int, steps: int) -> Iterator[tuple[int, int, str]]:
  """(step, length, symbol) of the hits of one bar, of a pattern that takes one bar or several."""
  start = steps * (bar % (len(pattern) // steps))
  for match in re.finditer(r"[^.-]-*", pattern[start : start + steps]):
    yield match.start(), len(match.group()), match.group()[0]


def lead(previous: Sequence[int] | None, chord: Chord, centre: int) -> tuple[int, ...]:
  """The close voicing around `centre` that is nearest to the one before."""
  classes = sorted(chord.classes)
  options = []
  for turn, low in itertools.product(range(len(classes)), range(centre - 12, centre + 3)):
    if low % 12 == classes[turn]:
      above = [low + (c - low) % 12 for c in classes]
      options.append(tuple(sorted(above)))

  def cost(voicing: tuple[int, ...]) -> float:
    away = abs(sum(voicing) / len(voicing) - centre)
    if previous is None:
      return away
    moved = sum(min(abs(pitch - old) for old in previous) for pitch in voicing)
    return moved + 0.4 * away + abs(voicing[-1] - previous[-1]) * 0.5

  return min(options, key=cost)


def play_chords(line: Line, sheet: Sheet, sections: Sequence[Section]) -> Iterator[Note]:
  """Chords, broken chords and arpeggios; each voicing leads on from the one before."""
  low, pitches = line.centre - 6, None
  for _, bar in _bars(sections):
    chord = sheet.chords[bar]
    pitches = lead(pitches, chord, line.centre)
    root = low + (chord.root - low) % 12
    for step, length, symbol in hits(line.pattern, bar, sheet.bar):
      if symbol.isdigit():
        octave, tone = divmod(int(symbol) - 1, len(pitches))
        played = (pitches[tone] + 12 * octave,)
      else:
        played = (root, root + 7, root + 12) if symbol == "p" else pitches
      velocity = ACCENTS.get(symbol, 0.85 if step % sheet.beat == 0 else 0.7)
      yield Note(sheet.bar * bar + step, 0.95 * length, played, velocity, line.voice)


def play_bass(
  line: Line, sheet: Sheet, sections: Sequence[Section], rng: np.random.Generator
) -> Iterator[Note]:
  """A bass line by its pattern; now and then the end of four bars runs on to the next root."""
  low = line.centre - 6
  for section, bar in _bars(sections):
    chord = sheet.chords[bar]
    root = low + (chord.root - low) % 12
    ahead = low + (sheet.chords[bar + 1].root - low) % 12
    interval = {"1": 0, "3": chord.intervals[1], "5": chord.intervals[2], "8": 12}
    interval["a"] = ahead - root + (-1 if ahead > root else 1)
    runs = (bar - section.first) % 4 == 3 and section.energy > CALM and rng.random() < 0.4
    end = sheet.bar - sheet.beat if runs and ahead != root else sheet.bar
    for step, length, symbol in hits(line.pattern, bar, sheet.bar):
      if step < end:
        pitch = root + interval.get(symbol, 0)
        held = min(length, end - step)
        yield _note(sheet, bar, step, 0.95 * held, pitch, 1.0 if step == 0 else 0.85, line)
    if end < sheet.bar:
      toward = -1 if ahead > root else 1
      for step, away in ((end, 2), (end + sheet.beat // 2, 1)):
        pitch = _on_scale(ahead + away * toward, sheet.key) if away > 1 else ahead + toward
        yield _note(sheet, bar, step, 0.9 * sheet.beat / 2, pitch, 0.8, line)


def walk(
  line: Line, sheet: Sheet, sections: Sequence[Section], rng: np.random.Generator
) -> Iterator[Note]:
  """A bass that walks: a note on each beat, chord tones on the way to the next root."""
  low, beats = line.centre - 8, sheet.bar // sheet.beat
  for _, bar in _bars(sections):
    chord, following = sheet.chords[bar], sheet.chords[bar + 1]
    root = low + (chord.root - low) % 12
    target = low + (following.root - low) % 12
    target += 12 if target < root - 7 else 0
    tones = [low + k for k in range(20) if (low + k) % 12 in chord.classes]
    pitch = root
    for beat in range(beats):
      if beat == beats - 1:
        pitch = target + int(rng.choice((-1, -1, 1, 1, 2)))
      elif beat:
        aim = root + (target - root) * beat / beats + rng.normal(0.0, 3.0)
        pitch = min((tone for tone in tones if tone != pitch), key=lambda tone: abs(tone - aim))
      yield _note(
        sheet, bar, beat * sheet.beat, 0.9 * sheet.beat, pitch, 0.95 - 0.1 * (beat % 2), line
      )
      if beat and rng.random() < 0.08:  # a skip
        yield _note(sheet, bar, (beat + 0.75) * sheet.beat, 0.5, pitch, 0.4, line)


def play_melody(
  line: Line, sheet: Sheet, sections: Sequence[Section], rng: np.random.Generator
) -> Iterator[Note]:
  """A tune in phrases of four bars: two ask and stay open, two answer them and come home.

  Verse and chorus have a tune each. It moves by steps of the scale, and long or stressed notes
  settle on a chord tone.
  """
  home = sheet.key.nearest_degree(line.centre)
  tunes = [_tune(sheet.metre, rng) for _ in range(2)]
  for section in sections:
    chorus = section.energy >= 1.0
    rhythm, moves, rise = tunes[chorus]
    for bar in section.span:
      place = (bar - section.first) % 4
      bars = list(hits(rhythm[place], 0, sheet.bar))
      if place % 2 == 0:
        degree = home + 2 * chorus + (rise if place == 2 else 0)
      for step, length, _ in bars:
        degree = int(np.clip(degree + moves[place % 2][step], home - 5, home + 7))
        last = place % 2 == 1 and step == bars[-1][0]
        if last:
          degree = _end(degree, sheet.key, sheet.chords[bar], closed=place == 3)
        elif step % (2 * sheet.beat) == 0 or length >= sheet.beat:
          degree = _settle(degree, sheet.key, sheet.chords[bar])
        arch = 1.0 - 0.12 * abs(place + step / sheet.bar - 2.0)
        velocity = arch * (0.98 if step % (2 * sheet.beat) == 0 else 0.85)
        yield _note(sheet, bar, step, 0.93 * length, sheet.key.pitch(degree), velocity, line)


def _tune(metre: str, rng: np.random.Generator) -> tuple[list[str], list[np.ndarray], int]:
  """Rhythm of four bars, moves in the scale for either kind, and where an answer begins."""
  openings, endings = CELLS[metre]
  opening, ending, close = (str(rng.choice(cells)) for cells in (openings, endings, endings))
  moves = [rng.choice((-2, -1, -1, 0, 1, 1, 2), STEPS[metre][0]) for _ in range(2)]
  return [opening, ending, opening, close], moves, int(rng.choice((0, 1, 2, -1)))


def _settle(degree: int, key: Key, chord: Chord) -> int:
  """The nearest degree of the scale that belongs to the chord."""
  near = (degree, degree - 1, degree + 1, degree - 2)
  return next((d for d in near if key.pitch(d) % 12 in chord.classes), degree)


def _end(degree: int, key: Key, chord: Chord, closed: bool) -> int:
  """The last note of a phrase: at home where it answers, elsewhere where it asks."""
  near = sorted(range(degree - 4, degree + 5), key=lambda d: abs(d - degree))
  tones = [d for d in near if key.pitch(d) % 12 in chord.classes]
  if closed:
    wanted = [d for d in tones if d % 7 == 0] or [
      d for d in tones if key.pitch(d) % 12 == chord.root
    ]
  else:
    wanted = [d for d in tones if d % 7]
  return (wanted or tones or [degree])[0]


def play_groove(
  groove: Groove,
  sheet: Sheet,
  sections: Sequence[Section],
  drums: bool,
  ghosts: float,
  rng: np.random.Generator,
) -> Iterator[Note]:
  """A groove with ghost notes and small changes; drums fill the ends of phrases, and build up."""
  snare = next((name for name in groove.lines if name in SNARES), None)
  fills = TOMS if snare in ("snare", "tight snare") else (snare,) * 4
  steady = any(name.endswith("kick") and line.count("X") > 3 for name, line in groove.lines.items())
  for section in sections:
    loud = sheet.loudness[section.first]
    end = section.first + section.bars
    after = sheet.loudness[end] if end < len(sheet.loudness) else 0.0
    for bar in section.span:
      place, last = (bar - section.first) % 4, bar == section.span[-1]
      fill = sheet.bar
      if drums and last:
        fill -= sheet.beat * int(rng.choice((0, 1, 1, 2)))
      elif drums and place == 3 and rng.random() < 0.3:
        fill -= sheet.beat
      if drums and last and after - loud >= BUILT and steady:
        yield from _roll(sheet, bar)
        continue
      yield from _bar(groove, sheet, section, bar, fill, snare if drums else None, ghosts, rng)
      if fills[0]:
        yield from _fill(sheet, bar, fill, fills, rng)
      if drums and place in (1, 3) and not steady and rng.random() < 0.3 and "kick" in groove.lines:
        step = 2 * int(rng.integers(1, sheet.bar // 2 - 1))
        if step < fill:
          yield Note(sheet.bar * bar + step, 1, (), 0.6, "kick")
    if drums and section.energy > CALM and snare != "brushed snare":
      yield Note(sheet.bar * section.first, 1, (), 0.8, "crash")


def _bar(
  groove: Groove,
  sheet: Sheet,
  section: Section,
  bar: int,
  fill: int,
  snare: str | None,
  ghosts: float,
  rng: np.random.Generator,
) -> Iterator[Note]:
  """One bar of a groove up to the step `fill`; soft hits are left out where it is calm."""
  calm = section.energy < CALM
  for drum, pattern in groove.lines.items():
    taken = set()
    for step, _, symbol in hits(pattern, bar, sheet.bar):
      taken.add(step)
      if step < fill and not (calm and symbol == "o"):
        accent = 1.0 if step % sheet.beat == 0 or "hat" not in drum else 0.8
        yield Note(sheet.bar * bar + step, 1, (), accent * ACCENTS[symbol], drum)
    if drum == snare and not calm:
      for step in range(1, fill):
        near = {step - 1, step, step + 1} & taken
        if step % sheet.beat and not near and rng.random() < ghosts:
          yield Note(sheet.bar * bar + step, 1, (), 0.22, drum)


def _fill(
  sheet: Sheet, bar: int, first: int, drums: Sequence[str], rng: np.random.Generator
) -> Iterator[Note]:
  """From step `first` to the end of the bar, louder and louder, down the drums."""
  span = sheet.bar - first
  for step in range(first, sheet.bar):
    if rng.random() < (0.9 if step % 2 == 0 else 0.65):
      progress = (step - first) / span
      yield Note(sheet.bar * bar + step, 1, (), 0.55 + 0.4 * progress, drums[int(4 * progress)])


def _roll(sheet: Sheet, bar: int) -> Iterator[Note]:
  """A bar of snare that builds: eighths, then sixteenths, from soft to loud."""
  for step in range(sheet.bar):
    if step % 2 == 0 or step >= sheet.bar // 2:
      yield Note(sheet.bar * bar + step, 1, (), 0.35 + 0.6 * step / sheet.bar, "snare")


def play_effects(
  effects: Effects, sheet: Sheet, sections: Sequence[Section], rng: np.random.Generator
) -> Iterator[Note]:
  """Marks the borders of sections, and calls now and then between them."""
  for section in sections:
    start, end = sheet.bar * section.first, sheet.bar * (section.first + section.bars)
    yield Note(start, sheet.bar, (), 0.9, effects.on)
    length = int(rng.choice((sheet.bar // 2, sheet.bar, sheet.bar)))
    yield Note(end - length, length, (), 0.8, effects.before)
    for bar in section.span[1:-1]:
      if effects.between and rng.random() < 0.4:
        step = int(rng.integers(sheet.bar - 4))
        yield Note(sheet.bar * bar + step, 4, (), 0.5, effects.between)


def _bars(sections: Sequence[Section]) -> Iterator[tuple[Section, int]]:
  return ((section, bar) for section in sections for bar in section.span)


def _note(
  sheet: Sheet, bar: int, step: float, length: float, pitch: int, velocity: float, line: Line
) -> Note:
  return Note(sheet.bar * bar + step, length, (pitch,), velocity, line.voice)


def _on_scale(pitch: int, key: Key) -> int:
  return key.pitch(key.nearest_degree(pitch))

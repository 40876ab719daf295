"""Composes pieces: a style, a key, a form of sections, a cast of parts, and all their notes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stemphonic_jax.data.sources.demo import parts
from stemphonic_jax.data.sources.demo.parts import Note, Score, Section
from stemphonic_jax.data.sources.demo.styles import COMMON, STYLES, Effects, Groove, Line, Style
from stemphonic_jax.data.sources.demo.theory import Chord, Key, chord
from stemphonic_jax.data.taxonomy import STEM_TYPES, parse_type

HARMONY = ("keys", "guitars", "synths", "strings")  # every piece has at least one of these
DOUBLED = ("guitars", "keys", "synths", "vocals", "percussion", "strings")  # may play twice
STEM_COUNTS = {3: 0.08, 4: 0.17, 5: 0.25, 6: 0.25, 7: 0.15, 8: 0.1}
ENERGIES = (0.5, 0.8, 1.0, 0.55, 1.0, 0.75)  # of consecutive sections, entered anywhere
CHORUS = 1.0  # sections of this energy have their own progression
JITTER = 0.003  # seconds; nobody plays quite in time

TEMPO_WORDS = {76: "slow", 96: "laid-back", 116: "mid-tempo", 144: "upbeat", 400: "fast"}
CAPTIONS = (
  "{Mood} {tempo} {style} in {key} with {parts}",
  "{Tempo} {style} in {key}, {mood} and {mood2}, featuring {parts}",
  "{Style}, {mood}, {tempo}, {key}: {parts}",
  "{Mood} {style} with {parts}, {tempo}, in {key}",
)

Cast = dict[str, tuple[str, Line | Groove | Effects]]  # name of a stem -> its type, what it plays


@dataclass(frozen=True)
class Part:
  """One stem on paper: its type, what plays, its notes in time (seconds), and its sections."""

  type: str
  plays: Line | Groove | Effects
  notes: tuple[Note, ...]
  sections: tuple[Section, ...]


@dataclass(frozen=True)
class Piece:
  """A composed piece; `parts` by unique name ("guitars", "guitars 2")."""

  seed: int
  index: int
  seconds: float
  style: str
  bpm: float
  key: Key
  sections: tuple[Section, ...]
  parts: dict[str, Part]
  caption: str
  metre: str = "4/4"
  swing: float = 0.0


def compose(
  seed: int, index: int, seconds: float = 32.0, stems: Sequence[str] | None = None
) -> Piece:
  """Piece `index` of the corpus `seed`; `stems` are the stem types wanted, drawn by default.

  A piece depends on its seed and index alone, not on how many are made or in which order.
  """
  rng, cast_rng, form_rng, play_rng = np.random.default_rng([seed, index]).spawn(4)
  name = str(rng.choice(list(STYLES)))
  style = STYLES[name]
  bpm = int(rng.integers(style.bpm[0], style.bpm[1], endpoint=True))
  key = Key(int(rng.integers(12)), "minor" if rng.random() < style.minor_share else "major")
  moods = [str(mood) for mood in rng.choice(style.moods, 2, replace=False)]
  caption = str(rng.choice(CAPTIONS))

  score = _write_score(style, key, math.ceil(seconds * bpm / 240), form_rng)
  types = [parse_type(kind) for kind in stems] if stems else draw_types(style, cast_rng)
  cast = cast_of(style, types, cast_rng)
  active = _arrange(len(cast), score.sections, form_rng)
  written = {}
  for (stem, (kind, plays)), sections, part_rng in zip(
    cast.items(), active, play_rng.spawn(len(cast)), strict=True
  ):
    notes = _perform(_play(kind, plays, score, sections, part_rng), style, bpm, part_rng)
    heard = sorted(note for note in notes if note.start < seconds)
    written[stem] = Part(kind, plays, tuple(heard), sections)
  words = _caption(caption, name, bpm, key, moods, [part.plays.name for part in written.values()])
  return Piece(
    seed, index, seconds, name, float(bpm), key, score.sections, written, words, swing=style.swing
  )


def _write_score(style: Style, key: Key, bars: int, rng: np.random.Generator) -> Score:
  """Sections of one form, and a chord for each bar."""
  tunes = draw_progressions(style, key, rng)
  return Score(key, *lay_out(ENERGIES, tunes, key, bars, rng))


def draw_progressions(style: Style, key: Key, rng: np.random.Generator) -> list[list[str]]:
  """Numerals of the chords of verse and chorus."""
  progressions = style.major if key.mode == "major" else style.minor
  return [str(rng.choice(progressions)).split() for _ in range(2)]


def lay_out(
  form: Sequence[float],
  tunes: Sequence[Sequence[str]],
  key: Key,
  bars: int,
  rng: np.random.Generator,
) -> tuple[tuple[Chord, ...], tuple[Section, ...]]:
  """A chord for each bar and one more, and sections of a form, which is entered anywhere.

  They have four bars, or eight where the piece is long enough. A rest of at most two bars at the
  end belongs to the last section.
  """
  verse, chorus = tunes
  sections, chords, first = [], [], 0
  entry = int(rng.integers(len(form)))
  while first < bars:
    length = 8 if bars - first >= 12 and rng.random() < 0.35 else 4
    length = bars - first if 0 < bars - first - length <= 2 else length
    section = Section(first, length, form[(entry + len(sections)) % len(form)])
    numerals = chorus if section.energy == CHORUS else verse
    chords += [chord(numerals[bar % len(numerals)], key) for bar in range(length)]
    sections.append(section)
    first += length
  return (*chords, chords[0]), tuple(sections)


def draw_types(style: Style, rng: np.random.Generator) -> list[str]:
  """3 to 8 stem types, mostly the core of the style, one of them perhaps twice."""
  count = int(rng.choice(list(STEM_COUNTS), p=list(STEM_COUNTS.values())))
  weight = np.array([5.0 if kind in style.core else 1.0 for kind in STEM_TYPES])
  drawn = rng.choice(STEM_TYPES, count, replace=False, p=weight / weight.sum())
  types = [str(kind) for kind in drawn]
  doubles = [kind for kind in types[:-1] if kind in DOUBLED]
  if doubles and rng.random() < 0.35:
    types[-1] = str(rng.choice(doubles))
  if not set(HARMONY) & set(types):
    types[0] = str(rng.choice(HARMONY))
  return sorted(types, key=STEM_TYPES.index)


def cast_of(
  style: Style,
  types: Sequence[str],
  rng: np.random.Generator,
  common: Mapping[str, Sequence[Line | Groove | Effects]] = COMMON,
) -> Cast:
  """Who plays what; a second stem of a type plays something else than the first."""
  cast = {}
  for kind in types:
    own = style.parts.get(kind, common[kind])
    taken = [plays for other, plays in cast.values() if other == kind]
    # What the style does in its own way comes first; the common stock is for further stems.
    free = [plays for plays in own if plays not in taken]
    free = free or [plays for plays in common[kind] if plays not in taken] or own
    name = kind if not taken else f"{kind} {len(taken) + 1}"
    cast[name] = (kind, free[int(rng.integers(len(free)))])
  return cast


def _arrange(
  count: int, sections: Sequence[Section], rng: np.random.Generator
) -> list[tuple[Section, ...]]:
  """For each stem the sections it plays in: more in sections of more energy, each at least once.

  No section is left with fewer than three stems, or half of them where they are few.
  """
  energy = np.array([section.energy for section in sections])
  active = rng.random((count, len(sections))) < 0.35 + 0.5 * energy
  for stem in np.flatnonzero(~active.any(axis=1)):
    active[stem, rng.integers(len(sections))] = True
  fewest = min(3, (count + 1) // 2)
  for place in np.flatnonzero(active.sum(axis=0) < fewest):
    active[rng.choice(count, fewest, replace=False), place] = True
  return [tuple(s for s, on in zip(sections, row, strict=True) if on) for row in active]


def _play(
  kind: str,
  plays: Line | Groove | Effects,
  score: Score,
  sections: Sequence[Section],
  rng: np.random.Generator,
) -> Iterator[Note]:
  """The notes of one part, in steps."""
  if isinstance(plays, Groove):
    return parts.play_groove(plays, sections, kind == "drums", rng)
  if isinstance(plays, Effects):
    return parts.play_effects(plays, sections, rng)
  if plays.pattern is None:
    return parts.play_melody(plays, score, sections, rng)
  if kind == "basses":
    return parts.play_bass(plays, score, sections)
  return parts.play_chords(plays, score, sections)


def _perform(
  notes: Iterator[Note], style: Style, bpm: int, rng: np.random.Generator
) -> Iterator[Note]:
  """From steps to seconds: tempo, swing, and small deviations in time and loudness."""
  for note in notes:
    start = seconds_of(note.start, style, bpm)
    # Rounded, so that equal notes are equal sounds, which the synthesiser makes only once.
    length = round(seconds_of(note.start + note.length, style, bpm) - start, 2)
    velocity = float(np.clip(note.velocity * (1.0 + 0.06 * rng.standard_normal()), 0.05, 1.0))
    start = max(0.0, start + JITTER * rng.standard_normal())
    yield note._replace(start=start, length=max(length, 0.02), velocity=velocity)


def seconds_of(step: float, style: Style, bpm: float, beat: int = 4) -> float:
  """When a step sounds, `beat` of which are a beat.

  Swing makes the first of two steps longer and the second shorter.
  """
  unit = style.swing_steps
  pair, place = divmod(step, 2 * unit)
  long = unit * (1.0 + style.swing)
  late = long + (place - unit) * (1.0 - style.swing)
  swung = place * (1.0 + style.swing) if place < unit else late
  return (2 * unit * pair + swung) * 60.0 / (bpm * beat)


def _caption(
  template: str, style: str, bpm: int, key: Key, moods: Sequence[str], plays: Sequence[str]
) -> str:
  """The global description of Sec. 3.4: style, mood, tempo in a word, key, what plays."""
  tempo = next(word for limit, word in TEMPO_WORDS.items() if bpm < limit)
  names = list(dict.fromkeys(plays))
  listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
  words = {"mood": moods[0], "mood2": moods[1], "tempo": tempo, "style": style}
  capitals = {word.capitalize(): text.capitalize() for word, text in words.items()}
  return template.format(**words, **capitals, key=key.name, parts=listed)

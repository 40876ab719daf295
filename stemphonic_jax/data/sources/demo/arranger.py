"""Composes the second version's pieces: forms that build, stems that enter in turn, dynamics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from stemphonic_jax.data.sources.demo import playing
from stemphonic_jax.data.sources.demo.composer import (
  Part,
  Piece,
  cast_of,
  draw_progressions,
  draw_types,
  lay_out,
  seconds_of,
)
from stemphonic_jax.data.sources.demo.parts import Note, Section
from stemphonic_jax.data.sources.demo.playing import Sheet
from stemphonic_jax.data.sources.demo.styles import Effects, Groove, Line, Style
from stemphonic_jax.data.sources.demo.styles_of_version_2 import (
  GHOSTS,
  OTHERWISE,
  OTHERWISE_SHARE,
  STYLES_TWO,
  WALKING,
  WEIGHTS,
)
from stemphonic_jax.data.sources.demo.theory import Key
from stemphonic_jax.data.sources.demo.triple import COMMONS, STEPS
from stemphonic_jax.data.taxonomy import parse_type

# Energies of consecutive sections, entered anywhere; at 1 they have the chorus' chords and tune.
FORMS = (
  (0.45, 0.7, 1.0, 0.6, 1.0, 0.75),
  (0.4, 0.55, 0.75, 1.0, 0.5, 1.0),
  (0.65, 1.0, 0.65, 1.0, 0.4, 1.0),
  (0.5, 0.8, 1.0, 0.8, 0.55, 1.0),
)
JITTER, LAYBACK = 0.003, 0.004  # seconds: from note to note, and of a player as a whole
SOFTEST = 0.6  # velocity of a bar of no loudness, of one of full loudness


def compose(
  seed: int, index: int, seconds: float = 32.0, stems: Sequence[str] | None = None
) -> Piece:
  """Piece `index` of the corpus `seed`; `stems` are the stem types wanted, drawn by default.

  A piece depends on its seed and index alone, not on how many are made or in which order. Its
  caption is left to captions.py.
  """
  rng, cast_rng, form_rng, play_rng = np.random.default_rng([seed, index, 5]).spawn(4)
  weights = np.array([WEIGHTS.get(name, 1.0) for name in STYLES_TWO])
  name = str(rng.choice(list(STYLES_TWO), p=weights / weights.sum()))
  style = _in_a_metre(name, rng)
  bpm = int(rng.integers(style.bpm[0], style.bpm[1], endpoint=True))
  key = Key(int(rng.integers(12)), "minor" if rng.random() < style.minor_share else "major")

  bar, beat = STEPS[style.metre]
  sheet = _write(style, key, math.ceil(seconds * bpm / 60 * beat / bar), form_rng)
  types = [parse_type(kind) for kind in stems] if stems else draw_types(style, cast_rng)
  cast = cast_of(style, types, cast_rng, COMMONS[style.metre])
  active = _arrange([kind for kind, _ in cast.values()], style, sheet.sections, form_rng)
  written = {}
  for (stem, (kind, plays)), sections, part_rng in zip(
    cast.items(), active, play_rng.spawn(len(cast)), strict=True
  ):
    notes = _play(name, kind, plays, sheet, sections, part_rng)
    heard = sorted(n for n in _perform(notes, style, bpm, sheet, part_rng) if n.start < seconds)
    written[stem] = Part(kind, plays, tuple(heard), sections)
  return Piece(
    seed, index, seconds, name, float(bpm), key, sheet.sections, written, "", style.metre,
    style.swing,
  )  # fmt: skip


def _in_a_metre(name: str, rng: np.random.Generator) -> Style:
  """A style, now and then in another metre than it mostly has."""
  style = STYLES_TWO[name]
  for metre, names in OTHERWISE.items():
    if name in names and rng.random() < OTHERWISE_SHARE:
      slower = 2 / 3 if metre == "6/8" else 1.0  # a beat of 6/8 is half a bar
      bpm = tuple(max(44, round(slower * limit)) for limit in style.bpm)
      return replace(style, metre=metre, bpm=bpm, parts={}, swing=0.0)
  return style


def _write(style: Style, key: Key, bars: int, rng: np.random.Generator) -> Sheet:
  """Sections of one of several forms, a chord for each bar, and how loud it is."""
  tunes = draw_progressions(style, key, rng)
  form = FORMS[int(rng.integers(len(FORMS)))]
  chords, sections = lay_out(form, tunes, key, bars, rng)
  after = [*(section.energy for section in sections[1:]), 0.0]
  loudness = [
    section.energy + max(0.0, following - section.energy) * max(0.0, place / section.bars - 0.4)
    for section, following in zip(sections, after, strict=True)
    for place in range(section.bars)
  ]
  return Sheet(key, style.metre, chords, sections, tuple(loudness))


def _arrange(
  types: Sequence[str], style: Style, sections: Sequence[Section], rng: np.random.Generator
) -> list[tuple[Section, ...]]:
  """For each stem the sections it plays in: they enter in one order as the energy rises.

  Each plays once at least, and no section is left with fewer than three stems, or half of them
  where they are few.
  """
  count = len(types)
  core = np.array([kind in style.core for kind in types])
  order = np.argsort(rng.random(count) - 0.35 * core)
  fewest = min(3, (count + 1) // 2)
  active = np.zeros((count, len(sections)), bool)
  for place, section in enumerate(sections):
    many = round(count * (0.28 + 0.62 * section.energy) + rng.normal(0.0, 0.5))
    playing_now = order[: int(np.clip(many, fewest, count))]
    active[playing_now, place] = True
    if len(playing_now) < count and rng.random() < 0.3:  # one makes way for another
      active[playing_now[-1], place] = False
      active[order[len(playing_now)], place] = True
  loudest = int(np.argmax([section.energy for section in sections]))
  active[~active.any(axis=1), loudest] = True
  return [tuple(s for s, on in zip(sections, row, strict=True) if on) for row in active]


def _play(
  style: str,
  kind: str,
  plays: Line | Groove | Effects,
  sheet: Sheet,
  sections: Sequence[Section],
  rng: np.random.Generator,
) -> Iterator[Note]:
  """The notes of one part, in steps."""
  if isinstance(plays, Groove):
    ghosts = GHOSTS.get(style, 0.0) if kind == "drums" else 0.0
    return playing.play_groove(plays, sheet, sections, kind == "drums", ghosts, rng)
  if isinstance(plays, Effects):
    return playing.play_effects(plays, sheet, sections, rng)
  if plays.pattern is None:
    return playing.play_melody(plays, sheet, sections, rng)
  if kind != "basses":
    return playing.play_chords(plays, sheet, sections)
  walks = rng.random() < WALKING.get(style, 0.0)
  return (playing.walk if walks else playing.play_bass)(plays, sheet, sections, rng)


def _perform(
  notes: Iterator[Note], style: Style, bpm: int, sheet: Sheet, rng: np.random.Generator
) -> Iterator[Note]:
  """From steps to seconds: tempo, swing, how loud the bar is, and what players do by chance."""
  late = LAYBACK * rng.standard_normal()
  for note in notes:
    start = seconds_of(note.start, style, bpm, sheet.beat)
    # Rounded, so that equal notes are equal sounds, which the synthesiser makes only once.
    length = round(seconds_of(note.start + note.length, style, bpm, sheet.beat) - start, 2)
    loud = sheet.loudness[min(int(note.start // sheet.bar), len(sheet.loudness) - 1)]
    chance = 1.0 + 0.06 * rng.standard_normal()
    velocity = note.velocity * (SOFTEST + (1.0 - SOFTEST) * loud) * chance
    start = max(0.0, start + late + JITTER * rng.standard_normal())
    velocity = float(np.clip(velocity, 0.05, 1.0))
    yield note._replace(start=start, length=max(length, 0.02), velocity=velocity)

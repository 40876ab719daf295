"""The music of the corpus' second version."""

from collections import Counter

import numpy as np
import pytest

from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.sources.demo import arranger, composer, drums, effects, playing, voices
from stemphonic_jax.data.sources.demo.parts import Section
from stemphonic_jax.data.sources.demo.styles import Effects, Groove, Line
from stemphonic_jax.data.sources.demo.styles_of_version_2 import GHOSTS, STYLES_TWO, WALKING
from stemphonic_jax.data.sources.demo.theory import Key, chord
from stemphonic_jax.data.sources.demo.triple import COMMONS, STEPS
from stemphonic_jax.data.taxonomy import STEM_TYPES


@pytest.fixture(scope="module")
def pieces():
  return [arranger.compose(0, index) for index in range(150)]


def sheet(metre="4/4", numerals=("i", "iv", "V7", "i"), loudness=0.8, bars=8):
  key = Key(9, "minor")
  chords = tuple(chord(numerals[bar % len(numerals)], key) for bar in range(bars + 1))
  sections = tuple(Section(first, 4, 1.0) for first in range(0, bars, 4))
  return playing.Sheet(key, metre, chords, sections, (loudness,) * bars)


def test_a_piece_follows_from_seed_and_index_and_is_not_that_of_the_first_version():
  assert arranger.compose(5, 3, 8.0) == arranger.compose(5, 3, 8.0)
  assert arranger.compose(5, 3, 8.0) != arranger.compose(6, 3, 8.0)
  first, second = (demo.piece(0, 1, 2.0, 8000, edition=demo.Edition(v)) for v in (1, 2))
  assert first.caption == composer.compose(0, 1, 2.0).caption != second.caption


def test_all_types_styles_and_metres_occur(pieces):
  assert {piece.style for piece in pieces} == set(STYLES_TWO)
  metres = Counter(piece.metre for piece in pieces)
  assert set(metres) == set(STEPS)
  assert metres["4/4"] > 0.75 * len(pieces)  # what most people mean
  assert {part.type for piece in pieces for part in piece.parts.values()} == set(STEM_TYPES)
  assert {len(piece.parts) for piece in pieces} == {3, 4, 5, 6, 7, 8}
  assert all(part.notes for piece in pieces for part in piece.parts.values())
  velocities = [n.velocity for piece in pieces for part in piece.parts.values() for n in part.notes]
  assert 0 < min(velocities) <= max(velocities) <= 1


def test_the_tables_name_only_what_exists():
  assert WALKING.keys() | GHOSTS.keys() <= STYLES_TWO.keys()
  rows = [(metre, common) for metre, common in COMMONS.items()]
  rows += [(style.metre, style.parts) for style in STYLES_TWO.values()]
  for metre, parts in rows:
    steps = STEPS[metre][0]
    for kind, choices in parts.items():
      assert kind in STEM_TYPES
      for plays in choices:
        if isinstance(plays, Groove):
          assert set(plays.lines) <= set(drums.DRUMS)
          assert all(len(line) in (steps, 2 * steps) for line in plays.lines.values()), plays
        elif isinstance(plays, Effects):
          assert {plays.before, plays.on} <= set(effects.EFFECTS)
        else:
          assert plays.voice in voices.VOICES
          assert plays.pattern is None or len(plays.pattern) in (steps, 2 * steps), plays
  for metre, (openings, endings) in playing.CELLS.items():
    assert {len(cell) for cell in (*openings, *endings)} == {STEPS[metre][0]}


def test_voices_lead_from_chord_to_chord():
  numerals = ("i", "VI", "III", "VII", "iv", "V7", "i7", "iio7")
  chords = [chord(numeral, Key(9, "minor")) for numeral in numerals]
  moved, fixed, voicing = 0, 0, None
  for previous, following in zip([None, *chords], chords, strict=False):
    last, voicing = voicing, playing.lead(voicing, following, 60)
    assert {pitch % 12 for pitch in voicing} == set(following.classes)
    assert abs(np.mean(voicing) - 60) < 8
    if last:
      moved += sum(min(abs(pitch - old) for old in last) for pitch in voicing)
      before = previous.voicing(60)
      fixed += sum(min(abs(pitch - old) for old in before) for pitch in following.voicing(60))
  assert moved <= fixed
  assert moved / 7 < 6  # semitones from one chord to the next, all voices together


def test_a_bass_that_walks_has_a_note_on_each_beat_and_roots_on_the_first():
  page = sheet()
  notes = list(
    playing.walk(Line("upright bass", 36), page, page.sections, np.random.default_rng(0))
  )
  on_beats = [note for note in notes if note.start % 4 == 0]
  assert [note.start for note in on_beats] == list(range(0, 8 * 16, 4))
  for bar, first in enumerate(on_beats[::4]):
    assert first.pitches[0] % 12 == page.chords[bar].root
    ahead = page.chords[bar + 1].root
    away = (on_beats[4 * bar + 3].pitches[0] - ahead) % 12
    assert away in (1, 2, 11)  # a step away from where it goes
  assert all(26 <= note.pitches[0] <= 52 for note in notes)


@pytest.mark.parametrize("metre", STEPS)
def test_phrases_answer_each_other(metre):
  page, closed, opened = sheet(metre), 0, 0
  for seed in range(20):
    rng = np.random.default_rng(seed)
    notes = list(playing.play_melody(Line("flute", 72), page, page.sections, rng))
    phrases = [[n for n in notes if n.start // page.bar // 2 == half] for half in range(4)]
    onsets = [[n.start % (2 * page.bar) for n in phrase] for phrase in phrases]
    assert onsets[0] == onsets[2]
    assert onsets[1] == onsets[3]
    bar = page.bar
    assert [t for t in onsets[0] if t < bar] == [t for t in onsets[1] if t < bar]  # as it was asked
    opened += phrases[0][-1].pitches[0] % 12 != page.key.tonic
    closed += phrases[1][-1].pitches[0] % 12 == page.key.tonic  # over its chord, i
  assert (opened, closed) == (20, 20)


def test_grooves_have_ghost_notes_fills_and_build_up():
  groove = next(g for g in STYLES_TWO["house"].parts["drums"] if isinstance(g, Groove))
  sections = (Section(0, 4, 0.7), Section(4, 4, 1.0))
  page = sheet()
  page = playing.Sheet(page.key, "4/4", page.chords, sections, (0.7,) * 4 + (1.0,) * 4)
  built = list(playing.play_groove(groove, page, sections, True, 0.0, np.random.default_rng(0)))
  roll = [n.velocity for n in sorted(built) if 48 <= n.start < 64]
  assert roll == sorted(roll)
  assert len(roll) == 12
  funk = next(g for g in STYLES_TWO["funk"].parts["drums"] if "tight snare" in g.lines)
  plain, ghosted = (
    list(playing.play_groove(funk, page, sections, True, share, np.random.default_rng(0)))
    for share in (0.0, 0.5)
  )
  assert not any(n.velocity < 0.3 and n.sound == "tight snare" for n in plain)
  assert sum(n.velocity < 0.3 and n.sound == "tight snare" for n in ghosted) > 4
  assert any("tom" in n.sound for n in ghosted)


def test_loud_sections_have_more_stems_and_louder_notes(pieces):
  calm, loud, soft, strong = [], [], [], []
  for piece in pieces:
    beats = STEPS[piece.metre][0] / STEPS[piece.metre][1]
    for section in piece.sections:
      playing_now = sum(section in part.sections for part in piece.parts.values())
      share = playing_now / len(piece.parts)
      (loud if section.energy == 1 else calm).append(share)
      if section.energy not in (1.0,) and section.energy > 0.6:
        continue
      begin = section.first * beats * 60 / piece.bpm
      end = (section.first + 0.5 * section.bars) * beats * 60 / piece.bpm
      found = [n.velocity for p in piece.parts.values() for n in p.notes if begin <= n.start < end]
      (strong if section.energy == 1 else soft).extend(found)
  assert np.mean(loud) > np.mean(calm) + 0.15
  assert np.mean(strong) > 1.15 * np.mean(soft)

"""Parts played by a General-MIDI SoundFont, through FluidSynth: instruments.toml says by what.

Each stem has a synthesiser of its own, so that it depends on nothing but its notes and rests are
exact zeros. FluidSynth's reverb and chorus are off: the room is that of all stems (render.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stemphonic_jax.data.sources.demo.composer import Part
from stemphonic_jax.data.sources.demo.facts import table
from stemphonic_jax.data.sources.demo.parts import Note
from stemphonic_jax.data.sources.demo.soundfont import DRUMS, programs
from stemphonic_jax.data.sources.demo.styles import Groove, Line
from stemphonic_jax.data.sources.demo.voices import VOICES
from stemphonic_jax.errors import DataError, MissingError, UsageError

EXTRA = "soundfont"
RATES = (8_000, 96_000)  # Hz that FluidSynth plays at
SETTINGS = {
  "synth.reverb.active": 0,
  "synth.chorus.active": 0,
  "synth.dynamic-sample-loading": 1,  # of the programs that play: the others take a second to read
  "synth.lock-memory": 0,
  "synth.polyphony": 256,
}
GAIN = 0.5
TAKE = 12.0  # cents by which one stroke of a drum may differ from the next: no two are alike
LOUDNESS = 0.75  # MIDI's velocity is loudness squared, a note's is to the power of 1.5


def check(path: str, rate: int) -> None:
  """Whether a font can play at `rate` Hz what the table asks for, before anything is composed.

  MissingError where it, or what plays it, is not there; DataError where it is damaged or lacks a
  program; UsageError for a rate that FluidSynth does not play at.
  """
  if not RATES[0] <= rate <= RATES[1]:
    raise UsageError(f"sample_rate {rate}: a SoundFont plays at {RATES[0]} to {RATES[1]} Hz")
  _kits(path)
  with _synth(path, rate) as synth:
    for program in _programs():
      _select(synth, path, 0, 0, program)


def plays(part: Part) -> bool:
  """Whether the table has sounds for a part."""
  rows = table("instruments")
  if isinstance(part.plays, Groove):
    known = rows["keys"].keys() | rows["pitched"].keys()
    return part.plays.name in rows["kits"] and {note.sound for note in part.notes} <= known
  return isinstance(part.plays, Line) and part.plays.voice in rows["voices"]


def play(part: Part, path: str, samples: int, rate: int, rng: np.random.Generator) -> np.ndarray:
  """A part as it comes out of the instruments: [2, samples]."""
  kits, rows = _kits(path), table("instruments")
  if isinstance(part.plays, Groove):
    drawn = [kit for kit in rows["kits"][part.plays.name] if kit in kits] or [0]
    channels = {0: (DRUMS, int(rng.choice(drawn)))}
    names = [name for name in rows["pitched"] if any(n.sound == name for n in part.notes)]
    channels |= {1 + k: (0, rows["pitched"][name][0]) for k, name in enumerate(names)}
    notes = [_strike(note, names, rows) for note in part.notes]
  else:
    channels = {0: (0, int(rng.choice(rows["voices"][part.plays.voice])))}
    notes = [one for note in part.notes for one in _keys(note)]
  bends = TAKE * rng.uniform(-1.0, 1.0, len(notes)) * isinstance(part.plays, Groove)
  events = _events(notes, bends, rate)
  with _synth(path, rate) as synth:
    for channel, (bank, program) in channels.items():
      _select(synth, path, channel, bank, program)
    return _render(synth, events, samples)


@contextlib.contextmanager
def _synth(path: str, rate: int) -> Iterator[Any]:
  """A synthesiser with a font, `font` by its number; DataError where the font cannot be loaded."""
  synth = _library().Synth(GAIN, rate, 16, **SETTINGS)
  try:
    synth.font = synth.sfload(path)
    if synth.font < 0:
      raise DataError(f"{path}: a damaged SoundFont; copy it again, or take another")
    yield synth
  finally:
    synth.delete()


def _select(synth: Any, path: str, channel: int, bank: int, program: int) -> None:
  if synth.program_select(channel, synth.font, bank, program) != 0:
    raise DataError(f"{path}: program {program} of bank {bank} is damaged; copy the font again")


def _strike(note: Note, names: list[str], rows: Mapping[str, Any]) -> tuple:
  """A drum's (start, end, channel, key, velocity)."""
  channel = 1 + names.index(note.sound) if note.sound in names else 0
  key = rows["pitched"][note.sound][1] if channel else rows["keys"][note.sound]
  return note.start, note.start + max(note.length, 0.25), channel, key, note.velocity


def _keys(note: Note) -> Iterator[tuple]:
  """(start, end, channel, key, velocity) of each key of a chord, strummed where its voice is."""
  for number, pitch in enumerate(note.pitches):
    start = note.start + number * VOICES[note.sound].strum
    yield start, max(note.start + note.length, start + 0.03), 0, pitch, note.velocity


def _events(notes: list[tuple], bends: np.ndarray, rate: int) -> list[tuple]:
  """(sample, what, channel, key, value) in the order of time; a key is let go before it is struck
  again."""
  found, last = [], {}
  for (start, end, channel, key, velocity), bend in sorted(zip(notes, bends, strict=True)):
    first, stop = int(start * rate), int(end * rate)
    if (before := last.get((channel, key))) and found[before][0] > first:
      found[before] = (first, *found[before][1:])
    found.append((first, 1, channel, key, round(bend / 200.0 * 8192)))
    strength = round(127 * velocity**LOUDNESS)
    found.append((first, 2, channel, key, min(max(strength, 1), 127)))
    last[channel, key] = len(found)
    found.append((stop, 0, channel, key, 0))
  return sorted(found)


def _render(synth: Any, events: list[tuple], samples: int) -> np.ndarray:
  audio, place = np.zeros((2, samples), np.float32), 0
  write = _library().write_float
  left, right = (audio[channel].ctypes.data for channel in range(2))
  for time, what, channel, key, value in [*events, (samples, -1, 0, 0, 0)]:
    until = min(time, samples)
    if until > place:
      write(synth.synth, until - place, left, place, 1, right, place, 1)
      place = until
    if time >= samples:
      break
    if what == 0:
      synth.noteoff(channel, key)
    elif what == 1 and value:
      synth.pitch_bend(channel, value)
    elif what == 2:
      synth.noteon(channel, key, value)
  return audio


def _programs() -> dict[int, str]:
  """All programs of the table, and what they play."""
  rows = table("instruments")
  found = {program: name for name, row in rows["voices"].items() for program in row}
  return found | {program: name for name, (program, _) in rows["pitched"].items()}


@functools.cache
def _kits(path: str) -> frozenset[int]:
  """The drum kits of a font that has all programs of the table."""
  there = programs(Path(path))
  for program, name in _programs().items():
    if (0, program) not in there:
      raise DataError(
        f"{path}: has no program {program} ({name}); expected a General-MIDI SoundFont, as"
        f" FluidR3_GM.sf2"
      )
  if (DRUMS, 0) not in there:
    raise DataError(f"{path}: has no drum kit (bank {DRUMS}); expected a General-MIDI SoundFont")
  return frozenset(program for bank, program in there if bank == DRUMS)


@functools.cache
def _library() -> types.SimpleNamespace:
  """pyfluidsynth with what it lacks: samples as floats, and no messages of its own."""
  try:
    import fluidsynth
  except ImportError as error:
    what = (
      "pip install 'stemphonic-jax[soundfont]'"
      if error.name == "fluidsynth"
      else "apt-get install libfluidsynth3, or brew install fluid-synth"
    )
    raise MissingError(f"data.soundfont: FluidSynth is not installed; {what}") from None
  number, pointer = ctypes.c_int, ctypes.c_void_p
  write = fluidsynth.cfunc(
    "fluid_synth_write_float", number, ("synth", pointer, 1), ("length", number, 1),
    ("left", pointer, 1), ("left_offset", number, 1), ("left_step", number, 1),
    ("right", pointer, 1), ("right_offset", number, 1), ("right_step", number, 1),
  )  # fmt: skip
  quiet = fluidsynth.cfunc(
    "fluid_set_log_function", pointer, ("level", number, 1), ("function", pointer, 1),
    ("data", pointer, 1),
  )  # fmt: skip
  for level in range(5):
    quiet(level, None, None)
  return types.SimpleNamespace(Synth=fluidsynth.Synth, write_float=write)

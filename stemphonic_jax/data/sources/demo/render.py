"""Turns a composed piece into stems: places every note, adds room and echo, sets the levels."""

from __future__ import annotations

import numpy as np

from stemphonic_jax.data.sources.demo import drums, effects, sampled, synth, voices
from stemphonic_jax.data.sources.demo.composer import Part, Piece
from stemphonic_jax.data.sources.demo.parts import Note

# Level of a stem in dBFS while it sounds: the balance of an ordinary mix.
LEVELS = {
  "drums": -20.5,
  "basses": -22.0,
  "percussion": -27.0,
  "synths": -26.0,
  "keys": -25.0,
  "guitars": -25.0,
  "strings": -25.5,
  "SFX": -29.0,
  "vocals": -22.5,
  "synth-vocals": -25.0,
  "winds": -24.5,
}
LEVEL_SPREAD = 1.5  # dB; mixes differ
SATURATION = 0.55  # level at which the peaks of drums and percussion give in, as on tape
PEAK = 0.95  # neither a stem nor the mix goes beyond
ECHOES = ((3, 0.35), (6, 0.3))  # steps, gain: dotted eighths
DRUM_ROOM, EFFECT_ROOM = 0.06, 0.2
TAKES = 3  # recordings of each drum, struck in turn


def render(
  piece: Piece, rate: int, soundfont: str = "", share: float = 1.0
) -> dict[str, np.ndarray]:
  """The stems of a piece by name, float32 [samples, 2] at `rate` Hz, peaks of stems and mix < 1.

  A `soundfont` plays a `share` of all pieces: which ones follows from their numbers.
  """
  rng = np.random.default_rng([piece.seed, piece.index, 1])
  if np.random.default_rng([piece.seed, piece.index, 4]).random() >= share:
    soundfont = ""
  stems = {
    name: _render_part(part, piece, rate, stem_rng, soundfont)
    for (name, part), stem_rng in zip(piece.parts.items(), rng.spawn(len(piece.parts)), strict=True)
  }
  loudest = max(map(_peak, (sum(stems.values()), *stems.values())))
  gain = np.float32(min(1.0, PEAK / max(loudest, 1e-9)))
  return {name: _interleave(stem, gain) for name, stem in stems.items()}


def _peak(audio: np.ndarray) -> float:
  return max(float(audio.max()), -float(audio.min()))


def _interleave(channels: np.ndarray, gain: np.float32) -> np.ndarray:
  """gain * [2, samples] as [samples, 2]; column by column, five times faster than a transpose."""
  audio = np.empty(channels.shape[::-1], np.float32)
  for column, channel in enumerate(channels):
    np.multiply(channel, gain, out=audio[:, column])
  return audio


def _render_part(
  part: Part, piece: Piece, rate: int, rng: np.random.Generator, soundfont: str
) -> np.ndarray:
  """One stem at its level: [2, samples]."""
  samples = round(piece.seconds * rate)
  if soundfont and sampled.plays(part):
    stem = sampled.play(part, soundfont, samples, rate, rng)
  else:
    stem = _synthesise(part, samples, rate, rng)
  _add_space(stem, part, piece.bpm, rate)
  sounding = np.count_nonzero(stem)
  if sounding:
    level = LEVELS[part.type] + LEVEL_SPREAD * rng.uniform(-1.0, 1.0)
    stem *= np.float32(10.0 ** (level / 20.0) / np.sqrt(np.vdot(stem, stem) / sounding))
  if part.type in ("drums", "percussion"):
    stem = np.float32(SATURATION) * np.tanh(stem / np.float32(SATURATION))
  return stem


def _synthesise(part: Part, samples: int, rate: int, rng: np.random.Generator) -> np.ndarray:
  """All notes of a part as the synthesiser plays them: [2, samples]."""
  stem = np.zeros((2, samples), np.float32)
  waves: dict[tuple, np.ndarray] = {}
  for number, note in enumerate(part.notes):
    # A note that comes back sounds as it did; drums have a few takes, struck in turn.
    kind = number % TAKES if note.sound in drums.DRUMS else note.length
    sound = (note.sound, note.pitches, kind)
    if sound not in waves:
      waves[sound] = _wave(note, rate, rng)
    start = int(note.start * rate)
    wave = waves[sound][:, : samples - start]
    stem[:, start : start + wave.shape[1]] += np.float32(note.velocity**1.5) * wave
  return stem


def _wave(note: Note, rate: int, rng: np.random.Generator) -> np.ndarray:
  """The sound of one note at full velocity: [2, samples]."""
  if note.sound in drums.DRUMS:
    return drums.strike(drums.DRUMS[note.sound], rate, rng)
  if note.sound in effects.EFFECTS:
    return effects.EFFECTS[note.sound](note.length, rate, rng)
  return voices.play(voices.VOICES[note.sound], note.pitches, note.length, rate, rng)


def _add_space(stem: np.ndarray, part: Part, bpm: float, rate: int) -> None:
  """Pan, echoes in time and the room, in place."""
  voice = voices.VOICES.get(part.plays.name)
  if voice is None:
    return synth.add_room(stem, EFFECT_ROOM if part.type == "SFX" else DRUM_ROOM, rate)
  angle = (voice.pan + 1.0) * np.pi / 4
  stem *= np.float32(np.sqrt(2.0)) * np.array([[np.cos(angle)], [np.sin(angle)]], np.float32)
  if voice.echo:
    for steps, gain in ECHOES:
      for channel in stem:
        synth.add_echoes(channel, (steps * 15.0 / bpm,), gain, rate)
  synth.add_room(stem, voice.wet, rate)

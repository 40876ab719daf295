"""Pitched instruments as data: how the harmonics of each start, fade and move.

One function, `play`, turns any row of the table into sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stemphonic_jax.data.sources.demo import synth

HARMONICS = 40
FRAMES_PER_SECOND = 40  # at which spectra are computed; the waveform between two is interpolated

# Formants of sung vowels: (Hz, gain, bandwidth in Hz), after Peterson and Barney's averages.
VOWELS = {
  "ah": ((750, 1.0, 130), (1150, 0.6, 140), (2700, 0.18, 250), (3400, 0.1, 300)),
  "oh": ((480, 1.0, 110), (850, 0.5, 130), (2600, 0.12, 250), (3300, 0.07, 300)),
  "oo": ((330, 1.0, 90), (720, 0.3, 120), (2400, 0.06, 250), (3200, 0.03, 300)),
  "eh": ((560, 1.0, 120), (1750, 0.45, 160), (2550, 0.25, 250), (3500, 0.12, 300)),
  "ee": ((320, 1.0, 90), (2150, 0.4, 180), (2950, 0.3, 250), (3600, 0.14, 300)),
}


@dataclass(frozen=True)
class Voice:
  """How an instrument sounds. Times in seconds, detune and vibrato in cents.

  Harmonic k starts at `partials[k-1]` where given, else at k**-tilt, even ones times `even`, with
  the comb of a string plucked at the fraction `pluck`. It fades as exp(-damping * (k-1) * time) and
  passes a low-pass of `cutoff` = (Hz at the start, Hz in the end, time between them). `vowels`
  shape it by formants that glide between two. `detune`: one tone, or one left and one right.
  """

  tilt: float = 1.2
  even: float = 1.0
  partials: tuple[float, ...] = ()
  pluck: float = 0.0
  damping: float = 0.0
  cutoff: tuple[float, float, float] | None = None
  vowels: tuple[str, ...] = ()
  attack: float = 0.005
  decay: float = 1.0
  sustain: float = 0.6
  release: float = 0.12
  detune: tuple[float, ...] = (0.0,)
  vibrato: float = 0.0
  breath: float = 0.0  # level of noise beside the tone
  drive: float = 0.0  # gain into an amplifier that saturates
  strum: float = 0.0  # delay from one note of a chord to the next
  echo: bool = False  # echoes in time with the music
  wet: float = 0.11  # gain of the room's echoes
  pan: float = 0.0  # -1 left .. 1 right


VOICES = {
  # basses
  "fingered bass": Voice(
    tilt=1.4, pluck=0.23, damping=0.9, attack=0.008, decay=0.9, sustain=0.45, wet=0.03
  ),
  "picked bass": Voice(
    tilt=1.0, pluck=0.14, damping=0.5, attack=0.004, decay=0.7, sustain=0.5, drive=1.2, wet=0.03
  ),
  "upright bass": Voice(
    tilt=1.7, pluck=0.3, damping=1.2, attack=0.012, decay=0.55, sustain=0.12, release=0.15, wet=0.08
  ),
  "synth bass": Voice(
    tilt=1.0, cutoff=(1800, 260, 0.12), decay=0.4, sustain=0.6, detune=(-5, 5), wet=0.03
  ),
  "sub bass": Voice(
    partials=(1, 0.28, 0.1, 0.04), attack=0.012, decay=1.5, sustain=0.8, drive=0.8, wet=0.02
  ),
  # keys
  "grand piano": Voice(
    tilt=1.15, pluck=0.12, damping=0.4, attack=0.003, decay=1.1, sustain=0.05, release=0.25,
    detune=(-1.5, 1.5), wet=0.14, pan=-0.15,
  ),
  "electric piano": Voice(
    partials=(1, 0.35, 0.12, 0.1, 0.02, 0, 0, 0.02, 0, 0, 0, 0, 0, 0.16), damping=0.45,
    attack=0.004, decay=1.3, sustain=0.15, release=0.2, detune=(-3, 3), wet=0.11, pan=-0.2,
  ),
  "organ": Voice(
    partials=(1, 0.8, 0.55, 0.4, 0, 0.25, 0, 0.3), attack=0.012, decay=9, sustain=0.95,
    release=0.07, detune=(-4, 4), vibrato=7, wet=0.12, pan=-0.25,
  ),
  "clavinet": Voice(
    tilt=0.75, pluck=0.11, damping=0.8, attack=0.002, decay=0.3, sustain=0.1, release=0.05,
    drive=1.0, wet=0.06, pan=-0.3,
  ),
  # guitars
  "acoustic guitar": Voice(
    tilt=0.95, pluck=0.17, damping=0.6, attack=0.002, decay=0.9, sustain=0.06, release=0.15,
    strum=0.011, wet=0.11, pan=0.35,
  ),
  "nylon guitar": Voice(
    tilt=1.35, pluck=0.27, damping=0.8, attack=0.003, decay=0.8, sustain=0.05, release=0.15,
    strum=0.008, wet=0.12, pan=0.3,
  ),
  "electric guitar": Voice(
    tilt=1.0, pluck=0.22, damping=0.4, attack=0.003, decay=0.8, sustain=0.2, release=0.1,
    detune=(-3, 3), strum=0.007, wet=0.13, pan=0.4,
  ),
  "muted guitar": Voice(
    tilt=1.0, pluck=0.15, damping=2.2, attack=0.002, decay=0.12, sustain=0.0, release=0.05,
    strum=0.003, wet=0.08, pan=-0.4,
  ),
  "distorted guitar": Voice(
    tilt=0.9, pluck=0.16, damping=0.12, attack=0.004, decay=4.0, sustain=0.7, release=0.08,
    detune=(-6, 6), drive=5.0, strum=0.004, wet=0.09, pan=0.35,
  ),
  # strings
  "string ensemble": Voice(
    tilt=1.05, cutoff=(1500, 3600, 0.3), attack=0.16, decay=9, sustain=0.9, release=0.4,
    detune=(-8, 7), vibrato=9, wet=0.21, pan=-0.1,
  ),
  "staccato strings": Voice(
    tilt=1.0, cutoff=(4200, 2000, 0.1), attack=0.02, decay=0.18, sustain=0.25, release=0.12,
    detune=(-6, 6), wet=0.20, pan=-0.2,
  ),
  "solo violin": Voice(
    tilt=0.95, cutoff=(2600, 4500, 0.2), attack=0.07, decay=9, sustain=0.9, release=0.15,
    vibrato=18, breath=0.02, wet=0.20, pan=0.2,
  ),
  # synths
  "synth pad": Voice(
    tilt=1.0, cutoff=(500, 2400, 1.2), attack=0.35, decay=9, sustain=0.9, release=0.7,
    detune=(-9, 8), wet=0.21,
  ),
  "plucked synth": Voice(
    tilt=0.9, cutoff=(6500, 600, 0.09), attack=0.002, decay=0.22, sustain=0.05, release=0.12,
    detune=(-5, 5), echo=True, wet=0.11, pan=0.2,
  ),
  "synth lead": Voice(
    tilt=0.95, even=0.35, cutoff=(5200, 3000, 0.2), attack=0.01, decay=9, sustain=0.8,
    release=0.09, detune=(-4, 4), vibrato=12, echo=True, wet=0.11, pan=0.15,
  ),
  "bell synth": Voice(
    partials=(1, 0.1, 0.05, 0.5, 0, 0, 0.22, 0, 0, 0, 0.14), damping=0.35, attack=0.003,
    decay=0.7, sustain=0.0, release=0.4, detune=(-4, 4), echo=True, wet=0.17, pan=-0.25,
  ),
  # winds
  "flute": Voice(
    partials=(1, 0.42, 0.2, 0.08, 0.05, 0.02), attack=0.06, decay=9, sustain=0.9, release=0.1,
    vibrato=11, breath=0.07, wet=0.12, pan=0.25,
  ),
  "clarinet": Voice(
    tilt=1.1, even=0.12, cutoff=(1600, 2600, 0.1), attack=0.04, decay=9, sustain=0.9,
    release=0.08, vibrato=5, breath=0.02, wet=0.12, pan=0.25,
  ),
  "saxophone": Voice(
    tilt=0.75, even=0.8, cutoff=(1500, 3200, 0.08), attack=0.035, decay=6, sustain=0.85,
    release=0.08, vibrato=14, breath=0.03, wet=0.12, pan=0.2,
  ),
  "brass section": Voice(
    tilt=0.7, cutoff=(700, 3400, 0.06), attack=0.03, decay=2.5, sustain=0.75, release=0.09,
    detune=(-6, 5), wet=0.12, pan=0.15,
  ),
  # vocals
  "lead vocals": Voice(
    tilt=0.9, vowels=("ah", "oh", "eh", "oo", "ee"), attack=0.05, decay=9, sustain=0.9,
    release=0.12, vibrato=26, breath=0.025, wet=0.17,
  ),
  "choir": Voice(
    tilt=0.95, vowels=("ah", "oh", "oo"), attack=0.2, decay=9, sustain=0.95, release=0.35,
    detune=(-12, 11), vibrato=12, breath=0.02, wet=0.22,
  ),
  # synth-vocals
  "vocoder": Voice(
    tilt=0.45, vowels=("ah", "ee", "oh", "eh"), attack=0.012, decay=9, sustain=0.9, release=0.08,
    detune=(-6, 6), breath=0.04, drive=1.0, wet=0.12,
  ),
  "vocal chops": Voice(
    tilt=0.7, vowels=("ah", "eh", "oh"), attack=0.006, decay=0.35, sustain=0.4, release=0.05,
    detune=(-4, 4), echo=True, wet=0.13, pan=-0.1,
  ),
}  # fmt: skip


def play(
  voice: Voice, pitches: tuple[int, ...], seconds: float, rate: int, rng: np.random.Generator
) -> np.ndarray:
  """One note or chord (MIDI pitches) held for `seconds`, with its release: float32 [2, samples]."""
  held = max(1, int(seconds * rate))
  level = synth.envelope(held, rate, voice.attack, voice.decay, voice.sustain, voice.release)
  vowels = rng.choice(voice.vowels, 2) if voice.vowels else ()
  strum = int(voice.strum * rate)
  chord = np.zeros((2, len(level) + strum * (len(pitches) - 1)), np.float32)
  for number, pitch in enumerate(pitches):
    hertz = 440.0 * 2.0 ** ((pitch - 69) / 12)
    start = number * strum
    chord[:, start : start + len(level)] += _note(voice, hertz, level, vowels, rate, rng)
  return synth.overdrive(chord, voice.drive, rate) if voice.drive else chord


def _note(
  voice: Voice,
  hertz: float,
  level: np.ndarray,
  vowels: Sequence[str],
  rate: int,
  rng: np.random.Generator,
) -> np.ndarray:
  """One pitch under the envelope `level`: [1, samples], or [2, samples] where it is detuned."""
  samples = len(level)
  frames = max(2, int(samples / rate * FRAMES_PER_SECOND))
  spectra = _spectra(voice, hertz, np.linspace(0.0, samples / rate, frames), vowels, rate)
  curve = hertz
  if voice.vibrato:
    time = np.arange(samples) / rate
    sway = np.sin(2 * np.pi * (5.4 * time + rng.random())) * np.minimum(time / 0.4, 1.0)
    curve = hertz * (1.0 + voice.vibrato * (np.log(2) / 1200) * sway)
  breath = voice.breath * synth.noise(rng, samples, 1500, 7000, rate) if voice.breath else 0.0
  sides = [synth.tone(curve * 2 ** (c / 1200), spectra, samples, rate) for c in voice.detune]
  return np.stack([(side + breath) * level for side in sides])


def _spectra(
  voice: Voice, hertz: float, times: np.ndarray, vowels: Sequence[str], rate: int
) -> np.ndarray:
  """Amplitudes [frames, harmonics] at `times`, of unit power before they fade or are filtered."""
  count = len(voice.partials) or HARMONICS
  number = np.arange(1, max(1, min(count, int(0.42 * rate / hertz))) + 1)
  start = np.array(voice.partials)[: len(number)] if voice.partials else number**-voice.tilt
  start = np.where(number % 2 == 0, voice.even, 1.0) * start
  if voice.pluck:
    start = start * np.abs(np.sin(np.pi * number * voice.pluck))
  if len(vowels):
    time = np.linspace(0.0, 1.0, len(times))[:, None]
    first, last = (_formants(vowel, number * hertz) for vowel in vowels)
    start = start * (first + (last - first) * time)
  start = np.atleast_2d(start)
  start = start / np.sqrt(np.sum(start**2, axis=1, keepdims=True))
  spectra = start * np.exp(-voice.damping * times[:, None] * (number - 1))
  if voice.cutoff:
    first, last, glide = voice.cutoff
    corner = last + (first - last) * np.exp(-times / glide)
    spectra = spectra / np.sqrt(1.0 + (number * hertz / (corner[:, None] + hertz)) ** 4)
  return spectra


def _formants(vowel: str, hertz: np.ndarray) -> np.ndarray:
  """Gain of a vowel's resonances at `hertz`, never quite zero."""
  resonances = (g / (1.0 + ((hertz - f) / b) ** 2) for f, g, b in VOWELS[vowel])
  return 0.01 + sum(resonances)

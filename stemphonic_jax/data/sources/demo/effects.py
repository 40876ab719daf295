"""Sound effects for the borders of sections: risers, falls, impacts, reversed cymbals, blips."""

from __future__ import annotations

import math

import numpy as np

from stemphonic_jax.data.sources.demo import synth


def riser(seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
  """Noise that climbs from 300 Hz to 9 kHz and swells, with a tone climbing two octaves in it."""
  samples = int(seconds * rate)
  progress = np.linspace(0.0, 1.0, samples, dtype=np.float32)
  pitch = 110.0 * 4.0**progress
  climbing = synth.tone(pitch, 1.0 / np.arange(1, 12)[None], samples, rate)
  wave = 0.5 * _sweep(samples, 300.0, 9000.0, rate, rng) + 0.25 * climbing
  return _ends(wave * progress**2, rate)


def fall(seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
  """Noise that sinks from 7 kHz to 150 Hz and dies away."""
  samples = int(seconds * rate)
  wave = 0.5 * _sweep(samples, 7000.0, 150.0, rate, rng)
  return _ends(wave * np.linspace(1.0, 0.0, samples, dtype=np.float32) ** 2, rate)


def impact(seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
  """A low boom with a burst of noise; it takes at most 2.5 s of `seconds`."""
  samples = int(min(seconds, 2.5) * rate)
  time = np.arange(samples, dtype=np.float32) / rate
  boom = np.sin(2 * np.pi * (38.0 * time + 7.0 * (1.0 - np.exp(-time / 0.12)))) * np.exp(
    -time / 0.5
  )
  crack = synth.noise(rng, samples, 80.0, 2500.0, rate) * np.exp(-time / 0.16)
  return _ends(np.stack([boom + 0.4 * crack] * 2), rate)


def reverse_cymbal(seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
  """A cymbal played backwards: bright noise that swells faster and faster."""
  samples = int(seconds * rate)
  time = np.linspace(-seconds, 0.0, samples, dtype=np.float32)
  sides = [synth.noise(rng, samples, 3500.0, 13000.0, rate) for _ in range(2)]
  return _ends(0.6 * np.stack(sides) * np.exp(time / (0.25 * seconds)), rate)


def blip(seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
  """A short electronic call: four steps of random pitch with a ringing sideband."""
  samples = int(seconds * rate)
  steps = np.repeat(rng.choice([440.0, 587.0, 660.0, 880.0, 1175.0, 1320.0], 4), samples // 4 + 1)
  phase = 2 * np.pi * np.cumsum(steps[:samples]) / rate
  wave = 0.5 * np.sin(phase + 1.5 * np.sin(2.01 * phase)) * np.linspace(1.0, 0.0, samples)
  angle = rng.uniform(0.15, 0.85) * np.pi / 2
  return _ends(np.array([[np.cos(angle)], [np.sin(angle)]]) * wave, rate)


EFFECTS = {
  "riser": riser,
  "fall": fall,
  "impact": impact,
  "reverse cymbal": reverse_cymbal,
  "blip": blip,
}


def _sweep(samples: int, start: float, end: float, rate: int, rng) -> np.ndarray:
  """A band of noise moving from `start` to `end` Hz, independent left and right: [2, samples]."""
  centres = np.geomspace(start, min(end, 0.4 * rate), math.ceil(samples / 1024))
  return np.stack([synth.noise_sweep(rng, centres, 0.7, rate)[:samples] for _ in range(2)])


def _ends(audio: np.ndarray, rate: int) -> np.ndarray:
  """Brings the last 10 ms of [2, samples] to zero."""
  fade = min(audio.shape[1], int(0.01 * rate))
  audio[:, -fade:] *= np.linspace(1.0, 0.0, fade)
  return audio.astype(np.float32)

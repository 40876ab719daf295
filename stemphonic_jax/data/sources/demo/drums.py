"""Unpitched instruments as data: a falling sine for the body, a band of noise for the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemphonic_jax.data.sources.demo import synth


@dataclass(frozen=True)
class Drum:
  """How a drum sounds. Times in seconds, `decay`s to 1/e, frequencies in Hz.

  The body is a sine from sweep[0] to sweep[1] within about sweep[2], or a sum of `partials`; the
  noise lies between band[0] and band[1] and comes in `bursts` (a clap has several).
  """

  seconds: float
  body: float = 0.0
  sweep: tuple[float, float, float] = (0.0, 0.0, 1.0)
  partials: tuple[float, ...] = ()
  decay: float = 0.1
  noise: float = 0.0
  band: tuple[float, float] = (1000.0, 8000.0)
  noise_decay: float = 0.05
  noise_attack: float = 0.0
  bursts: tuple[float, ...] = (0.0,)
  drive: float = 0.0
  pan: float = 0.0  # -1 left .. 1 right


DRUMS = {
  "kick": Drum(
    0.4, 1.0, (150, 52, 0.028), decay=0.13, noise=0.2, band=(1500, 6000), noise_decay=0.008
  ),
  "deep kick": Drum(0.7, 1.1, (170, 46, 0.035), decay=0.26, drive=1.5),
  "snare": Drum(
    0.32, 0.5, (245, 182, 0.02), decay=0.07, noise=0.5, band=(900, 9000), noise_decay=0.075
  ),
  "tight snare": Drum(
    0.24, 0.55, (290, 205, 0.015), decay=0.05, noise=0.5, band=(1500, 11000), noise_decay=0.05
  ),
  "brushed snare": Drum(
    0.3, noise=0.32, band=(1800, 8000), noise_decay=0.07, noise_attack=0.02, pan=-0.05
  ),
  "rim": Drum(0.08, 0.5, partials=(1720, 2450), decay=0.012, noise=0.12, noise_decay=0.006),
  "clap": Drum(
    0.3, noise=0.5, band=(900, 4500), noise_decay=0.06, bursts=(0.0, 0.011, 0.023), pan=0.05
  ),
  "hat": Drum(0.09, noise=0.26, band=(7500, 15000), noise_decay=0.018, pan=0.25),
  "open hat": Drum(0.4, noise=0.26, band=(6500, 14000), noise_decay=0.11, pan=0.25),
  "ride": Drum(
    0.9, 0.06, partials=(3140, 4270, 5380, 6890), decay=0.25, noise=0.14, band=(5500, 13000),
    noise_decay=0.16, pan=-0.3,
  ),
  "crash": Drum(1.7, noise=0.34, band=(3500, 13000), noise_decay=0.42, pan=-0.2),
  "high tom": Drum(0.4, 0.8, (230, 165, 0.05), decay=0.13, noise=0.06, pan=0.2),
  "mid tom": Drum(0.45, 0.85, (180, 122, 0.05), decay=0.15, noise=0.06, pan=0.0),
  "low tom": Drum(0.5, 0.9, (140, 86, 0.05), decay=0.18, noise=0.06, pan=-0.25),
  "shaker": Drum(
    0.12, noise=0.3, band=(5500, 12000), noise_decay=0.03, noise_attack=0.025, pan=-0.35
  ),
  "tambourine": Drum(
    0.3, 0.04, partials=(6200, 7900, 9300), decay=0.09, noise=0.28, band=(6500, 14000),
    noise_decay=0.07, bursts=(0.0, 0.018), pan=0.35,
  ),
  "high conga": Drum(
    0.3, 0.8, (345, 312, 0.02), decay=0.07, noise=0.1, noise_decay=0.008, pan=0.25
  ),
  "low conga": Drum(
    0.4, 0.9, (225, 205, 0.03), decay=0.12, noise=0.08, noise_decay=0.008, pan=-0.2
  ),
  "bongo": Drum(0.2, 0.7, (455, 420, 0.02), decay=0.045, noise=0.12, noise_decay=0.006, pan=0.4),
  "claves": Drum(0.12, 0.7, partials=(2480,), decay=0.022, pan=0.3),
  "cowbell": Drum(0.35, 0.3, partials=(562, 845, 1690), decay=0.075, drive=1.5, pan=0.3),
  "triangle": Drum(1.1, 0.2, partials=(4010, 6590, 9050), decay=0.3, pan=-0.4),
  "timpani": Drum(1.4, 1.0, (112, 98, 0.08), decay=0.42, noise=0.1, band=(200, 2000), pan=-0.1),
  "taiko": Drum(0.9, 1.1, (120, 68, 0.06), decay=0.24, noise=0.2, band=(150, 2500), pan=0.1),
}  # fmt: skip


def strike(drum: Drum, rate: int, rng: np.random.Generator) -> np.ndarray:
  """One hit: float32 [2, samples]. Every hit has noise of its own, as on the real instrument."""
  samples = int(drum.seconds * rate)
  time = np.arange(samples, dtype=np.float32) / rate
  wave = np.zeros(samples, np.float32)
  if drum.body:
    wave += drum.body * _body(drum, time) * np.exp(-time / drum.decay)
  if drum.noise:
    bursts = [np.where(time < t, 0.0, np.exp(-(time - t) / drum.noise_decay)) for t in drum.bursts]
    shape = np.max(bursts, axis=0)
    if drum.noise_attack:
      shape *= np.minimum(time / drum.noise_attack, 1.0)
    high = min(drum.band[1], 0.45 * rate)
    wave += drum.noise * shape * synth.noise(rng, samples, drum.band[0], high, rate)
  if drum.drive:
    wave = np.tanh(drum.drive * wave)
  fade = min(samples, int(0.02 * rate))
  wave[-fade:] *= np.linspace(1.0, 0.0, fade)
  angle = (drum.pan + 1.0) * np.pi / 4
  return (np.array([[np.cos(angle)], [np.sin(angle)]]) * wave).astype(np.float32)


def _body(drum: Drum, time: np.ndarray) -> np.ndarray:
  if drum.partials:
    return sum(np.sin(2 * np.pi * hertz * time) for hertz in drum.partials) / len(drum.partials)
  start, end, glide = drum.sweep
  # The integral of end + (start - end) * exp(-time / glide): the phase of the falling tone.
  cycles = end * time + (start - end) * glide * (1.0 - np.exp(-time / glide))
  return np.sin(2 * np.pi * cycles)

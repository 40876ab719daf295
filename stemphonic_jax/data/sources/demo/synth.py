"""The synthesiser's few means, in numpy: wavetable tones, coloured noise, envelopes, a small room.

All of them return float32 and end: nothing rings for ever, so a rest is a run of exact zeros.
"""

from __future__ import annotations

import numpy as np

TABLE = 2048  # samples of one cycle in a wavetable
# One echo per stage and channel, in seconds; four stages make 16 echoes each way.
ROOM = ((0.0113, 0.0297, 0.0531, 0.0971), (0.0137, 0.0271, 0.0593, 0.0893))
CABINET = (0.00018, 0.03)  # seconds: moving averages of 8 and of 1323 samples at 44.1 kHz


def tone(hertz: float | np.ndarray, spectra: np.ndarray, samples: int, rate: int) -> np.ndarray:
  """A harmonic tone [samples] whose spectrum changes over time.

  `spectra` [frames, harmonics] are the amplitudes of the harmonics at evenly spaced times, between
  which the waveform is interpolated; `hertz` is the pitch, constant or per sample.
  """
  frames, harmonics = spectra.shape
  # Schroeder's phases keep the peak of a sum of many harmonics low.
  number = np.arange(1, harmonics + 1)
  phases = np.exp(-1j * np.pi * number * (number - 1) / harmonics)
  cycles = np.zeros((frames, TABLE // 2 + 1), np.complex64)
  cycles[:, 1 : harmonics + 1] = spectra * phases * (TABLE / 2)
  tables = np.fft.irfft(cycles, TABLE, axis=1).astype(np.float32).ravel()
  if np.ndim(hertz):
    phase = np.cumsum(hertz, dtype=np.float64) / rate
  else:
    phase = np.arange(samples) * (hertz / rate)
  column = (phase * TABLE).astype(np.int32) & (TABLE - 1)
  if frames == 1:
    return tables[column]
  position = np.linspace(0, frames - 1, samples, endpoint=False, dtype=np.float32)
  row = position.astype(np.int32)
  index = row * TABLE + column
  blend = position - row
  early, late = tables[index], tables[index + TABLE]
  return early + (late - early) * blend


def envelope(
  samples: int, rate: int, attack: float, decay: float, sustain: float, release: float
) -> np.ndarray:
  """Level of a note held for `samples`: linear attack, exponential decay to `sustain`, release.

  Times in seconds. [samples + release * rate]; the last sample is exactly zero.
  """
  rise = min(max(1, int(attack * rate)), samples)
  tail = max(1, int(release * rate))
  level = np.empty(samples + tail, np.float32)
  level[:rise] = np.linspace(0.0, 1.0, rise, endpoint=False)
  since = np.arange(samples - rise + tail, dtype=np.float32) / np.float32(decay * rate)
  level[rise:] = sustain + (1.0 - sustain) * np.exp(-since)
  level[samples:] *= np.linspace(1.0, 0.0, tail, dtype=np.float32) ** 2
  return level


def noise(rng: np.random.Generator, samples: int, low: float, high: float, rate: int) -> np.ndarray:
  """Unit-power noise [samples] between `low` and `high` Hz, with soft edges."""
  size = 1 << (max(samples, 256) - 1).bit_length()  # a power of two: a fast transform
  hertz = np.fft.rfftfreq(size, 1 / rate).astype(np.float32) + np.float32(1e-3)
  shape = 1.0 / np.sqrt((1.0 + (low / hertz) ** 4) * (1.0 + (hertz / high) ** 4))
  wave = np.fft.irfft(shape * _complex_normal(rng, hertz.shape), size)[:samples]
  return wave / np.sqrt(np.mean(wave**2))


def noise_sweep(
  rng: np.random.Generator, centres: np.ndarray, width: float, rate: int
) -> np.ndarray:
  """Band of noise whose centre moves through `centres` (Hz, one per 1024 samples), unit power.

  `width` in octaves. Overlap-add of spectra of random phase under a Hann window.
  """
  size, hop = 2048, 1024
  octaves = np.log2(np.fft.rfftfreq(size, 1 / rate) + 1.0)
  shape = np.exp(-(((octaves - np.log2(centres)[:, None]) / width) ** 2)).astype(np.float32)
  shape *= size / (2.0 * np.sqrt(np.sum(shape**2, axis=1, keepdims=True)))
  frames = np.fft.irfft(shape * _complex_normal(rng, shape.shape), size, axis=1)
  frames *= np.hanning(size).astype(np.float32)
  wave = np.zeros(hop * (len(centres) + 1), np.float32)
  even, odd = frames[0::2].ravel(), frames[1::2].ravel()
  wave[: len(even)] += even
  wave[hop : hop + len(odd)] += odd
  return wave


def overdrive(audio: np.ndarray, gain: float, rate: int) -> np.ndarray:
  """An amplifier that saturates, and its cabinet: [channels, samples], slightly longer than given.

  The cabinet is the difference of a short and a long moving average: it takes away what saturation
  adds above some 5 kHz, and the offset it gives to a lopsided wave.
  """
  short, long = (max(1, int(seconds * rate)) for seconds in CABINET)
  driven = np.pad(np.tanh(np.float32(gain) * audio), ((0, 0), (long, long)))
  sums = np.cumsum(driven, axis=1, dtype=np.float64)
  highs = (sums[:, long:] - sums[:, long - short : -short]) / short
  lows = (sums[:, long:] - sums[:, :-long]) / long
  return (highs - lows).astype(np.float32)


def _complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
  """The spectrum of white noise."""
  pairs = rng.standard_normal((*shape[:-1], 2 * shape[-1]), np.float32)
  return pairs.view(np.complex64)


def add_echoes(audio: np.ndarray, delays: tuple[float, ...], gain: float, rate: int) -> None:
  """Adds to a channel [samples], in place, one echo per delay (seconds) of all there is so far."""
  for delay in delays:
    shift = int(delay * rate)
    audio[shift:] += np.float32(gain) * audio[:-shift]


def add_room(audio: np.ndarray, wet: float, rate: int) -> None:
  """Puts [2, samples] into a small room, in place: early echoes, different left and right."""
  for channel, delays in zip(audio, ROOM, strict=True):
    add_echoes(channel, delays, wet, rate)

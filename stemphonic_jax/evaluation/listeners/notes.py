"""What is played, told without any network: pitch of a bass, semitones of a mix, triads.

The papers take PESTO, Chordino and closed transcribers. Here pitch is YIN (de Cheveigné and
Kawahara, 2002), semitones are a constant-Q transform, triads its chroma by templates and Viterbi.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy.fft
import soxr
from jaxtyping import Complex, Float, Int

STEP = 0.1  # seconds between estimates
RATE = 8_000  # Hz, of a bass
BASS_HZ = (30.0, 400.0)
FRAME = 512  # samples that are compared with themselves later
APERIODIC = 0.25  # at most, where the paper keeps confidences over 0.75
SILENT = 1e-9  # energy of a frame's differences
PERIODIC = 0.1  # as good as periodic: the first such lag is taken

SEMITONES_RATE = 22_050  # Hz
LOWEST, SEMITONES = 36, 72  # from C2 on, as MIDI counts
NOTES = 48  # of these semitones, in which chords are heard
CYCLES = 1.0 / (2 ** (1 / 12) - 1)  # in the window of each semitone
MINOR = 12  # triads are 0 to 11 in major and 12 to 23 in minor, by their root
SHARP, STAYS = 8.0, 0.95  # of the templates, and how probable it is that a chord goes on
NONE = -1

Audio = Float[np.ndarray, "N 2"]


def steps(audio: Audio, rate: int) -> int:
  """How many estimates there are of a recording."""
  return int(len(audio) / rate / STEP)


def pitches(audio: Audio, rate: int) -> Float[np.ndarray, "T"]:
  """MIDI pitch of a monophonic bass at the middle of every 0.1 s, NaN where none is sure."""
  count = steps(audio, rate)
  mono = soxr.resample(audio.mean(axis=1).astype(np.float64), rate, RATE)
  low, high = (RATE / hz for hz in BASS_HZ[::-1])
  lags = int(np.ceil(high)) + 2
  size = FRAME + lags
  starts = ((np.arange(count) + 0.5) * STEP * RATE).astype(int)
  padded = np.pad(mono, (size // 2, size))
  x = padded[starts[:, None] + np.arange(size)]
  apart = _differences(x, lags)
  normed = apart[:, 1:] * np.arange(1, lags) / np.maximum(np.cumsum(apart[:, 1:], axis=1), 1e-12)
  normed = np.concatenate([np.ones((count, 1)), normed], axis=1)
  found = np.full(count, np.nan)
  for t in np.flatnonzero(apart.max(axis=1) > SILENT):
    lag = _dip(normed[t], int(low), lags - 1)
    if normed[t, lag] <= APERIODIC:
      found[t] = 69 + 12 * np.log2(RATE / _vertex(normed[t], lag) / 440.0)
  return found


def semitones(audio: Audio, rate: int) -> Float[np.ndarray, "T 72"]:
  """Magnitudes of six octaves of semitones from C2 on at the middle of every 0.1 s."""
  count = steps(audio, rate)
  mono = soxr.resample(audio.mean(axis=1), rate, SEMITONES_RATE)
  kernel = _constant_q()
  size = 2 * (len(kernel) - 1)
  starts = ((np.arange(count) + 0.5) * STEP * SEMITONES_RATE).astype(int)
  padded = np.pad(mono, (size // 2, size))
  spectra = scipy.fft.rfft(padded[starts[:, None] + np.arange(size)], axis=1)
  return np.abs(spectra @ kernel).astype(np.float32)


def chroma(found: Float[np.ndarray, "T 72"]) -> Float[np.ndarray, "T 12"]:
  """Magnitudes of pitch classes in the lowest four octaves: higher up there are overtones."""
  return found[:, :NOTES].reshape(len(found), -1, 12).sum(axis=1)


def triads(classes: Float[np.ndarray, "T 12"]) -> Int[np.ndarray, "T"]:
  """The likeliest succession of major and minor triads, NONE where nothing sounds."""
  if not len(classes):
    return np.empty(0, int)
  centred = classes - classes.mean(axis=1, keepdims=True)
  length = np.linalg.norm(centred, axis=1, keepdims=True)
  alike = centred / np.maximum(length, 1e-9) @ _templates().T
  score = SHARP * alike - np.log(np.exp(SHARP * alike).sum(axis=1, keepdims=True))
  change = np.full((24, 24), np.log((1 - STAYS) / 23))
  np.fill_diagonal(change, np.log(STAYS))
  likely, came = score[0], np.zeros((len(score), 24), int)
  for t in range(1, len(score)):
    into = likely[:, None] + change
    came[t] = into.argmax(axis=0)
    likely = into.max(axis=0) + score[t]
  path = [int(likely.argmax())]
  for t in range(len(score) - 1, 0, -1):
    path.append(int(came[t, path[-1]]))
  return np.where(length[:, 0] > 1e-6 * max(length.max(), 1e-6), np.array(path[::-1]), NONE)


def in_triad(pitch_class: Int[np.ndarray, "T"], triad: Int[np.ndarray, "T"]) -> np.ndarray:
  """Whether each pitch class is one of the three of a triad."""
  return _templates_raw()[triad, pitch_class]


def _differences(x: Float[np.ndarray, "T S"], lags: int) -> Float[np.ndarray, "T L"]:
  """The sum of squares of each frame less what comes so many samples later."""
  size = scipy.fft.next_fast_len(x.shape[1] + FRAME, real=True)
  head = scipy.fft.rfft(x[:, :FRAME], size)
  products = scipy.fft.irfft(np.conj(head) * scipy.fft.rfft(x, size), size)[:, :lags]
  energy = np.cumsum(np.pad(np.square(x), ((0, 0), (1, 0))), axis=1)
  later = energy[:, FRAME : FRAME + lags] - energy[:, :lags]
  return np.maximum(later[:, :1] + later - 2.0 * products, 0.0)


def _dip(normed: Float[np.ndarray, "L"], low: int, high: int) -> int:
  """The first lag that is as good as periodic, followed to its minimum; or the best of all."""
  below = np.flatnonzero(normed[low:high] < PERIODIC)
  if not len(below):
    return low + int(normed[low:high].argmin())
  lag = low + int(below[0])
  while lag + 1 < high and normed[lag + 1] < normed[lag]:
    lag += 1
  return lag


def _vertex(values: Float[np.ndarray, "L"], place: int) -> float:
  """Where the parabola through a minimum and its neighbours is lowest."""
  if not 0 < place < len(values) - 1:
    return float(place)
  a, b, c = values[place - 1 : place + 2]
  curve = a - 2 * b + c
  beside = 0.5 * (a - c) / curve if curve > 1e-12 else 0.0
  return place + float(np.clip(beside, -1.0, 1.0))  # at an end of the range it may be no minimum


@functools.cache
def _constant_q() -> Complex[np.ndarray, "Q 72"]:
  """What a spectrum is multiplied by for the magnitudes of semitones (Brown and Puckette, 1992)."""
  hz = 440.0 * 2.0 ** ((np.arange(LOWEST, LOWEST + SEMITONES) - 69) / 12)
  size = scipy.fft.next_fast_len(int(np.ceil(CYCLES * SEMITONES_RATE / hz[0])), real=True)
  time = (np.arange(size) - size // 2) / SEMITONES_RATE
  kernel = np.zeros((size, SEMITONES), complex)
  for k, f in enumerate(hz):
    window = np.abs(time) <= 0.5 * CYCLES / f
    hann = np.where(window, 0.5 + 0.5 * np.cos(2 * np.pi * time * f / CYCLES), 0.0)
    kernel[:, k] = hann / hann.sum() * np.exp(2j * np.pi * f * time)
  return (np.conj(np.fft.fft(kernel, axis=0))[: size // 2 + 1] / size).astype(np.complex64)


@functools.cache
def _templates_raw() -> np.ndarray:
  major, minor = np.isin(np.arange(12), (0, 4, 7)), np.isin(np.arange(12), (0, 3, 7))
  return np.stack([np.roll(kind, root) for kind in (major, minor) for root in range(12)])


@functools.cache
def _templates() -> Float[np.ndarray, "24 12"]:
  """Triads, centred and of length 1."""
  centred = _templates_raw() - 0.25
  return centred / np.linalg.norm(centred, axis=1, keepdims=True)

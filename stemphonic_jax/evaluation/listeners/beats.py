"""Beats of a recording, and how well two sets of them agree (BEAT of MusicGen-Stem, Sec. IV-B).

The paper takes madmom, whose networks are not for commercial use. Here onsets are spectral flux and
beats are those of a hidden Markov model like madmom's (Krebs, Böck and Widmer, 2015): a pointer
runs through a beat, in one of the tempi, which may change where a beat begins. No weights.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy.ndimage
import soxr
from jaxtyping import Float, Int

from stemphonic_jax.errors import MissingError

RATE = 44_100  # Hz
FPS = 100  # frames a second
WINDOW, BANDS = 1024, 80
LOUDER = 5e5  # log(1 + 500 000 S): what is as soft as -60 dB counts half as much as the loudest
OVER = 2  # frames of a rise
LOCAL = 80  # frames around, whose mean is taken off
FULL = 99.5  # percentile that is a sure onset
SURE = (0.001, 0.98)  # least and most probability of a beat
BPM = (55.0, 215.0)
SHARE = 16  # of a beat, at whose beginning an onset is to be
STEADY = 100.0  # how improbable another tempo is at the next beat
QUIET = 1e-3  # flux that is no onset: of silence, or of a sound that never changes
TOLERANCE = 0.07  # seconds, mir_eval's default

Beats = Float[np.ndarray, "B"]


def beats(audio: Float[np.ndarray, "N 2"], rate: int) -> Beats:
  """When the beats of a recording are, in seconds; none where it has no onsets."""
  return track(onsets(audio, rate))


def agreement(reference: Beats, estimate: Beats) -> float:
  """F-measure of beats within 70 ms of those of a reference, by mir_eval; 0 where there are none.

  Beats of the first five seconds count, which MIREX leaves out: pieces are short. MissingError
  where mir_eval is not installed.
  """
  measure = _mir_eval()
  if not len(reference) or not len(estimate):
    return 0.0
  return float(measure.f_measure(np.asarray(reference), np.asarray(estimate), TOLERANCE))


def check_installed() -> None:
  """MissingError where mir_eval is not installed."""
  _mir_eval()


def onsets(audio: Float[np.ndarray, "N 2"], rate: int) -> Float[np.ndarray, "F"]:
  """How probable a beat is in each hundredth of a second, by spectral flux alone; 0 of silence."""
  mono = audio.mean(axis=1)
  mono = soxr.resample(mono, rate, RATE, quality="MQ") if rate != RATE else mono
  hop = RATE // FPS
  frames = np.lib.stride_tricks.sliding_window_view(np.pad(mono, WINDOW // 2), WINDOW)[::hop]
  hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
  bands = np.log1p(LOUDER * (np.abs(np.fft.rfft(frames * (hann / hann.sum()))) @ _mel().T))
  flux = np.zeros(len(bands))
  flux[OVER:] = np.maximum(bands[OVER:] - bands[:-OVER], 0.0).mean(axis=1)
  if flux.max(initial=0.0) < QUIET:
    return np.zeros(len(flux))
  flux = np.maximum(flux - scipy.ndimage.uniform_filter1d(flux, LOCAL, mode="nearest"), 0.0)
  return np.clip(flux / max(np.percentile(flux, FULL), QUIET), *SURE)


def track(probability: Float[np.ndarray, "F"]) -> Beats:
  """The likeliest beats, in seconds, where a beat has this probability in each frame."""
  if not probability.any():
    return np.empty(0)
  intervals, first, last, beat = _states()
  sure, never = np.log(probability), np.log((1.0 - probability) / (SHARE - 1))
  likely = np.full(last[-1] + 1, -np.log(last[-1] + 1))
  came = np.zeros((len(probability), len(intervals)), np.int16)
  changes = _changes()
  for t in range(len(probability)):
    into = likely[last][:, None] + changes
    came[t] = into.argmax(axis=0)
    likely[1:] = likely[:-1].copy()
    likely[first] = into.max(axis=0)
    likely += np.where(beat, sure[t], never[t])
  path = _path(int(likely.argmax()), came, first, last)
  return _peaks(beat[path], probability) / FPS


def _path(
  state: int,
  came: Int[np.ndarray, "F I"],
  first: Int[np.ndarray, "I"],
  last: Int[np.ndarray, "I"],
) -> Int[np.ndarray, "F"]:
  """The states that led to the last one."""
  begins = {int(place): interval for interval, place in enumerate(first)}
  path = np.empty(len(came), int)
  for t in range(len(came) - 1, -1, -1):
    path[t] = state
    state = int(last[came[t, begins[state]]]) if state in begins else state - 1
  return path


def _peaks(beat: np.ndarray, probability: Float[np.ndarray, "F"]) -> Int[np.ndarray, "B"]:
  """The likeliest frame of each run of frames in which a beat begins."""
  edges = np.flatnonzero(np.diff(beat.astype(int), prepend=0, append=0))
  runs = zip(edges[::2], edges[1::2], strict=True)
  return np.array([a + probability[a:b].argmax() for a, b in runs], int)


@functools.cache
def _states() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Frames of a beat by tempo, the first and last state of each, and which begin a beat."""
  intervals = np.arange(int(np.ceil(60 * FPS / BPM[1])), int(60 * FPS / BPM[0]) + 1)
  ends = np.cumsum(intervals)
  position = np.concatenate([np.arange(n) / n for n in intervals])
  return intervals, ends - intervals, ends - 1, position < 1 / SHARE


@functools.cache
def _changes() -> Float[np.ndarray, "I I"]:
  """Logarithm of how probable each tempo is after another."""
  intervals = _states()[0]
  ratio = np.exp(-STEADY * np.abs(intervals[None] / intervals[:, None] - 1.0))
  return np.log(ratio / ratio.sum(axis=1, keepdims=True) + 1e-300)


@functools.cache
def _mel() -> Float[np.ndarray, "M Q"]:
  import librosa  # half a second

  return librosa.filters.mel(sr=RATE, n_fft=WINDOW, n_mels=BANDS, norm=None)


@functools.cache
def _mir_eval():
  try:
    import mir_eval.beat
  except ImportError:
    raise MissingError(
      "BEAT: mir_eval is not installed; pip install 'stemphonic-jax[eval]'"
    ) from None
  return mir_eval.beat

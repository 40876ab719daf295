"""Songs whose stems are known to the frame."""

from __future__ import annotations

import numpy as np

from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.evaluation.features import BANDS, SongFeatures, StemFeatures, features

RATE = 22_050
SECONDS = 8.0


def clicks(times: np.ndarray, seconds: float = SECONDS, seed: int = 0) -> np.ndarray:
  """A burst of noise of 30 ms at each time, over a soft hiss: float32 [N, 2]."""
  rng = np.random.default_rng(seed)
  audio = 1e-4 * rng.standard_normal(round(seconds * RATE)).astype(np.float32)
  burst = 0.5 * np.exp(-np.arange(660) / 130.0) * rng.standard_normal(660)
  for start in np.round(np.asarray(times) * RATE).astype(int):
    part = audio[start : start + len(burst)]
    part += burst[: len(part)].astype(np.float32)
  return np.stack([audio, audio], axis=1)


def tones(pitches: list[tuple[int, ...]], each: float) -> np.ndarray:
  """Chords of MIDI pitches, each `each` seconds long: float32 [N, 2]."""
  time = np.arange(round(each * RATE)) / RATE
  chords = [sum(np.sin(2 * np.pi * 440 * 2 ** ((p - 69) / 12) * time) for p in c) for c in pitches]
  audio = 0.1 * np.concatenate(chords).astype(np.float32)
  return np.stack([audio, audio], axis=1)


def song(name: str, bpm: float | None, **stems: np.ndarray) -> SongFeatures:
  """The features of a song of such stems, whose names are their types."""
  return features(Mix(name, {n: Stem(n, audio) for n, audio in stems.items()}, "", bpm, RATE), 512)


def drawn(kind: str, lane: np.ndarray, shape: np.ndarray | float = 0.0) -> StemFeatures:
  """A stem that sounds in the frames of `lane`, with the spectrum `shape` in dB."""
  loud = -20.0 + shape + np.zeros((len(lane), BANDS))
  bands = np.where(lane[:, None], loud, -90.0).astype(np.float16)
  chroma = np.ones((len(lane) // 8 + 1, 12), np.float32)
  return StemFeatures(kind, bands, chroma, lane.astype(np.int8))

"""Is a song as fast as was asked for?"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import scipy.fft

from stemphonic_jax.evaluation import scores
from stemphonic_jax.evaluation.features import FRAMES_PER_SECOND, SongFeatures, onset_envelope
from stemphonic_jax.evaluation.scores import Score

TOLERANCE = 0.04  # of the tempo, as is usual
RANGE = (40.0, 240.0)  # bpm
# People hear beats at about 110 a minute, within an octave or so; nothing is known of the request.
USUAL, OCTAVES = 110.0, 0.8
OCTAVE = (0.5, 1.0, 2.0)
COMPOUND = re.compile(r"\b6/8\b")  # whose beat is three eighths; one or two of them may be heard
BEATS = (1, 2, 3, 4)  # at which the onsets repeat


def tempo(songs: Sequence[SongFeatures]) -> tuple[Score, Score]:
  """The share of songs with a tempo within 4 % of that asked for; and the same up to an octave.

  The second counts half and double as right: which of them is the beat is often a matter of taste,
  for the estimator too. Where the prompt names 6/8, it counts eighths and pairs of them as well.
  Neither sees whether the stems agree on more than the tempo.
  """
  asked = [song for song in songs if song.bpm is not None]
  ratios = [(estimate(song) or np.nan) / song.bpm for song in asked]
  octaves = [
    (*OCTAVE, 0.75, 1.5, 3.0) if COMPOUND.search(song.caption) else OCTAVE for song in asked
  ]

  def right(factors: Sequence[Sequence[float]]) -> Score:
    pairs = zip(ratios, factors, strict=True)
    return scores.mean([any(abs(r / f - 1) <= TOLERANCE for f in those)] for r, those in pairs)

  return right([(1.0,)] * len(asked)), right(octaves)


def estimate(song: SongFeatures) -> float | None:
  """Beats per minute of the mix: the period after 1 to 4 of which its onsets repeat best.

  Each period's mean autocorrelation is weighted by how usual it is. None where there is no onset.
  """
  onsets = onset_envelope(song.bands)
  onsets = onsets - onsets.mean()
  power = np.square(np.abs(scipy.fft.rfft(onsets, 2 * len(onsets))))
  repeats = scipy.fft.irfft(power)[: len(onsets)] / np.arange(len(onsets), 0, -1)
  if repeats[0] <= 1e-6:
    return None
  bpm = np.geomspace(*RANGE, 512)
  lags = np.outer(BEATS, 60.0 * FRAMES_PER_SECOND / bpm)
  heard = lags < len(onsets) / 2  # beyond that too little repeats to tell
  found = np.interp(lags, np.arange(len(onsets)), repeats) * heard
  strength = found.sum(axis=0) / np.maximum(heard.sum(axis=0), 1)
  usual = np.exp(-0.5 * np.square(np.log2(bpm / USUAL) / OCTAVES))
  return float(bpm[np.argmax(strength * usual)])

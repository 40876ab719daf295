"""How far apart two populations of mixes are in what music is made of (MIRDD of StemGen, Sec. 3.1).

Ten of the paper's eleven descriptors, each told without any network; the eleventh, labels of
sections, has no open labeller. For each the Kullback-Leibler divergence of its distribution in real
mixes from that in others, and their mean. The paper's extractors are closed, and it gives neither
direction nor bins: numbers compare with each other, and only roughly with the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.ndimage
from jaxtyping import Float, Int

from stemphonic_jax.evaluation.listeners import beats, notes
from stemphonic_jax.evaluation.scores import NOTHING, Score, bootstrap

# Descriptors by how they are counted: in classes, by song or by what is in it; or in bins.
CLASSES = {"key": 24, "beats per bar": 2, "pitch": notes.SEMITONES, "pitch class": 12, "triad": 24}
NUMBERS = (
  "pitch range", "pitch classes", "percussive density", "chord variety", "major-minor changes",
)  # fmt: skip
NAMES = (*CLASSES, *NUMBERS)
BINS, EDGES = 20, (1.0, 99.0)  # between these percentiles of both populations
RESAMPLES = 200

# Profiles of how much each degree is heard in a key, of Krumhansl and Kessler (1982).
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
VOICES, LOUD = 4, 0.1  # notes at once, and how loud beside the loudest of the song
OVERTONES = {12: 0.6, 19: 0.4, 24: 0.3, 28: 0.25}  # semitones above, and what of a note is there
RARE = 0.03  # of the notes: a pitch class that is not more is not used
DENSE = 0.6  # seconds in which percussive notes are counted
HIT = 0.3  # of a sure onset
METRES = (3, 4)  # beats in a bar

Song = Mapping[str, np.ndarray]


def describe(audio: Float[np.ndarray, "N 2"], rate: int) -> dict[str, np.ndarray]:
  """The descriptors of a mix by name: counts [classes], or one number; NaN where there is none."""
  found = notes.semitones(audio, rate)
  heard = played(found)
  classes = notes.chroma(found)
  chords = notes.triads(classes)
  known = chords[chords != notes.NONE]
  sequence = known[np.diff(known, prepend=-1) != 0]
  changes = np.diff(sequence >= notes.MINOR)
  onsets = beats.onsets(audio, rate)
  pitched = np.flatnonzero(heard)
  by_class = heard.reshape(-1, 12).sum(axis=0)
  return {
    "key": _one(key(by_class), 24),
    "beats per bar": _one(metre(onsets, beats.track(onsets)), len(METRES)),
    "pitch": heard,
    "pitch class": by_class,
    "triad": np.bincount(known, minlength=24).astype(float),
    "pitch range": _number(np.ptp(pitched) if len(pitched) else np.nan),
    "pitch classes": _number(np.sum(by_class > RARE * by_class.sum()) if len(pitched) else np.nan),
    "percussive density": _number(density(onsets)),
    "chord variety": _number(len(set(sequence.tolist())) if len(sequence) else np.nan),
    "major-minor changes": _number(changes.mean() if len(changes) else np.nan),
  }


def distances(songs: Sequence[Song], real: Sequence[Song]) -> tuple[Score, dict[str, float]]:
  """The mean over descriptors of KL(real || songs), with an interval over songs, and each of them.

  One is added to each count, so that what never happens is improbable rather than impossible.
  """
  if not songs or not real:
    return NOTHING, {}
  counts = {name: (_counts(name, songs, real), _counts(name, real, songs)) for name in NAMES}
  targets = {name: ref.sum(axis=0) for name, (_, ref) in counts.items()}
  each = {name: _divergence(targets[name], made.sum(axis=0)) for name, (made, _) in counts.items()}

  def mean(numbers: Sequence[int]) -> float:
    found = (_divergence(targets[n], counts[n][0][list(numbers)].sum(axis=0)) for n in NAMES)
    return float(np.mean(list(found)))

  return bootstrap(mean, range(len(songs)), resamples=RESAMPLES, centred=True), each


def played(found: Float[np.ndarray, "T 72"]) -> Float[np.ndarray, "72"]:
  """In how many steps each semitone is played: up to four at once, overtones taken off."""
  left = found.astype(np.float64).copy()
  least = LOUD * found.max(initial=0.0)
  counts = np.zeros(notes.SEMITONES)
  rows = np.arange(len(left))
  for _ in range(VOICES):
    place = left.argmax(axis=1)
    loud = left[rows, place]
    there = loud > max(least, 1e-6)
    np.add.at(counts, place[there], 1)
    for above, share in OVERTONES.items():
      higher = np.minimum(place + above, notes.SEMITONES - 1)
      inside = there & (place + above < notes.SEMITONES)
      left[rows[inside], higher[inside]] -= share * loud[inside]
    for beside in (-1, 0, 1):  # what leaks into the semitones around, too
      near = np.clip(place + beside, 0, notes.SEMITONES - 1)
      left[rows[there], near[there]] = 0.0
  return counts


def key(classes: Float[np.ndarray, "12"]) -> int:
  """The key whose profile fits how often pitch classes are played: 0 to 11 major, then minor."""
  if not classes.any():
    return notes.NONE
  profiles = np.stack([np.roll(kind, tonic) for kind in (MAJOR, MINOR) for tonic in range(12)])
  centred = profiles - profiles.mean(axis=1, keepdims=True)
  centred /= np.linalg.norm(centred, axis=1, keepdims=True)
  return int((centred @ (classes - classes.mean())).argmax())


def metre(onsets: Float[np.ndarray, "F"], found: Float[np.ndarray, "B"]) -> int:
  """Which of METRES: whose every so many beats are most unlike the others in their onsets."""
  frames = np.round(found * beats.FPS).astype(int)
  frames = frames[frames < len(onsets)]
  if len(frames) < 3 * max(METRES):
    return notes.NONE
  strong = scipy.ndimage.maximum_filter1d(onsets, 5)[frames]
  apart = []
  for beats_of_bar in METRES:
    groups = [strong[first::beats_of_bar] for first in range(beats_of_bar)]
    between = sum(len(g) * (g.mean() - strong.mean()) ** 2 for g in groups) / (beats_of_bar - 1)
    within = sum(np.square(g - g.mean()).sum() for g in groups) / (len(strong) - beats_of_bar)
    apart.append(between / max(within, 1e-9))
  return int(np.argmax(apart))


def density(onsets: Float[np.ndarray, "F"]) -> float:
  """The most onsets in any 0.6 s."""
  peaks = (onsets >= HIT) & (onsets == scipy.ndimage.maximum_filter1d(onsets, 5))
  width = round(DENSE * beats.FPS)
  counts = np.convolve(peaks, np.ones(width)) if len(peaks) else np.zeros(1)
  return float(counts.max())


def _counts(name: str, songs: Sequence[Song], others: Sequence[Song]) -> Int[np.ndarray, "S K"]:
  """How often each class, or bin, is in each song; bins are of both populations together."""
  values = np.stack([song[name] for song in songs])
  if name in CLASSES:
    return values
  pooled = np.concatenate([values, np.stack([song[name] for song in others])])
  pooled = pooled[np.isfinite(pooled)]
  low, high = np.percentile(pooled, EDGES) if len(pooled) else (0.0, 1.0)
  places = np.clip((values - low) / max(high - low, 1e-9) * BINS, 0, BINS - 1)
  return np.eye(BINS)[np.nan_to_num(places).astype(int)] * np.isfinite(values)[:, None]


def _divergence(real: Float[np.ndarray, "K"], made: Float[np.ndarray, "K"]) -> float:
  p, q = ((counts + 1.0) / (counts + 1.0).sum() for counts in (real, made))
  return float((p * np.log(p / q)).sum())


def _one(place: int, size: int) -> Float[np.ndarray, "K"]:
  return np.eye(size)[place] if place != notes.NONE else np.zeros(size)


def _number(value: float) -> Float[np.ndarray, ""]:
  return np.array(float(value))

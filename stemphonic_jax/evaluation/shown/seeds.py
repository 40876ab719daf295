"""Trainings of one setting from several seeds: their mean, and what sets two settings apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats

from stemphonic_jax.evaluation.scores import FEWEST, NOTHING, Score


def pooled(parts: Sequence[Score], within: tuple[float, float] = (-math.inf, math.inf)) -> Score:
  """One score of several seeds of training: their mean, with a 95 % interval over seeds and songs.

  Its halves are sqrt((t s / √n)² + song²): t is Student's of n - 1 degrees of freedom, s the
  standard deviation of the n seeds' values, and song the mean half of their intervals over songs,
  which are the same for all seeds, cut to where values can be (`within`). The interval of a single
  seed is that over songs alone.
  """
  found = [part for part in parts if part.n and math.isfinite(part.value)]
  if len(found) < 2:
    return found[0] if found else NOTHING
  values = [part.value for part in found]
  mean, over_seeds = float(np.mean(values)), _half(values)
  below, above = (
    math.hypot(over_seeds, float(np.mean([abs(getattr(p, end) - p.value) for p in found])))
    for end in ("low", "high")
  )
  low, high = max(mean - below, within[0]), min(mean + above, within[1])
  return Score(mean, low, high, max(part.n for part in found))


def difference(first: Mapping[str, Score], second: Mapping[str, Score]) -> Score:
  """The first setting's score less the second's, with Student's 95 % interval over seeds.

  Both map seeds of training to scores. Seeds that both have are paired: as all answer the same
  prompts from the same noise, songs that are hard for all cancel out. NaN, with n = 0, where they
  have fewer than two seeds in common.
  """
  pairs = [(first[seed], second[seed]) for seed in first if seed in second]
  pairs = [(a, b) for a, b in pairs if math.isfinite(a.value) and math.isfinite(b.value)]
  if len(pairs) < 2:
    return NOTHING
  apart = [a.value - b.value for a, b in pairs]
  songs = max(score.n for pair in pairs for score in pair)
  mean, half = float(np.mean(apart)), _half(apart) if songs >= FEWEST else math.nan
  return Score(mean, mean - half, mean + half, songs)


def _half(values: Sequence[float]) -> float:
  """Half of Student's 95 % interval of the mean of two values or more."""
  count = len(values)
  t = scipy.stats.t.ppf(0.975, count - 1)
  return float(t * np.std(values, ddof=1) / math.sqrt(count))

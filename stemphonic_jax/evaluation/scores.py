"""A number and how sure it is: bootstrap intervals over songs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
LEVELS = (0.025, 0.975)  # of a 95 % interval
FEWEST = 5  # songs from which an interval can be told: those of fewer are much too narrow


@dataclass(frozen=True)
class Score:
  """A value with its 95 % interval over the `n` songs that could be measured.

  The value is NaN where n is 0, the interval where it is below FEWEST.
  """

  value: float
  low: float
  high: float
  n: int


NOTHING = Score(np.nan, np.nan, np.nan, 0)


def bootstrap(
  statistic: Callable[[Sequence], float],
  groups: Sequence[Any],
  *,
  resamples: int = RESAMPLES,
  seed: int = 0,
  centred: bool = False,
) -> Score:
  """A statistic of all `groups`, and its percentiles when they are drawn again with replacement.

  A group is whatever was measured of one song, whose stems and pairs are not independent: they stay
  together. A resample of which the statistic is NaN does not count. With `centred` the interval is
  moved until its median is the value: resampling makes distances larger, as songs come twice.
  """
  count = len(groups)
  if not count:
    return NOTHING
  if count < FEWEST:
    return Score(float(statistic(groups)), np.nan, np.nan, count)
  rng = np.random.default_rng(seed)
  drawn = ([groups[i] for i in rng.integers(count, size=count)] for _ in range(resamples))
  return within(float(statistic(groups)), [statistic(some) for some in drawn], count, centred)


def within(value: float, resampled: Sequence[float], count: int, centred: bool = False) -> Score:
  """The score of a value of `count` songs, and of what it was where they were drawn again."""
  values = np.asarray(resampled, float)
  values = values[np.isfinite(values)]
  if not len(values) or count < FEWEST:
    return Score(value, np.nan, np.nan, count)
  low, high = np.quantile(values, LEVELS) + (value - np.median(values) if centred else 0.0)
  return Score(value, float(low), float(high), count)


def mean(groups: Iterable[Sequence[float]], *, resamples: int = RESAMPLES) -> Score:
  """The mean of all numbers in all groups; empty groups were not measured and do not count."""
  sums = [(float(np.sum(group)), len(group)) for group in groups if len(group)]
  return bootstrap(_quotient, sums, resamples=resamples)


def _quotient(sums: Sequence[tuple[float, int]]) -> float:
  totals, counts = zip(*sums, strict=True)
  return sum(totals) / sum(counts)

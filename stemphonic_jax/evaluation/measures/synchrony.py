"""Are the stems of a song together in time?"""

from __future__ import annotations

from collections.abc import Sequence

from stemphonic_jax.evaluation.features import FRAMES_PER_SECOND, SongFeatures, StemFeatures
from stemphonic_jax.evaluation.measures import pairs
from stemphonic_jax.evaluation.measures.lags import Track, in_time, track
from stemphonic_jax.evaluation.scores import Score

REACH = 2.0  # seconds to slide: a bar of 120 bpm
TOGETHER = 0.025  # seconds apart that are still together
APART = 0.1  # seconds apart that are not
LEAST = 2.0  # seconds in which both sound


def synchrony(songs: Sequence[SongFeatures]) -> Score:
  """AUC of how much better onsets of two stems coincide than with one of them slid by up to 2 s.

  Of true pairs against stems of other songs. Of stems that share a tempo and start anywhere it
  makes little: 0.53 in real songs (`baselines.adrift`), at most 0.65 in bare clicks. It does not
  see stems that are whole bars apart, form or harmony, and little of pads.
  """
  frames = [len(stem.onsets) for song in songs for stem in song.stems.values()]
  reach, near, apart, least = (
    round(seconds * FRAMES_PER_SECOND) for seconds in (REACH, TOGETHER, APART, LEAST)
  )
  size = max(frames, default=0) + reach + near

  def hear(stem: StemFeatures) -> Track | None:
    enough = stem.sounding.sum() >= least
    return track(stem.onsets[:, None], stem.sounding, size) if enough else None

  def agree(a: Track, b: Track, song: SongFeatures) -> float:
    return in_time(a, b, reach=reach, near=near, apart=apart, least=least)

  return pairs.auc(songs, hear, agree)

"""Do stems of a song come and go by the same bars?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.ndimage
from jaxtyping import Float

from stemphonic_jax.evaluation.features import FRAMES_PER_SECOND, SongFeatures, StemFeatures
from stemphonic_jax.evaluation.measures import pairs
from stemphonic_jax.evaluation.scores import Score

ABSENCE = 2.0  # seconds of silence that are more than the end of a phrase
EDGE = 0.5  # seconds at the ends of a song, where it is cut rather than composed
PHRASE = 16  # beats: four bars of four, by which most music is built


def form(songs: Sequence[SongFeatures]) -> Score:
  """AUC of how nearly whole phrases of four bars lie between the changes of two stems.

  A change is a stem's entry after, or exit into, at least 2 s of silence; two changes t apart agree
  by cos(2 pi t / phrase), with the tempo that was asked for. Of true pairs against stems of other
  songs. It does not see which of the phrases, nor stems that play throughout or a song without a
  tempo; and where entries were asked for (activity), it says only that they were made.
  """

  def agree(a: Float[np.ndarray, "A"], b: Float[np.ndarray, "B"], song: SongFeatures) -> float:
    if song.bpm is None:
      return np.nan
    phrase = PHRASE * 60.0 / song.bpm
    return float(np.cos(2 * np.pi * (a[:, None] - b[None]) / phrase).mean())

  return pairs.auc(songs, changes, agree)


def changes(stem: StemFeatures) -> Float[np.ndarray, "A"] | None:
  """When a stem comes and goes, in seconds; None where it never does."""
  gap, edge = round(ABSENCE * FRAMES_PER_SECOND), round(EDGE * FRAMES_PER_SECOND)
  padded = np.pad(stem.sounding, gap)
  present = scipy.ndimage.binary_closing(padded, np.ones(gap, bool))[gap:-gap]
  frames = np.flatnonzero(np.diff(present)) + 1
  frames = frames[(frames >= edge) & (frames < len(present) - edge)]
  return frames / FRAMES_PER_SECOND if len(frames) else None

"""Do stems sound when they were asked to, and only then?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int8

from stemphonic_jax.errors import UsageError
from stemphonic_jax.evaluation import scores
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.scores import Score


def activity(
  songs: Sequence[SongFeatures], lanes: Sequence[Mapping[str, Int8[np.ndarray, "T"]]]
) -> Score:
  """Mean frame-wise F1 over stems that were asked to be silent for a while (Sec. 4.4).

  `lanes` are what was asked for, per song by name of stem. A stem that ignores its lane and always
  sounds has 2 p / (1 + p), where p is the share of frames it was asked for.
  """
  return scores.mean(
    [f1(asked, song.stems[name].lane) for name, asked in wanted.items() if 0 < np.mean(asked) < 1]
    for song, wanted in zip(songs, lanes, strict=True)
  )


def f1(asked: Int8[np.ndarray, "T"], heard: Int8[np.ndarray, "T"]) -> float:
  """2 TP / (2 TP + FP + FN); one may be a frame longer, which does not count.

  UsageError where they are of different hops.
  """
  if abs(len(asked) - len(heard)) > 1:
    raise UsageError(
      f"activity: {len(asked)} frames were asked for and {len(heard)} heard;"
      f" give `features` the model's hop"
    )
  frames = min(len(asked), len(heard))
  asked, heard = asked[:frames] > 0, heard[:frames] > 0
  return 2.0 * np.sum(asked & heard) / max(np.sum(asked) + np.sum(heard), 1)

"""Pictures of scores: a panel for each metric, a point with its interval for each row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from stemphonic_jax.audio.figures import COLOURS, FAINT, INK, new_figure, write_figure
from stemphonic_jax.evaluation.scores import Score

PANELS = 4  # side by side
OTHER = "#8b93a0"  # of what no model made


def scores_figure(
  path: str | Path,
  rows: Mapping[str, tuple[Mapping[str, Score], bool]],
  metrics: Mapping[str, tuple[str, str]],
  title: str = "",
) -> None:
  """Draws the scores of each row by metric, and whether it is a baseline, which is drawn in grey.

  `metrics` maps names to label and what is better, "higher" or "lower".
  """
  across = min(PANELS, len(metrics))
  down = math.ceil(len(metrics) / across)
  size = (2.2 + 2.6 * across, 0.9 + down * (0.8 + 0.24 * len(rows)))
  figure = new_figure(figsize=size, dpi=130, layout="constrained")
  figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11)
  axes = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
  for axis, (name, (label, better)) in zip(axes, metrics.items(), strict=False):
    for place, (scores, baseline) in enumerate(rows.values()):
      score = scores.get(name)
      if score is None or not math.isfinite(score.value):
        continue
      colour = OTHER if baseline else COLOURS[0]
      axis.plot((score.low, score.high), (place, place), color=colour, linewidth=1.6)
      axis.plot(score.value, place, "o", color=colour, markersize=4.5)
    axis.set_title(f"{label} {'→' if better == 'higher' else '←'} better", fontsize=8.5, color=INK)
    axis.set_yticks(range(len(rows)), list(rows), fontsize=7.5)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="x", color=FAINT)
    axis.tick_params(length=0, labelsize=7.5, colors=INK)
    axis.spines[:].set_visible(False)
  for axis in axes[len(metrics) :]:
    axis.set_visible(False)
  write_figure(path, figure)

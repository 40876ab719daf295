"""What a check of a data set found, for people: a page of text and one figure."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemphonic_jax.audio.figures import COLOURS, INK, new_figure, write_figure
from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.data.sources.catalogue import Catalogue
from stemphonic_jax.data.taxonomy import STEM_TYPES

SHOWN = 10  # rejected mixes named in the summary; the report has them all


def write_report(folder: Path, catalogue: Catalogue, rows: Sequence[Mapping[str, Any]]) -> str:
  """Writes `folder/report.txt` and `folder/report.png`, and returns the text."""
  text, written = summary(catalogue, rows), folder / "report.txt"
  if written.is_file() and written.read_text(encoding="utf-8") == text + "\n":
    return text  # by an earlier run, or another host
  if taken := [row for row in rows if row["taken"]]:
    title = f"{catalogue.source}: {len(taken)} of {len(rows)} mixes"
    _figure(folder / "report.png", taken, title)
  with whole_file(written) as path:  # last: where it is, the figure is
    path.write_text(text + "\n", encoding="utf-8")
  return text


def summary(catalogue: Catalogue, rows: Sequence[Mapping[str, Any]]) -> str:
  """The page of text: hours, stems, types, activity, tempo, and what was left out and why."""
  taken = [row for row in rows if row["taken"]]
  rejected = [row for row in rows if not row["taken"]]
  lines = [
    f"{catalogue.source}: {len(taken)} of {len(rows)} mixes taken",
    f"licence: {catalogue.licence}",
  ]
  if taken:
    lines += _of_taken(taken)
  if rejected:
    lines += ["", f"{len(rejected)} mixes left out:"]
    lines += [f"  {row['id']}: {row['reason']}" for row in rejected[:SHOWN]]
    if len(rejected) > SHOWN:
      lines.append(f"  … and {len(rejected) - SHOWN} more, in report.jsonl")
  return "\n".join(lines)


def _of_taken(taken: Sequence[Mapping[str, Any]]) -> list[str]:
  seconds = np.array([row["seconds"] for row in taken])
  counts = np.array([len(row["types"]) for row in taken])
  activity = np.array([share for row in taken for share in row["activity"].values()])
  tempi = np.array([row["bpm"] for row in taken if row["bpm"]])
  hours = float((seconds * counts).sum()) / 3600
  lines = [
    f"{seconds.sum() / 3600:.2f} hours of mixes, {hours:.2f} hours of stems",
    f"stems per mix: {counts.mean():.1f} ± {counts.std():.1f}, {counts.min()} to {counts.max()}",
    f"activity: {activity.mean():.0%} of frames; {np.mean(activity >= 0.5):.0%} of stems sound in"
    " half of theirs or more",
  ]
  if len(tempi):
    lines.append(f"tempo: {np.median(tempi):.0f} BPM, half within {_middle(tempi)}")
  for name in ("split", "bpm_from", "caption_from"):
    found = collections.Counter(row[name] or "none" for row in taken)
    lines.append(f"{name}: " + ", ".join(f"{k} {n}" for k, n in sorted(found.items())))
  lines += ["", "stems by type:"]
  lines += [f"  {kind:<14}{count:>6}" for kind, count in _by_type(taken).items()]
  notes = collections.Counter(note for row in taken for note in row["findings"]["notes"])
  if notes:
    lines += ["", "notes:", *(f"  {count:>4} × {note}" for note, count in notes.most_common(SHOWN))]
  return lines


def _by_type(taken: Sequence[Mapping[str, Any]]) -> dict[str, int]:
  found = collections.Counter(kind for row in taken for kind in row["types"].values())
  order = [*STEM_TYPES, *sorted(found.keys() - set(STEM_TYPES))]
  return {kind: found[kind] for kind in order if found[kind]}


def _middle(values: np.ndarray) -> str:
  return "{:.0f} to {:.0f}".format(*np.quantile(values, (0.25, 0.75)))


def _figure(path: Path, taken: Sequence[Mapping[str, Any]], title: str) -> None:
  """Six histograms on one page."""
  stems = [stem for row in taken for stem in row["findings"]["stems"].values()]
  counts = [len(row["types"]) for row in taken]
  activity = [share for row in taken for share in row["activity"].values()]
  levels, seconds = [stem["dbfs"] for stem in stems], [row["seconds"] for row in taken]
  tempi = [row["bpm"] for row in taken if row["bpm"]]
  histograms = [
    ("stems of a mix", counts, np.arange(0.5, max(counts) + 1)),
    ("share of frames in which a stem sounds", activity, np.linspace(0, 1, 21)),
    ("level of a stem (dBFS)", levels, np.arange(-60, 3, 3)),
    ("tempo (BPM)" if tempi else "tempo (not known of any mix)", tempi, np.arange(40, 230, 10)),
    ("length of a mix (s)", seconds, np.linspace(0, 1.05 * max(seconds), 22)),
  ]
  figure = new_figure(figsize=(12, 6.5), dpi=110, layout="constrained")
  figure.suptitle(title, color=INK, fontsize=11)
  axes = figure.subplots(2, 3).flat
  for axis, colour, (name, values, edges) in zip(axes, COLOURS, histograms, strict=False):
    axis.hist(np.clip(values, edges[0], edges[-1]), edges, color=colour, rwidth=0.9)
    axis.set_xlabel(name, color=INK, fontsize=9)
  types = _by_type(taken)
  axes[5].barh(list(types)[::-1], list(types.values())[::-1], color=COLOURS[5])
  axes[5].set_xlabel("stems of a type", color=INK, fontsize=9)
  for axis in axes:
    axis.tick_params(labelsize=8, colors=INK)
    axis.spines[["top", "right"]].set_visible(False)
  write_figure(path, figure)

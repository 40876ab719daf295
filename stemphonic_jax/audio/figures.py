"""Pictures of stems: waveforms with their activity lanes, and spectrograms, as PNG files.

Matplotlib is imported inside the functions: it costs half a second that most commands never need.
Figures are drawn on `matplotlib.figure.Figure` itself: no display, no state of pyplot.
"""

from __future__ import annotations

import logging
import math
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.audio.levels import dbfs, envelope

if TYPE_CHECKING:
  from matplotlib.figure import Figure

COLUMNS = 1400  # horizontal resolution of a waveform or spectrogram
WAVE, STRIP = 0.76, (0.79, 0.88)  # of a row: the waveform, and where its lane begins and ends
WINDOW, BANDS = 0.093, 160  # seconds of one spectrum (4096 samples at 44.1 kHz), bands of a picture
LOWEST_HZ, RANGE_DB = 40.0, 80.0
INK, FAINT = "#2b2f36", "#e6e8eb"
# Of other letters than Latin, Greek and Cyrillic; systems come with one or the other.
OTHER_FONTS = (
  "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC", "Hiragino Sans GB",
  "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "WenQuanYi Zen Hei", "Droid Sans Fallback",
  "Arial Unicode MS", "Nirmala UI", "Leelawadee UI", "Noto Sans Devanagari", "Noto Sans Thai",
)  # fmt: skip
COLOURS = ("#3b6fb6", "#d9822b", "#3f9c6b", "#c14953", "#7d5ba6", "#2e9aa8", "#b8872b", "#6b7686")


def stems_figure(
  path: str | Path,
  stems: Mapping[str, np.ndarray],
  lanes: Mapping[str, np.ndarray] | None,
  rate: int,
  title: str = "",
  colours: Mapping[str, str] | None = None,
  hop: int = 1,
) -> None:
  """One row per stem: its waveform and, where `lanes` has one, the activity lane as a strip below.

  All rows share one amplitude scale, so that the balance of the mix can be seen; each is labelled
  with its level in dBFS. `lanes` are int8 [T] of frames of `hop` samples, the last of which may go
  on beyond the sound. `colours` are those of stems by name; others take turns.
  """
  rows, lanes, colours = len(stems), lanes or {}, colours or {}
  figure = _figure(rows, title)
  axis = figure.subplots()  # one for all rows: setting up axes takes longer than drawing in them
  seconds = max(len(audio) for audio in stems.values()) / rate
  scale = 0.5 * WAVE / (1.05 * max([1e-4, *(float(np.abs(a).max()) for a in stems.values())]))
  for row, (name, audio) in enumerate(stems.items()):
    colour = colours.get(name) or COLOURS[row % len(COLOURS)]
    low, high = envelope(audio, COLUMNS)
    time, middle = np.linspace(0.0, len(audio) / rate, len(low)), row + 0.5 * WAVE
    axis.fill_between(
      time, middle - high * scale, middle - low * scale, color=colour, linewidth=0.3
    )
    axis.axhline(middle, color=colour, linewidth=0.6)
    _label(axis, name, colour, f"{dbfs(audio):.1f} dBFS", middle=middle)
    if name in lanes:
      axis.axhspan(row + STRIP[0], row + STRIP[1], facecolor=FAINT, linewidth=0)
      edges = np.minimum(np.arange(len(lanes[name]) + 1) * hop, len(audio)) / rate
      changes = np.flatnonzero(np.diff(np.asarray(lanes[name], np.int8), prepend=0, append=0))
      spans = [(edges[a], edges[b] - edges[a]) for a, b in changes.reshape(-1, 2)]
      axis.broken_barh(spans, (row + STRIP[0], STRIP[1] - STRIP[0]), color=colour, linewidth=0)
  axis.set(xlim=(0, seconds), ylim=(rows - 1 + STRIP[1], 0), yticks=[])
  _time_axis(axis, last=True)
  write_figure(path, figure)


def spectrogram_figure(
  path: str | Path, rows: Mapping[str, np.ndarray], rate: int, title: str = ""
) -> None:
  """One log-frequency spectrogram per row, all on one scale: 80 dB below the loudest of all."""
  figure = _figure(len(rows), title)
  axes = figure.add_gridspec(len(rows), 1, hspace=0.2).subplots(squeeze=False)[:, 0]
  images = {name: _spectrogram(audio, rate) for name, audio in rows.items()}
  seconds = max(len(audio) for audio in rows.values()) / rate
  loudest = max(float(image.max()) for image in images.values())
  marks = {100: "100 Hz", 1000: "1 kHz", 10000: "10 kHz"}
  marks = {hertz: label for hertz, label in marks.items() if hertz < rate / 2}
  for row, (axis, (name, audio)) in enumerate(zip(axes, rows.items(), strict=True)):
    extent = (0.0, len(audio) / rate, *np.log2((LOWEST_HZ, rate / 2)))
    axis.imshow(
      images[name], origin="lower", aspect="auto", extent=extent, cmap="magma",
      vmin=loudest - RANGE_DB, vmax=loudest, interpolation="nearest",
    )  # fmt: skip
    axis.set(xlim=(0, seconds), facecolor="black")
    axis.set_yticks(np.log2(list(marks)), list(marks.values()))
    axis.tick_params(axis="y", labelsize=6.5, length=2, colors=INK)
    _label(axis, name, INK, pad=42)
    _time_axis(axis, last=row == len(rows) - 1)
  write_figure(path, figure)


def write_figure(path: str | Path, figure: Figure) -> None:
  """Writes a figure as a PNG file, with any text in it as it is; OutputError where it cannot be.

  Letters that matplotlib's own font lacks are drawn with those of the system, where it has any of
  OTHER_FONTS, else as boxes; matplotlib would warn of each. Dollar signs are dollar signs.
  """
  from matplotlib import font_manager
  from matplotlib.text import Text

  there = {font.name for font in font_manager.fontManager.ttflist}
  families = ["DejaVu Sans", *(name for name in OTHER_FONTS if name in there)]
  for text in figure.findobj(Text):
    text.set_fontfamily(families)
    text.set_parse_math(False)
  with whole_file(path) as partial, warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
    warnings.filterwarnings("ignore", "Matplotlib currently does not support .*", UserWarning)
    figure.savefig(partial, format="png")


def new_figure(**options: Any) -> Figure:
  """A figure without a display, of a matplotlib that keeps to itself where its caches are."""
  logging.getLogger("matplotlib").setLevel(logging.ERROR)
  from matplotlib.figure import Figure

  return Figure(facecolor="white", **options)


def _figure(rows: int, title: str):
  """An empty figure of a height that suits its rows, with the title at the top left."""
  margin, height = 0.55, 1.0 * rows + 1.1  # inches
  figure = new_figure(figsize=(12, height), dpi=110)
  figure.subplots_adjust(left=0.15, right=0.985, top=1 - margin / height, bottom=margin / height)
  place = (0.012, 1 - 0.5 * margin / height)
  title = textwrap.fill(title, 150, max_lines=2, placeholder=" …")
  figure.text(*place, title, va="center", color=INK, fontsize=10)
  return figure


def _label(
  axis, text: str, colour: str, note: str = "", pad: float = 8.0, middle: float | None = None
) -> None:
  """Name and, smaller, a note at the left of a row, `pad` points from its axis.

  They are at half the height of the axis, or at `middle` in its units.
  """
  coords = ("axes fraction", "axes fraction" if middle is None else "data")
  at = {"xycoords": coords, "textcoords": "offset points", "ha": "right", "va": "center"}
  place, raised = (0, 0.5 if middle is None else middle), 6 if note else 0
  axis.annotate(text, place, (-pad, raised), color=colour, fontsize=10, weight="bold", **at)
  axis.annotate(note, place, (-pad, -7), color=INK, fontsize=7.5, **at)


def _time_axis(axis, last: bool) -> None:
  """Seconds under the last row only; the rows share them."""
  axis.spines[:].set_visible(False)
  axis.tick_params(axis="x", labelsize=8, length=3, colors=INK, labelbottom=last, bottom=last)
  if last:
    axis.set_xlabel("seconds", color=INK, fontsize=8)


def _spectrogram(audio: np.ndarray, rate: int) -> np.ndarray:
  """Power in dB, [BANDS, columns], of the mean of both channels, in bands even in log frequency."""
  hop = max(1, math.ceil(len(audio) / COLUMNS))
  size = 2 ** round(math.log2(WINDOW * rate))
  padded = np.pad(audio.mean(axis=1), size // 2)
  windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
  power = np.abs(np.fft.rfft(windows * np.hanning(size).astype(np.float32), axis=1)) ** 2
  lines = np.fft.rfftfreq(size, 1 / rate)
  edges = np.geomspace(LOWEST_HZ, rate / 2, BANDS + 1)
  centres = np.sqrt(edges[:-1] * edges[1:])
  # At least one spectral line wide: in the bass, the bands are narrower than the lines are apart.
  width = np.maximum(np.diff(edges), lines[1])
  bands = np.clip(1 - np.abs(lines - centres[:, None]) / width[:, None], 0, None)
  return 10 * np.log10(bands @ power.T / bands.sum(axis=1, keepdims=True) + 1e-10)

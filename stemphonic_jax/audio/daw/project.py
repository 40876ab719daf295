"""A project: tracks from bar 1 on with what a mixer does to them, a tempo, markers.

Gains are in dB; a pan is −1 (left) to 1. Where any track is on solo, only those are heard.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from absl import logging

from stemphonic_jax.audio import wav
from stemphonic_jax.audio.lengths import samples_of
from stemphonic_jax.audio.metre import COMMON, bar_seconds, quarters

MIX = "mix"


@dataclass(frozen=True, eq=False)
class Track:
  """A stem, float32 [samples, 2], its type, a colour as "#3b6fb6", and its place in the mix."""

  name: str
  kind: str
  audio: np.ndarray
  colour: str
  gain: float = 0.0
  pan: float = 0.0
  mute: bool = False
  solo: bool = False


@dataclass(frozen=True)
class Marker:
  """A name at a time in seconds."""

  time: float
  name: str


@dataclass(frozen=True, eq=False)
class Project:
  """Tracks of equal length at `rate` Hz; `bpm` is None where no tempo is known."""

  title: str
  rate: int
  bpm: float | None
  tracks: Sequence[Track]
  markers: Sequence[Marker] = ()
  metre: str = COMMON

  @property
  def bar(self) -> float | None:
    """Seconds of a bar."""
    return bar_seconds(self.bpm, self.metre)

  @property
  def tempo(self) -> float | None:
    """Quarters a minute."""
    return quarters(self.bpm, self.metre) if self.bpm else None

  @property
  def samples(self) -> int:
    """The length of each track."""
    return len(self.tracks[0].audio)

  @property
  def seconds(self) -> float:
    """The same in seconds."""
    return self.samples / self.rate


def heard(tracks: Sequence[Track]) -> list[Track]:
  """The tracks that are not muted or, where any is on solo, those that are."""
  solo = any(track.solo for track in tracks)
  return [track for track in tracks if (track.solo if solo else not track.mute)]


def placed(track: Track) -> np.ndarray:
  """A track's samples with its gain and pan: as it is heard in the mix.

  The pan is that of Web Audio's StereoPannerNode for two channels: one side moves over to the
  other with equal power, and in the middle nothing changes.
  """
  audio, gain = track.audio, np.float32(10 ** (track.gain / 20))
  if track.pan == 0:
    return audio if track.gain == 0 else audio * gain
  left, right = audio[:, 0], audio[:, 1]
  angle = (track.pan + 1 if track.pan < 0 else track.pan) * math.pi / 2
  cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
  to_left, to_right = (left + right * cos, right * sin), (left * cos, right + left * sin)
  sides = to_left if track.pan < 0 else to_right
  return np.stack(sides, axis=1) * gain


def mix_of(project: Project) -> np.ndarray:
  """The sum of what is heard, as loud as it is."""
  total = np.zeros((project.samples, 2), np.float32)
  for track in heard(project.tracks):
    total += placed(track)
  return total


def whole_bars(audio: np.ndarray, rate: int, bar: float | None) -> np.ndarray:
  """Samples with silence up to the end of their last bar, so that files loop and line up.

  What is over by less than a millisecond is rounding, and begins no bar. Without a tempo they stay.
  """
  if not bar:
    return audio
  bars = max(1, math.ceil(len(audio) / rate / bar - 0.001 / bar))
  end = samples_of(bars * bar, rate)
  return np.pad(audio[:end], ((0, max(0, end - len(audio))), (0, 0)))


def headroom(parts: Iterable[np.ndarray], bits: int) -> float:
  """The factor, at most 1, that keeps all of `parts` within full scale, where the form has one.

  One for all, so that their balance stays; the log says by how much.
  """
  if bits == 32:
    return 1.0
  peak = max((float(np.abs(audio).max(initial=0)) for audio in parts), default=0.0)
  if peak <= 1:
    return 1.0
  logging.info("all stems %.2f dB lower, so that none clips", 20 * math.log10(peak))
  return 1 / peak


def file_name(name: str) -> str:
  """A name as all file systems take it."""
  plain = re.sub(r'[\x00-\x1f<>:"/\\|?*]+', " ", name)
  return " ".join(plain.split()).strip(" .")[:80] or "song"


def wav_bytes(
  audio: np.ndarray, project: Project, name: str, bits: int = 32, gain: float = 1.0
) -> bytes:
  """A stem as a WAV of whole bars, with its name and the project's tempo in it."""
  audio = whole_bars(audio if gain == 1 else audio * np.float32(gain), project.rate, project.bar)
  file = io.BytesIO()
  options = dict(bits=bits, title=name, album=project.title, bpm=project.bpm, metre=project.metre)
  wav.write(file, audio, project.rate, **options)
  return file.getvalue()


def write_zip(file: BinaryIO, entries: Iterable[tuple[str, bytes]]) -> None:
  """Writes named contents as a zip: equal ones to equal bytes, texts packed, sound as it is."""
  with zipfile.ZipFile(file, "w") as archive:
    for name, content in entries:
      info = zipfile.ZipInfo(name)  # of 1980, whenever it is
      packed = zipfile.ZIP_STORED if name.endswith(".wav") else zipfile.ZIP_DEFLATED
      info.compress_type, info.external_attr = packed, 0o644 << 16
      archive.writestr(info, content)

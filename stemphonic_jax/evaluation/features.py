"""What is kept of a song once its audio is gone: enough for every metric, a tenth of the size.

What is large may lie on disk (`OnDisk`), so that memory hardly grows with the number of songs.
Audio is looked at as 22.05 kHz mono. The mix is never analysed: its bands are the stems' added up.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.fft
import scipy.ndimage
import soxr
from jaxtyping import Bool, Float16, Float32, Int8

from stemphonic_jax.audio.activity import THRESHOLD_DBFS, frame_activity
from stemphonic_jax.data.stems import Mix

LATENT_HOP = 3584  # samples per frame of activity, unless the model has another hop
RATE = 22_050  # Hz
# Bands for rhythm and timbre: frames of 46 ms, every 11.6 ms.
WINDOW, HOP, BANDS = 1024, 256, 40
FLOOR_DB, RANGE_DB = -90.0, 60.0  # the softest that is kept, and that is heard as an onset
# Pitch classes: frames of 372 ms, every 93 ms, which tell semitones apart down to 45 Hz.
CHROMA_WINDOW, CHROMA_HOP = 8192, 2048
PITCHED_HZ = (40.0, 2000.0)  # where notes are, rather than breath, bows and cymbals
FRAMES_PER_SECOND, CHROMA_PER_SECOND = RATE / HOP, RATE / CHROMA_HOP

SOUNDING_DB = 40.0  # below its loud frames a stem counts as resting, though a tail may ring on
LONGEST_GAP = 0.5  # seconds; shorter rests are phrasing


@dataclass(frozen=True, eq=False)
class OnDisk:
  """An array of a .npz, which numpy reads each time it is looked at, and nobody keeps."""

  path: Path
  name: str
  shape: tuple[int, ...]

  def __len__(self) -> int:
    return self.shape[0]

  def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
    with np.load(self.path) as found:
      array = found[self.name]
    return array if dtype is None else array.astype(dtype)


@dataclass(frozen=True, eq=False)
class StemFeatures:
  """A stem: power in mel bands (dB), pitch classes (power), and its activity as a model sees it."""

  type: str
  bands: Float16[np.ndarray, "F M"] | OnDisk
  chroma: Float32[np.ndarray, "P 12"] | OnDisk
  lane: Int8[np.ndarray, "T"]
  heard: str = ""  # by which ears.py finds what others heard in it

  @functools.cached_property
  def sounding(self) -> Bool[np.ndarray, "F"]:
    """The frames in which it plays: within 40 dB of its loud ones and audible, rests closed."""
    power = np.sum(10.0 ** (np.asarray(self.bands, np.float32) / 10.0), axis=1)
    level = 10.0 * np.log10(power)
    loud = level > max(np.quantile(level, 0.95) - SOUNDING_DB, THRESHOLD_DBFS)
    gap = round(LONGEST_GAP * FRAMES_PER_SECOND)
    padded = np.pad(loud, gap)
    return scipy.ndimage.binary_closing(padded, np.ones(gap, bool))[gap:-gap]

  @functools.cached_property
  def onsets(self) -> Float32[np.ndarray, "F"]:
    """Its onset envelope."""
    return onset_envelope(np.asarray(self.bands, np.float32))


@dataclass(frozen=True, eq=False)
class SongFeatures:
  """A song: its stems by name, and the tempo and text that it was asked for with or is known by."""

  id: str
  bpm: float | None
  stems: Mapping[str, StemFeatures]
  caption: str = ""
  heard: str = ""  # as that of a stem; stems that come from elsewhere were never heard together

  @property
  def bands(self) -> Float32[np.ndarray, "F M"]:
    """Power in mel bands of the mix in dB, as if stems never cancelled each other."""
    return 10.0 * np.log10(
      sum(10.0 ** (np.asarray(s.bands, np.float32) / 10.0) for s in self.stems.values())
    )


def cut(song: SongFeatures, start: float, seconds: float) -> SongFeatures:
  """The features of a part of a song, from `start` on, as if it were one; frames are whole."""

  def of(frames: np.ndarray, rate: float) -> np.ndarray:
    return frames[round(start * rate) : round((start + seconds) * rate) + 1]

  def part(stem: StemFeatures) -> StemFeatures:
    lane_rate = len(stem.lane) * FRAMES_PER_SECOND / (len(stem.bands) - 1)
    return StemFeatures(
      stem.type,
      of(np.asarray(stem.bands), FRAMES_PER_SECOND),
      of(np.asarray(stem.chroma), CHROMA_PER_SECOND),
      of(np.asarray(stem.lane), lane_rate),
    )

  return replace(song, stems={name: part(stem) for name, stem in song.stems.items()}, heard="")


def onset_envelope(bands: Float32[np.ndarray, "F M"]) -> Float32[np.ndarray, "F"]:
  """How much louder all bands together get from frame to frame, in dB (spectral flux)."""
  rise = np.diff(np.maximum(bands, bands.max() - RANGE_DB), axis=0, prepend=bands[:1])
  return np.maximum(rise, 0.0).mean(axis=1)


def features(mix: Mix, hop: int = LATENT_HOP) -> SongFeatures:
  """The features of a real or generated song; `hop` is the samples per frame of its activity."""
  return SongFeatures(
    mix.id,
    mix.bpm,
    {name: _stem(stem.type, stem.audio, mix.rate, hop) for name, stem in mix.stems.items()},
    mix.caption,
  )


def _stem(kind: str, audio: Float32[np.ndarray, "N 2"], rate: int, hop: int) -> StemFeatures:
  mono = soxr.resample(audio.mean(axis=1), rate, RATE, quality="MQ")
  bands = _spectra(mono, WINDOW, HOP) @ _mel().T
  chroma = _spectra(mono, CHROMA_WINDOW, CHROMA_HOP) @ _pitch_classes().T
  decibels = 10.0 * np.log10(np.maximum(bands, 10.0 ** (FLOOR_DB / 10.0)))
  lane = frame_activity(audio, hop, rate)
  return StemFeatures(kind, decibels.astype(np.float16), chroma, lane)


def _spectra(mono: Float32[np.ndarray, "N"], window: int, hop: int) -> Float32[np.ndarray, "F Q"]:
  """Power spectra of centred Hann frames; a full-scale sine has 1 / 4 in its bin."""
  padded = np.pad(mono, window // 2, mode="reflect")  # no onset of its own
  frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
  hann = np.hanning(window + 1)[:-1].astype(np.float32)
  spectra = scipy.fft.rfft(frames * (hann / hann.sum()), axis=1)
  return np.square(spectra.real) + np.square(spectra.imag)


@functools.cache
def _mel() -> Float32[np.ndarray, "M Q"]:
  import librosa  # half a second

  return librosa.filters.mel(sr=RATE, n_fft=WINDOW, n_mels=BANDS, norm=None)


@functools.cache
def _pitch_classes() -> Float32[np.ndarray, "12 Q"]:
  """Which pitch classes a bin belongs to; octaves count alike."""
  import librosa

  classes = librosa.filters.chroma(sr=RATE, n_fft=CHROMA_WINDOW, octwidth=None)
  hz = np.fft.rfftfreq(CHROMA_WINDOW, 1 / RATE)
  return np.where((hz >= PITCHED_HZ[0]) & (hz <= PITCHED_HZ[1]), classes, 0).astype(np.float32)

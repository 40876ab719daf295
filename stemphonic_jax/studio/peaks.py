"""Waveforms as the page draws them: the lowest and highest sample of each piece."""

import functools
from pathlib import Path

import numpy as np
import soundfile

from stemphonic_jax.audio.levels import envelope
from stemphonic_jax.errors import DataError

PIECES = 6_000  # of a file: more than a lane has pixels, also where one zooms a little
KEPT = 256
FULL = 16_384  # full scale; a stem may be twice as loud


def peaks(path: Path) -> bytes:
  """Pairs of int16, lowest and highest of both channels in each of at most PIECES equal pieces.

  They are little-endian, FULL is full scale. DataError where the file cannot be read.
  """
  try:
    stat = path.stat()
    return _peaks(path, stat.st_mtime_ns, stat.st_size)
  except (OSError, soundfile.LibsndfileError) as error:
    raise DataError(f"{path}: cannot be read ({error})") from None


@functools.lru_cache(maxsize=KEPT)
def _peaks(path: Path, changed: int, size: int) -> bytes:
  audio, _ = soundfile.read(path, dtype="float32", always_2d=True)
  return pieces(audio).tobytes()


def pieces(audio: np.ndarray) -> np.ndarray:
  """The same of samples [samples, channels]: little-endian int16 [pieces, 2]."""
  if not len(audio):
    return np.zeros((1, 2), "<i2")
  whole = np.stack(envelope(audio, PIECES), axis=1)
  return np.clip(np.nan_to_num(whole) * FULL, 1 - 2 * FULL, 2 * FULL - 1).astype("<i2")

"""Audio files: what libsndfile reads comes in as float32 stereo; what goes out is lossless.

Every way in which a file can be wrong ends here, in one line that names the file, so that no other
module ever meets mono, NaN or a foreign sample rate.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.io import wavfile

from stemphonic_jax.errors import DataError, MissingError, OutputError

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000  # Hz; outside it, a header is damaged or not music


def read_audio(path: str | Path, rate: int, max_seconds: float | None = None) -> np.ndarray:
  """Reads a file as float32 [samples, 2] at `rate` Hz: resampled (soxr HQ), mono duplicated.

  Raises MissingError where there is no file; DataError for what is not audio, is empty, has more
  than two channels, holds NaN or infinity, or lasts longer than `max_seconds`.
  """
  path = Path(path)
  if not path.exists():
    raise MissingError(f"{path}: no such audio file")
  if not path.is_file():
    raise DataError(f"{path}: is not a file; name one audio file (WAV, FLAC, OGG, MP3, AIFF)")
  try:
    with soundfile.SoundFile(path) as file:
      _check_header(path, file, max_seconds)
      audio, file_rate = file.read(dtype="float32", always_2d=True), file.samplerate
  except soundfile.LibsndfileError as error:
    reason = error.error_string.rstrip(".")
    raise DataError(f"{path}: cannot be read as audio ({reason}); expected WAV or FLAC") from None
  if len(audio) == 0:
    raise DataError(f"{path}: holds no samples")
  finite = np.isfinite(audio).all(axis=1)
  if not finite.all():
    index = int(np.argmin(finite))
    raise DataError(
      f"{path}: sample {index} ({index / file_rate:.3f} s) is {audio[index].tolist()}, expected"
      f" finite numbers; export the file again"
    )
  if file_rate != rate:
    audio = soxr.resample(audio, file_rate, rate, quality="HQ")
  if audio.shape[1] == 1:
    audio = np.repeat(audio, 2, axis=1)
  return np.ascontiguousarray(audio, np.float32)


def _check_header(path: Path, file: soundfile.SoundFile, max_seconds: float | None) -> None:
  """Refuses by the header alone, before anything large is decoded."""
  if file.channels > 2:
    raise DataError(
      f"{path}: has {file.channels} channels, expected 1 or 2; mix it to stereo first"
    )
  if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
    raise DataError(
      f"{path}: sample rate {file.samplerate} Hz, expected {LOWEST_RATE} to {HIGHEST_RATE}"
    )
  if max_seconds is not None and file.frames > max_seconds * file.samplerate:
    raise DataError(
      f"{path}: lasts {file.frames / file.samplerate:.2f} s, at most {max_seconds:g} s fit; cut it"
    )


def write_wav(path: str | Path, audio: np.ndarray, rate: int) -> None:
  """Writes a 32-bit float WAV: bit-exact, and samples beyond 1.0 are kept, not clipped.

  Equal audio gives equal bytes, which libsndfile does not promise: its float WAVs carry the time of
  writing in a PEAK chunk. OutputError where it cannot be written.
  """
  with whole_file(path) as partial:
    wavfile.write(partial, rate, np.ascontiguousarray(audio, np.float32))


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
  """Yields a hidden path beside `path` to write to, which becomes `path` at the end of the block.

  So a file appears whole or not at all. OutputError where the block or the renaming cannot write.
  """
  path = Path(path)
  partial = path.with_name(f".{path.name}.partial")
  try:
    yield partial
    os.replace(partial, path)
  except OSError as error:
    raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
  finally:
    with suppress(OSError):
      partial.unlink()


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
  """Yields a new hidden folder to fill, which becomes `path` at the end of the block.

  So a folder appears whole or not at all; one that is there is replaced, and put aside until then.
  OutputError where the block or the renaming cannot write.
  """
  path = Path(path).absolute()
  partial, old = (path.with_name(f".{path.name}.{word}") for word in ("partial", "old"))
  try:
    for leftover in (partial, old):
      shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    if path.exists():
      os.replace(path, old)
    os.replace(partial, path)
  except OSError as error:
    raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
  finally:
    for leftover in (partial, old):
      shutil.rmtree(leftover, ignore_errors=True)

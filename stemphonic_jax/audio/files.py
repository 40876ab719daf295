"""Audio files: WAV, FLAC, OGG, MP3 and AIFF come in as float32 stereo; what goes out is lossless.

Every way in which a file can be wrong ends here, in one line that names the file, so that no other
module ever meets mono, NaN or a foreign sample rate.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from stemphonic_jax.audio import headers, mpeg, wav
from stemphonic_jax.audio.lengths import at_least, at_most, samples_of
from stemphonic_jax.audio.metre import COMMON
from stemphonic_jax.audio.quiet import quiet_mpg123
from stemphonic_jax.errors import DataError, MissingError, OutputError, TooLongError

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000  # Hz; outside it, a header is damaged or not music
LOUDEST = 1_000.0  # full scale is 1; numbers beyond this are damage, or integers left as they were
# Those of which can be told whether they are complete; libsndfile knows many more.
KINDS = "WAV, FLAC, OGG, MP3 or AIFF"
FORMATS = ("WAV", "WAVEX", "RF64", "AIFF", "FLAC", "OGG", "MP3")
# Of the names of files that are read, the best first, where a stem is there in several.
ENDINGS = (".wav", ".wave", ".bwf", ".rf64", ".flac", ".aiff", ".aif", ".aifc")
ENDINGS += (".ogg", ".oga", ".opus", ".mp3")
# And of other audio, which is not to be passed over in silence.
FOREIGN = (".m4a", ".m4b", ".mp4", ".aac", ".alac", ".wma", ".ape", ".wv", ".caf", ".w64", ".au")
FOREIGN += (".snd", ".mp2", ".mka", ".webm", ".dsf", ".dff", ".tta", ".mpc", ".ac3", ".amr", ".sd2")
BLOCK = 1 << 20  # samples decoded first, whatever number of them a header promises
LOSSY = ("OGG", "MP3")
SLACK = 4_096  # samples by which lossy decoders may miss the length in a header
TAIL = 1 << 16  # bytes of tags that may follow an MP3
UNSAID = 1 << 40  # samples; a length beyond it stands for an unknown one


def is_audio(path: Path) -> bool:
  """Whether a file is named as audio that is read here."""
  return path.suffix.lower() in ENDINGS


def is_foreign(path: Path) -> bool:
  """Whether a file is named as audio of a kind that is not read here."""
  return path.suffix.lower() in FOREIGN


def read_audio(path: str | Path, rate: int, max_seconds: float | None = None) -> np.ndarray:
  """Reads a file as float32 [samples, 2] at `rate` Hz: resampled (soxr HQ), mono duplicated.

  Raises MissingError where there is no file; DataError for what is not audio, is empty or cut off,
  has more than two channels, holds NaN, infinity or numbers far beyond full scale, or lasts longer
  than `max_seconds`.
  """
  path = Path(path)
  audio, found = decode(path, max_seconds)
  return to_stereo(path, audio, found, rate)


def decode(path: Path, max_seconds: float | None = None) -> tuple[np.ndarray, int]:
  """A file's own samples, float32 [samples, 1 or 2], and their rate in Hz; errors as `read_audio`.

  Memory grows with what is decoded, not with what a header promises.
  """
  try:
    if not path.exists():
      raise MissingError(f"{path}: no such audio file")
    if not path.is_file():
      raise DataError(f"{path}: is not a file; name one audio file ({KINDS})")
    with path.open("rb", buffering=0) as raw:
      if not raw.seek(0, os.SEEK_END):
        raise DataError(f"{path}: is empty (0 bytes); copy or export it again")
      parts = headers.streams(path, raw)
      audio, rate = _decode_stream(path, parts[0], max_seconds)
      for part in parts[1:]:
        audio = _append(path, audio, rate, *_decode_stream(path, part, max_seconds))
      _check_length(path, len(audio), rate, max_seconds)
  except soundfile.LibsndfileError as error:
    reason = error.error_string.rstrip(".")
    if "does not exist" in reason:  # what libsndfile says of an MP3 without a frame
      reason = "nothing in it can be decoded"
    convert = f"{path.suffix[1:]} is not read here; convert it to FLAC"
    hint = convert if is_foreign(path) else f"expected {KINDS}"
    raise DataError(f"{path}: cannot be read as audio ({reason}); {hint}") from None
  except OSError as error:
    raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
  check_samples(path, audio, rate)
  return audio, rate


def decode_stretch(path: Path, start: float, seconds: float) -> tuple[np.ndarray, int]:
  """As `decode`, from second `start` on, of a file that was found sound: nothing else is checked.

  What lies after its end is not there. DataError where it cannot be read.
  """
  try:
    with path.open("rb", buffering=0) as raw:
      parts = headers.streams(path, raw)
      raw.seek(0)
      if parts == [raw]:
        with soundfile.SoundFile(raw.fileno(), closefd=False) as file:
          file.seek(min(round(start * file.samplerate), file.frames))
          wanted = round(seconds * file.samplerate)
          return file.read(wanted, dtype="float32", always_2d=True), file.samplerate
    audio, rate = decode(path)
    return audio[round(start * rate) :][: round(seconds * rate)], rate
  except (soundfile.LibsndfileError, OSError) as error:
    raise DataError(f"{path}: cannot be read any more ({error}); check the set again") from None


def _decode_stream(
  path: Path, stream: BinaryIO, max_seconds: float | None
) -> tuple[np.ndarray, int]:
  """The samples of a file, or of one of several in it, and their rate."""
  stream.seek(0)
  quiet = quiet_mpg123() if mpeg.is_mpeg(stream.read(4)) else nullcontext()
  stream.seek(0)
  plain = isinstance(stream, io.FileIO)  # then libsndfile reads it without us
  with quiet, _Forward(stream.fileno() if plain else stream, closefd=False) as file:
    _check_header(path, file)
    audio = _read_blocks(path, file, max_seconds)
    _check_end(path, file, len(audio), stream)
    return audio, file.samplerate


def _append(path: Path, audio: np.ndarray, rate: int, more: np.ndarray, other: int) -> np.ndarray:
  """The links of a chain, one after the other."""
  (_, channels), (_, others) = audio.shape, more.shape
  if (rate, channels) != (other, others):
    raise DataError(
      f"{path}: files were joined of {channels} channels at {rate} Hz and {others} at {other} Hz;"
      f" export them as one"
    )
  return np.concatenate([audio, more])


class _Forward(soundfile.SoundFile):
  """Read from front to back: soundfile else seeks after every block, which restarts a decoder."""

  def seekable(self) -> bool:
    return False


def _check_header(path: Path, file: soundfile.SoundFile) -> None:
  """Refuses by the header alone, before anything large is decoded."""
  if file.format not in FORMATS:
    raise DataError(f"{path}: is {file.format}, expected {KINDS}; convert it")
  if file.channels > 2:
    raise DataError(
      f"{path}: has {file.channels} channels, expected 1 or 2; mix it to stereo first"
    )
  if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
    raise DataError(
      f"{path}: sample rate {file.samplerate} Hz, expected {LOWEST_RATE} to {HIGHEST_RATE}"
    )


def _read_blocks(path: Path, file: soundfile.SoundFile, max_seconds: float | None) -> np.ndarray:
  """All samples, in an array that grows as they come."""
  limit = file.frames if max_seconds is None else samples_of(max_seconds, file.samplerate)
  audio = np.empty((min(BLOCK, file.frames), file.channels), np.float32)
  filled = len(file.read(out=audio))
  while filled == len(audio) < file.frames and filled <= limit:
    audio.resize((min(2 * filled, file.frames), file.channels), refcheck=False)
    filled += len(file.read(out=audio[filled:]))
  if filled > limit:
    lasts = file.frames if file.frames < UNSAID else filled
    _check_length(path, lasts, file.samplerate, max_seconds)
  audio.resize((filled, file.channels), refcheck=False)
  return audio


def _check_length(path: Path, samples: int, rate: int, most: float | None) -> None:
  if most is not None and samples > samples_of(most, rate):
    lasts = at_least(samples / rate)
    raise TooLongError(f"{path}: lasts {lasts} s, at most {at_most(most)} s fit; cut it")


def _check_end(path: Path, file: soundfile.SoundFile, samples: int, raw: BinaryIO) -> None:
  """Refuses what decoded to less than its header said, or stopped long before the file's end."""
  promised = file.frames
  position = raw.tell()
  if file.format == "MP3":
    size = raw.seek(0, os.SEEK_END)
    if size - position > TAIL:
      raise DataError(
        f"{path}: decodes no further than byte {position} of {size}; convert it to FLAC"
      )
    if mpeg.bytes_of(raw)[1] is None:
      return  # then libsndfile guesses the length from the first frames
  if file.format == "FLAC" and headers.has_second_flac(
    raw, position if promised < UNSAID else None
  ):
    raise DataError(f"{path}: another FLAC follows in it: files were joined; export them as one")
  if promised < UNSAID and samples + (SLACK if file.format in LOSSY else 0) < promised:
    raise DataError(
      f"{path}: cut off or damaged: {samples} samples, and its header says {promised}; copy or"
      f" export it again"
    )


def check_samples(path: Path | str, audio: np.ndarray, rate: int) -> None:
  """DataError where samples [samples, channels] at `rate` Hz are none, not finite, or no audio."""
  if len(audio) == 0:
    raise DataError(f"{path}: holds no samples")
  # Two numbers tell (a NaN makes both NaN), and no temporary array is needed.
  if audio.max() <= LOUDEST and audio.min() >= -LOUDEST:
    return
  index = int(np.argmin((np.abs(audio) <= LOUDEST).all(axis=1)))
  what = "within ±1, as audio is" if np.isfinite(audio[index]).all() else "finite numbers"
  raise DataError(
    f"{path}: sample {index} ({index / rate:.3f} s) is {audio[index].tolist()}, expected {what};"
    f" export the file again"
  )


def to_stereo(path: Path, audio: np.ndarray, found: int, rate: int) -> np.ndarray:
  """Samples [samples, 1 or 2] at `found` Hz as float32 [samples, 2] at `rate` Hz."""
  if found != rate:
    audio = soxr.resample(audio, found, rate, quality="HQ")
    if len(audio) == 0:
      raise DataError(f"{path}: is shorter than one sample at {rate} Hz")
  if audio.shape[1] == 1:
    audio = np.broadcast_to(audio, (len(audio), 2))
  return np.ascontiguousarray(audio, np.float32)


def write_wav(
  path: str | Path,
  audio: np.ndarray,
  rate: int,
  *,
  bits: int = 32,
  title: str = "",
  album: str = "",
  bpm: float | None = None,
  metre: str = COMMON,
) -> None:
  """Writes a 32-bit float WAV: bit-exact, and samples beyond 1.0 are kept, not clipped.

  Or one of 24 bits, where they are. Title and tempo are for whoever opens it (audio/wav.py). Equal
  audio gives equal bytes, which libsndfile does not promise: its float WAVs carry the time of
  writing in a PEAK chunk. OutputError where it cannot be written.
  """
  with whole_file(path) as partial, partial.open("wb") as file:
    wav.write(file, audio, rate, bits=bits, title=title, album=album, bpm=bpm, metre=metre)


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

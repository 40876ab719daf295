"""The audio streams of a `.stem.mp4`, as Native Instruments' format packs stems (MUSDB18).

The program ffmpeg decodes them, because no library here reads AAC. It is given one demuxer and
files alone, so that nothing in a file makes it open another, or a network connection.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stemphonic_jax.audio.files import check_samples
from stemphonic_jax.audio.lengths import LONGEST, samples_of
from stemphonic_jax.errors import DataError, MissingError

TIMEOUT = 600.0  # seconds; a song takes one or two
MAX_BOXES = 100_000
ADDRESS = re.compile(r" @ 0x[0-9a-f]+")  # in what ffmpeg says: another one each time
AU_FLOAT = 6  # the encoding "32-bit float" of an AU header


def find_ffmpeg() -> str:
  """The path of the program, the system's or imageio-ffmpeg's; MissingError where it is neither."""
  if found := shutil.which("ffmpeg"):
    return found
  with contextlib.suppress(ImportError, RuntimeError):
    from imageio_ffmpeg import get_ffmpeg_exe

    return get_ffmpeg_exe()
  raise MissingError(
    'ffmpeg is not installed, and .stem.mp4 needs it; pip install "stemphonic-jax[datasets]", or'
    " use MUSDB18-HQ, which is WAV"
  )


def read_stream(
  path: Path, stream: int, max_seconds: float = LONGEST, timeout: float = TIMEOUT
) -> tuple[np.ndarray, int]:
  """Audio stream number `stream`, from 0: float32 [samples, 1 or 2], and its rate in Hz.

  Sample 0 is at the same time in all streams of a file. At their ends, ffmpeg 5 leaves what AAC
  pads, up to 1023 samples. Damage is found where AAC's decoder stumbles over it, as it did over
  every 256 bytes overwritten, but over no more than one flipped bit in three: AAC has no checksum.

  MissingError without ffmpeg or without the file; DataError where the file is cut off or damaged,
  has no such stream, lasts longer than `max_seconds`, or ffmpeg takes longer than `timeout`.
  """
  _check_boxes(path)
  # AU, because its header is six numbers and does not need the length to be known beforehand. The
  # filter writes silence where a stream starts late or has a gap: else it would start early.
  command = [
    find_ffmpeg(), "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file,pipe",
    "-f", "mov", "-i", f"file:{path.absolute()}", "-map", f"0:a:{stream}",
    "-af", "aresample=first_pts=0", "-t", f"{max_seconds + 1:g}",
    "-c:a", "pcm_f32be", "-f", "au", "pipe:1",
  ]  # fmt: skip
  try:
    run = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
  except subprocess.TimeoutExpired:
    raise DataError(
      f"{path}: ffmpeg did not end within {timeout:g} s; is the file whole?"
    ) from None
  except OSError as error:
    raise DataError(f"{command[0]}: cannot be run ({error.strerror or error})") from None
  if run.returncode:
    said = ADDRESS.sub("", run.stderr.decode(errors="replace"))
    lines = [line.strip() for line in said.split("\n")]
    reason = next(filter(None, lines), f"code {run.returncode}")
    raise DataError(f"{path}: audio stream {stream} cannot be read (ffmpeg: {reason[:200]})")
  audio, rate = _from_au(path, run.stdout)
  if len(audio) > samples_of(max_seconds, rate):
    raise DataError(f"{path}: lasts longer than {max_seconds:g} s; cut it")
  check_samples(path, audio, rate)
  return audio, rate


def _from_au(path: Path, data: bytes) -> tuple[np.ndarray, int]:
  if len(data) < 24 or data[:4] != b".snd":
    raise DataError(f"{path}: ffmpeg gave no audio; is it the ffmpeg of ffmpeg.org?")
  offset, _, encoding, rate, channels = struct.unpack_from(">5I", data, 4)
  if encoding != AU_FLOAT or channels not in (1, 2) or not rate or offset > len(data):
    raise DataError(
      f"{path}: {channels} channels at {rate} Hz in encoding {encoding}, expected 1 or 2 of float"
    )
  count = (len(data) - offset) // (4 * channels) * channels
  samples = np.frombuffer(data, ">f4", count, offset).astype(np.float32)
  return samples.reshape(-1, channels), rate


def _check_boxes(path: Path) -> None:
  """Refuses a file that ends within a box: of one, ffmpeg gives what is left without a word."""
  try:
    if not path.exists():
      raise MissingError(f"{path}: no such audio file")
    if not path.is_file():
      raise DataError(f"{path}: is not a file")
    with path.open("rb") as file:
      size = file.seek(0, os.SEEK_END)
      end, kinds = _last_box(file, size)
  except OSError as error:
    raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
  if "ftyp" not in kinds:
    raise DataError(f"{path}: is not an MP4 file")
  if end > size or not {"moov", "mdat"} <= kinds:
    raise DataError(f"{path}: cut off: {size} bytes are not all of it; copy it again")


def _last_box(file: BinaryIO, size: int) -> tuple[int, set[str]]:
  """Where the last box at the top ends, and the kinds there are."""
  position, kinds = 0, set()
  for _ in range(MAX_BOXES):
    file.seek(position)
    head = file.read(16)
    if len(head) < 8:
      break
    length, kind = struct.unpack_from(">I4s", head)
    kinds.add(kind.decode("latin-1"))
    if length == 1 and len(head) == 16:  # a length in 64 bits
      (length,) = struct.unpack_from(">Q", head, 8)
    elif length == 0:  # to the end of the file
      length = size - position
    if length < 8:
      return size + 1, kinds
    position += length
    if position >= size:
      break
  return position, kinds

"""Real `.stem.mp4` files, which ffmpeg itself packs: one AAC stream per stem, as in MUSDB18."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from stemphonic_jax.audio.files import write_wav

RATE = 44_100
CLOSE = -20.0  # dB; what AAC adds to tones is less, a shift by one sample is more (-6)
COVER = ("-f", "lavfi", "-i", "color=red:size=16x16:rate=25:duration=0.04")


def use_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
  """Puts ffmpeg on PATH, through `folder`; skips the test where no ffmpeg is installed.

  It is the machine's, or else that of the package imageio-ffmpeg, which is named otherwise.
  """
  found = shutil.which("ffmpeg") or pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
  (folder / "programs").mkdir()
  (folder / "programs" / "ffmpeg").symlink_to(found)
  monkeypatch.setenv("PATH", str(folder / "programs"), prepend=os.pathsep)
  return found


def tones(number: int, seconds: float, rate: int = RATE, channels: int = 2) -> np.ndarray:
  """Stem `number`, float32 [samples, channels]: tones that no other stem has, so high (6 kHz) that
  a shift by one sample is an error as loud as they are, and that begin and end at once.
  """
  t = np.arange(round(seconds * rate))[:, None] / rate + 0.001 * np.arange(channels)
  hertz = np.array([210.0, 1130.0, 6010.0]) + 70.0 * number
  return 0.1 * np.sin(2 * np.pi * hertz * t[..., None]).sum(-1).astype(np.float32)


def error(found: np.ndarray, expected: np.ndarray) -> float:
  """The energy of the difference, of the samples both have, in dB of that expected."""
  n = min(len(found), len(expected))
  difference = np.sum((found[:n] - expected[:n]) ** 2, dtype=np.float64)
  return 10 * np.log10(difference / np.sum(expected[:n] ** 2, dtype=np.float64))


def pack(
  ffmpeg: str,
  path: Path,
  streams: Sequence[np.ndarray],
  rate: int = RATE,
  *,
  cover: bool = False,
  delays: Mapping[int, float] | None = None,
  options: Sequence[str] = (),
) -> Path:
  """Writes `path`: the streams in their order, some `delays` seconds late, then a cover picture."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory() as folder:
    command, maps = [ffmpeg, "-nostdin", "-v", "error"], []
    for number, audio in enumerate(streams):
      wav = f"{folder}/{number}.wav"
      write_wav(wav, audio, rate)
      command += ["-itsoffset", str((delays or {}).get(number, 0.0)), "-i", wav]
      maps += ["-map", f"{number}:a"]
    if cover:
      command += COVER
      maps += ["-map", f"{len(streams)}:v", "-c:v", "png", "-disposition:v", "attached_pic"]
    encoder = ["-c:a", "aac", "-b:a", "256k", *options, "-f", "mp4"]
    subprocess.run([*command, *maps, *encoder, f"file:{path}"], check=True)
  return path

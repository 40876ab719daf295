import os
import shutil
import struct
import subprocess

import numpy as np
import pytest

from stemphonic_jax.audio import stems_mp4
from stemphonic_jax.audio.files import write_wav
from stemphonic_jax.errors import DataError, MissingError

RATE = 44100
NOISE = 0.1 * np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)


def box(kind: bytes, content: bytes = b"") -> bytes:
  return struct.pack(">I4s", 8 + len(content), kind) + content


def packed(path):
  path.write_bytes(box(b"ftyp", b"M4A ") + box(b"moov", bytes(50)) + box(b"mdat", bytes(100)))
  return path


def au(audio: np.ndarray, rate: int = RATE, encoding: int = 6) -> bytes:
  """As ffmpeg writes it to a pipe: length unknown, a comment in the header."""
  header = struct.pack(">5I", 32, 0xFFFFFFFF, encoding, rate, audio.shape[1])
  return b".snd" + header + b"comment\0" + audio.astype(">f4").tobytes()


@pytest.fixture
def fake(tmp_path, monkeypatch):
  """A program named ffmpeg, the first on PATH, that runs lines of shell."""
  folder = tmp_path / "bin"
  folder.mkdir()
  monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

  def install(lines: str, output: bytes = b""):
    (folder / "output").write_bytes(output)
    program = folder / "ffmpeg"
    program.write_text(
      f'#!/bin/sh\nfor word in "$@"; do echo "$word"; done >{folder}/words\n{lines}\n'
    )
    program.chmod(0o755)
    return folder

  return install


def test_a_stream_comes_as_ffmpeg_gives_it(fake, tmp_path):
  folder = fake(f"cat {tmp_path}/bin/output", au(NOISE, 48_000))
  path = packed(tmp_path / "-A - B; rm *.stem.mp4")
  audio, rate = stems_mp4.read_stream(path, 3)
  assert (audio.dtype, rate) == (np.float32, 48_000)
  np.testing.assert_array_equal(audio, NOISE)
  words = (folder / "words").read_text().splitlines()
  assert (
    words[words.index("-i") + 1] == f"file:{path}"
  )  # no option and no protocol, whatever its name
  assert words[words.index("-map") + 1] == "0:a:3"
  # One demuxer, and nothing but files: a playlist named .stem.mp4 leads nowhere.
  assert words.index("-f") < words.index("-i")
  assert words[words.index("-f") + 1] == "mov"
  assert words[words.index("-protocol_whitelist") + 1] == "file,pipe"


def test_without_ffmpeg_the_error_says_what_to_do(tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(MissingError, match=r"ffmpeg is not installed.*or use MUSDB18-HQ"):
    stems_mp4.read_stream(packed(tmp_path / "x.stem.mp4"), 0)


def test_what_goes_wrong_in_ffmpeg_is_one_line(fake, tmp_path):
  path = packed(tmp_path / "x.stem.mp4")
  fake("echo >&2; echo \"Stream map '0:a:9' matches no streams.\" >&2; echo more >&2; exit 234")
  with pytest.raises(DataError, match=r"audio stream 9 cannot be read \(ffmpeg: Stream map.*\)$"):
    stems_mp4.read_stream(path, 9)
  fake("exit 1")
  with pytest.raises(DataError, match=r"\(ffmpeg: code 1\)"):
    stems_mp4.read_stream(path, 0)
  fake("echo nothing")
  with pytest.raises(DataError, match="ffmpeg gave no audio"):
    stems_mp4.read_stream(path, 0)
  fake("exec sleep 30")
  with pytest.raises(DataError, match=r"did not end within 0\.2 s"):
    stems_mp4.read_stream(path, 0, timeout=0.2)


@pytest.mark.parametrize(
  ("output", "words"),
  [
    (au(NOISE[:0]), "holds no samples"),
    (au(np.tile(NOISE, 3)), "6 channels"),
    (au(NOISE, encoding=3), "encoding 3"),
    (au(np.full((10, 2), np.nan)), "expected finite numbers"),
    (au(NOISE, rate=100), "lasts longer than 5 s"),
    (au(NOISE, rate=0), "at 0 Hz"),
  ],
  ids=["empty", "channels", "encoding", "nan", "long", "rate"],
)
def test_output_that_is_not_a_stem_is_refused(output, words, fake, tmp_path):
  fake(f"cat {tmp_path}/bin/output", output)
  with pytest.raises(DataError, match=words):
    stems_mp4.read_stream(packed(tmp_path / "x.stem.mp4"), 0, max_seconds=5.0)


def test_files_that_are_cut_off_or_no_mp4_never_reach_ffmpeg(fake, tmp_path):
  folder = fake("")
  path = packed(tmp_path / "x.stem.mp4")
  whole = path.read_bytes()
  for length in (1, 7, 12, 20, 70, 71, 100, len(whole) - 1):
    path.write_bytes(whole[:length])
    with pytest.raises(DataError, match=r"cut off|is not an MP4"):
      stems_mp4.read_stream(path, 0)
  for bad in (b"", bytes(5000), b"#EXTM3U\nhttp://x/y", b"\0\0\0\1moov" + b"\xff" * 8):
    path.write_bytes(bad)
    with pytest.raises(DataError, match=r"cut off|is not an MP4"):
      stems_mp4.read_stream(path, 0)
  with pytest.raises(MissingError, match="no such audio file"):
    stems_mp4.read_stream(tmp_path / "none.stem.mp4", 0)
  with pytest.raises(DataError, match="is not a file"):
    stems_mp4.read_stream(tmp_path, 0)
  assert not (folder / "words").exists()


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")
def test_ffmpeg_itself(tmp_path):
  command, maps = [shutil.which("ffmpeg"), "-v", "error"], []
  for stream, hertz in enumerate((440, 880, 1760)):
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
    write_wav(tmp_path / f"{stream}.wav", np.stack([wave, wave], axis=1), RATE)
    command += ["-i", str(tmp_path / f"{stream}.wav")]
    maps += ["-map", f"{stream}:a"]
  path = tmp_path / "x.stem.mp4"
  subprocess.run([*command, *maps, "-c:a", "aac", "-b:a", "256k", str(path)], check=True)
  for stream, hertz in enumerate((440, 880, 1760)):
    audio, rate = stems_mp4.read_stream(path, stream)
    assert (rate, audio.shape[1]) == (RATE, 2)
    middle = audio[len(audio) // 4 : len(audio) // 4 + RATE // 2, 0]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == pytest.approx(hertz / 2, abs=1)
  with pytest.raises(DataError, match="audio stream 3 cannot be read"):
    stems_mp4.read_stream(path, 3)
  with path.open("r+b") as file:
    file.truncate(os.path.getsize(path) // 2)
  with pytest.raises(DataError, match="cut off"):
    stems_mp4.read_stream(path, 0)

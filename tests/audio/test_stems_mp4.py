import os
import struct
import sys
import types

import numpy as np
import pytest

from stemphonic_jax.audio import stems_mp4
from stemphonic_jax.errors import DataError, MissingError
from tests.audio import packing

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
  monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # not installed
  with pytest.raises(MissingError, match=r"ffmpeg is not installed.*or use MUSDB18-HQ"):
    stems_mp4.read_stream(packed(tmp_path / "x.stem.mp4"), 0)


def test_an_ffmpeg_that_pip_installed_will_do(tmp_path, monkeypatch):
  wheel = types.SimpleNamespace(get_ffmpeg_exe=lambda: "/somewhere/ffmpeg-linux")
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.setitem(sys.modules, "imageio_ffmpeg", wheel)
  assert stems_mp4.find_ffmpeg() == "/somewhere/ffmpeg-linux"


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


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
  return packing.use_ffmpeg(tmp_path, monkeypatch)


@pytest.mark.parametrize("cover", [False, True])
def test_five_streams_come_back_each_in_its_place(cover, ffmpeg, tmp_path):
  stems = [packing.tones(number, 1.234) for number in range(5)]
  path = packing.pack(ffmpeg, tmp_path / "x.stem.mp4", stems, cover=cover)
  found = [stems_mp4.read_stream(path, stream) for stream in range(5)]
  for stream, (audio, rate) in enumerate(found):
    assert (rate, audio.shape, audio.dtype) == (RATE, found[0][0].shape, np.float32)
    # A millisecond may be lost, as lengths are kept in those; what AAC pads may be left.
    assert -RATE / 1000 <= len(audio) - len(stems[0]) < 1024
    errors = [packing.error(audio, stem) for stem in stems]
    assert errors[stream] < packing.CLOSE
    assert sum(error > 0.0 for error in errors) == 4


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (22_050, 2), (44_100, 1)])
def test_other_rates_and_mono_stay_as_they_are(rate, channels, ffmpeg, tmp_path):
  stems = [packing.tones(number, 0.7, rate, channels) for number in range(2)]
  path = packing.pack(ffmpeg, tmp_path / "x.stem.mp4", stems, rate)
  audio, found = stems_mp4.read_stream(path, 1)
  assert (found, audio.shape[1]) == (rate, channels)
  assert packing.error(audio, stems[1]) < packing.CLOSE


def test_a_stream_that_starts_late_starts_with_silence(ffmpeg, tmp_path):
  stems = [packing.tones(number, 1.0) for number in range(2)]
  path = packing.pack(ffmpeg, tmp_path / "x.stem.mp4", stems, delays={1: 0.5})
  audio, _ = stems_mp4.read_stream(path, 1)
  # ffmpeg packs AAC's delay of 1024 samples with a stream that starts late.
  start = int(np.argmax(np.abs(audio).max(axis=1) > 0.01))
  assert start == pytest.approx(RATE // 2, abs=1024)
  assert len(audio) - start == pytest.approx(RATE, abs=2048)
  assert packing.error(stems_mp4.read_stream(path, 0)[0], stems[0]) < packing.CLOSE


def test_without_times_of_edits_all_streams_are_late_alike(ffmpeg, tmp_path):
  stems = [packing.tones(number, 0.5) for number in range(3)]
  path = packing.pack(ffmpeg, tmp_path / "x.stem.mp4", stems, options=["-use_editlist", "0"])
  for stream, stem in enumerate(stems):
    assert packing.error(stems_mp4.read_stream(path, stream)[0][1024:], stem) < packing.CLOSE


def test_samples_beyond_full_scale_are_kept(ffmpeg, tmp_path):
  loud = [15.0 * packing.tones(0, 0.5)]
  audio, _ = stems_mp4.read_stream(packing.pack(ffmpeg, tmp_path / "x.stem.mp4", loud), 0)
  assert np.abs(audio).max() == pytest.approx(np.abs(loud[0]).max(), rel=0.1)


def test_streams_that_are_missing_or_too_long_are_refused(ffmpeg, tmp_path):
  stems = [packing.tones(number, 2.5) for number in range(2)]
  path = packing.pack(ffmpeg, tmp_path / "x.stem.mp4", stems, cover=True)
  with pytest.raises(DataError, match=r"audio stream 2 cannot be read \(ffmpeg: .*no streams"):
    stems_mp4.read_stream(path, 2)
  assert len(stems_mp4.read_stream(path, 1, max_seconds=2.6)[0]) >= 2.4 * RATE
  with pytest.raises(DataError, match="lasts longer than 1 s"):
    stems_mp4.read_stream(path, 1, max_seconds=1.0)


@pytest.mark.parametrize("options", [(), ("-movflags", "+faststart")], ids=["end", "front"])
def test_files_cut_off_are_refused_wherever_their_index_is(options, ffmpeg, tmp_path):
  stems = [packing.tones(number, 1.0) for number in range(2)]
  path = packing.pack(ffmpeg, tmp_path / "x.stem.mp4", stems, options=options)
  whole = path.read_bytes()
  for share in (0.999, 0.9, 0.5, 0.1):
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="cut off"):
      stems_mp4.read_stream(path, 0)


def test_a_hole_in_a_file_is_refused_in_the_same_words_each_time(ffmpeg, tmp_path):
  path = packing.pack(ffmpeg, tmp_path / "x.stem.mp4", [packing.tones(0, 1.0)])
  whole = path.read_bytes()
  middle = len(whole) // 2
  path.write_bytes(whole[:middle] + bytes(4096) + whole[middle + 4096 :])
  messages = set()
  for _ in range(2):
    with pytest.raises(
      DataError, match=r"audio stream 0 cannot be read \(ffmpeg: \[aac\]"
    ) as caught:
      stems_mp4.read_stream(path, 0)
    messages.add(str(caught.value))
  assert len(messages) == 1

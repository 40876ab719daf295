"""Files whose headers do not say what is in them: dead recorders, pipes, tags, joined files."""

import struct

import numpy as np
import pytest
import soundfile

from stemphonic_jax.audio.files import decode_stretch, read_audio, write_wav
from stemphonic_jax.errors import DataError

RATE = 44100


def sine(seconds: float, rate: int = RATE, channels: int = 2, hertz: float = 440.0) -> np.ndarray:
  wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
  return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def resized(path, name: bytes, size: int, order: str = "<") -> None:
  """Writes `size` into the header of a chunk and, less what stands before it, of the file."""
  data = bytearray(path.read_bytes())
  place = data.index(name) + 4
  data[place : place + 4] = struct.pack(order + "I", size)
  data[4:8] = struct.pack(order + "I", max(0, size - 8))
  path.write_bytes(data)


# Of a recorder that died, of ffmpeg, SoX (16 bits and 24), ALSA and others that write to a pipe.
@pytest.mark.parametrize(
  "size", [0, 0xFFFFFFFF, 0xFFFFFFDB, 0x7FFFF000, 0x7FFFEFFC, 0x7FFFFFFF, 0x80000000]
)
def test_samples_that_a_wav_does_not_count_are_read(tmp_path, size):
  write_wav(tmp_path / "x.wav", sine(0.1, RATE, 2), RATE)
  resized(tmp_path / "x.wav", b"data", size)
  np.testing.assert_array_equal(read_audio(tmp_path / "x.wav", RATE), sine(0.1, RATE, 2))


@pytest.mark.parametrize("size", [0, 8, 0xFFFFFFFF, 0x7F000000])
def test_samples_that_an_aiff_does_not_count_are_read(tmp_path, size):
  soundfile.write(tmp_path / "x.aiff", sine(0.1, RATE, 2), RATE)
  expected = read_audio(tmp_path / "x.aiff", RATE)
  resized(tmp_path / "x.aiff", b"SSND", size, ">")
  data = bytearray((tmp_path / "x.aiff").read_bytes())
  place = data.index(b"COMM") + 10
  data[place : place + 4] = bytes(4)  # nor does it count frames
  (tmp_path / "x.aiff").write_bytes(data)
  np.testing.assert_array_equal(read_audio(tmp_path / "x.aiff", RATE), expected)


def test_samples_that_an_rf64_does_not_count_are_read(tmp_path):
  soundfile.write(tmp_path / "x.rf64", sine(0.1, RATE, 2), RATE, format="RF64", subtype="FLOAT")
  data = bytearray((tmp_path / "x.rf64").read_bytes())
  place = data.index(b"ds64") + 8
  data[place : place + 24] = bytes(24)  # as ffmpeg leaves it in a pipe
  (tmp_path / "x.rf64").write_bytes(data)
  np.testing.assert_array_equal(read_audio(tmp_path / "x.rf64", RATE), sine(0.1, RATE, 2))


def test_a_wav_that_is_empty_though_chunks_follow_is_empty(tmp_path):
  soundfile.write(tmp_path / "x.wav", sine(0.0, RATE, 2), RATE)
  with (tmp_path / "x.wav").open("ab") as file:
    file.write(b"LIST" + (4).to_bytes(4, "little") + b"INFO")
  with pytest.raises(DataError, match="holds no samples"):
    read_audio(tmp_path / "x.wav", RATE)


def test_a_wav_that_counts_fewer_samples_than_there_are_is_refused(tmp_path):
  write_wav(tmp_path / "x.wav", sine(0.1, RATE, 2), RATE)
  resized(tmp_path / "x.wav", b"data", 4_000)
  with pytest.raises(DataError, match=r"\d+ bytes follow the samples that its header tells of"):
    read_audio(tmp_path / "x.wav", RATE)


@pytest.mark.parametrize("samples", [1_000, 1_001])
@pytest.mark.parametrize("tag", [b"ID3\x04\x00\x00\x00\x00\x7f\x7f", b"LIST\xf0\x1f\x00\x00INFO"])
def test_what_taggers_leave_after_the_samples_of_a_wav_is_no_audio(tmp_path, samples, tag):
  path = tmp_path / "x.wav"
  soundfile.write(path, sine(0.1, RATE, 1)[:samples], RATE, subtype="PCM_U8")
  data = path.read_bytes()
  end = data.index(b"data") + 8 + samples  # with no padding after an odd number of bytes
  path.write_bytes(data[:end] + tag + b"\xff\xd8cover" * 1_000)
  assert len(read_audio(path, RATE)) == samples


def test_a_file_of_tags_alone_is_no_mp3(tmp_path):
  (tmp_path / "x.mp3").write_bytes(2 * ape_tag(1_000))
  with pytest.raises(DataError, match="cannot be read as audio"):
    read_audio(tmp_path / "x.mp3", RATE)


def test_an_mp3_inside_a_wav_is_decoded_to_its_end(tmp_path):
  soundfile.write(tmp_path / "x.mp3", sine(1.0, RATE, 2), RATE)
  frames = (tmp_path / "x.mp3").read_bytes()
  frames = frames[frames.index(b"\xff\xfb", 4) :]  # without the one that counts, as from ffmpeg
  layout = struct.pack("<HHIIHHHHIHHH", 0x55, 2, RATE, 16_000, 1152, 0, 12, 1, 2, 1152, 1, 1393)
  chunks = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout
  chunks += b"fact" + struct.pack("<II", 4, RATE + 1_200) + b"data"
  for size in (len(frames), 0xFFFFFFFF):
    content = chunks + struct.pack("<I", size) + frames
    (tmp_path / "x.wav").write_bytes(b"RIFF" + struct.pack("<I", len(content)) + content)
    audio = read_audio(tmp_path / "x.wav", RATE)
    assert RATE <= len(audio) < RATE + 3 * 1152
    assert np.abs(audio).max() > 0.4


def ape_tag(picture: int) -> bytes:
  """An APEv2 tag with a cover of so many bytes, which look like the beginnings of MP3 frames."""
  item = (
    struct.pack("<II", picture, 2) + b"Cover Art (Front)\0" + b"\xff\xfb\x90\x64" * (picture // 4)
  )
  ends = [
    b"APETAGEX" + struct.pack("<4I", 2000, len(item) + 32, 1, flags) + bytes(8)
    for flags in (0xA0000000, 0x80000000)
  ]
  return ends[0] + item + ends[1]


def lyrics_tag(count: int) -> bytes:
  text = b"LYRICSBEGINLYR" + b"%05d" % count + b"x" * count
  return text + b"%06d" % len(text) + b"LYRICS200"


@pytest.mark.parametrize(
  ("before", "after"),
  [
    (b"", ape_tag(300_000)),
    (b"", ape_tag(60_000) + b"TAG" + bytes(125)),
    (b"", lyrics_tag(30_000) + b"TAG" + bytes(125)),
    (ape_tag(60_000), b""),
  ],
)
def test_tags_around_an_mp3_are_no_part_of_it(tmp_path, before, after):
  path = tmp_path / "x.mp3"
  soundfile.write(path, sine(1.0, RATE, 2), RATE)
  expected, data = read_audio(path, RATE), path.read_bytes()
  path.write_bytes(before + data + after)
  np.testing.assert_array_equal(read_audio(path, RATE), expected)
  path.write_bytes(before + data[: len(data) // 2] + after)
  with pytest.raises(DataError, match="cut off"):
    read_audio(path, RATE)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_oggs_that_were_joined_are_heard_to_the_end(tmp_path, subtype):
  path, rate = tmp_path / "x.ogg", 48_000
  parts = []
  for hertz in (330.0, 440.0):
    soundfile.write(path, sine(0.5, rate, 2, hertz), rate, format="OGG", subtype=subtype)
    parts.append(path.read_bytes())
  second = read_audio(path, rate)
  path.write_bytes(b"".join(parts))
  audio = read_audio(path, rate)
  assert len(audio) == 2 * len(second) == rate
  np.testing.assert_array_equal(audio[len(second) :], second)
  with pytest.raises(DataError, match=r"lasts 1\.00 s, at most 0\.75 s"):
    read_audio(path, rate, max_seconds=0.75)
  stretch, _ = decode_stretch(path, 0.75, 0.1)
  np.testing.assert_array_equal(stretch, audio[36_000:40_800])
  path.write_bytes(path.read_bytes()[:-200])
  with pytest.raises(DataError, match="cut off"):
    read_audio(path, rate)


def test_oggs_of_two_rates_that_were_joined_are_refused(tmp_path):
  data = b""
  for rate in (44_100, 48_000):
    soundfile.write(tmp_path / "x.ogg", sine(0.2, rate, 2), rate)
    data += (tmp_path / "x.ogg").read_bytes()
  (tmp_path / "x.ogg").write_bytes(data)
  with pytest.raises(DataError, match="joined of 2 channels at 44100 Hz and 2 at 48000 Hz"):
    read_audio(tmp_path / "x.ogg", RATE)


@pytest.mark.parametrize("name", ["x.flac", "x.wav", "x.aiff"])
@pytest.mark.parametrize("seconds", [0.1, 3.0])
def test_files_that_are_no_chain_when_joined_are_refused(tmp_path, name, seconds):
  path = tmp_path / name
  noise = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * RATE), 2))
  soundfile.write(path, noise, RATE)
  path.write_bytes(2 * path.read_bytes())
  with pytest.raises(DataError, match="files were joined"):
    read_audio(path, RATE)


def test_a_flac_with_tags_of_an_mp3_is_one(tmp_path):
  path = tmp_path / "x.flac"
  soundfile.write(path, sine(0.1, RATE, 2), RATE)
  tag = b"ID3\x04\x00\x00" + bytes((0, 0, 16, 0)) + bytes(1 << 11)
  path.write_bytes(tag + path.read_bytes() + b"TAG" + bytes(125))
  assert len(read_audio(path, RATE)) == 4410

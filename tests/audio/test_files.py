import hashlib
import os
import time

import numpy as np
import pytest
import soundfile

from stemphonic_jax.audio.files import BLOCK, decode, read_audio, write_wav
from stemphonic_jax.audio.quiet import quiet_mpg123
from stemphonic_jax.errors import DataError, MissingError, OutputError

RATE = 44100


def sine(seconds: float, rate: int, channels: int, hertz: float = 440.0) -> np.ndarray:
  wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
  return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def test_a_written_wav_is_read_back_bit_exactly_even_beyond_full_scale(tmp_path):
  audio = 3.0 * np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
  write_wav(tmp_path / "x.wav", audio, RATE)
  back = read_audio(tmp_path / "x.wav", RATE)
  assert back.dtype == np.float32
  np.testing.assert_array_equal(back, audio)
  assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]


def test_equal_audio_gives_equal_bytes_at_any_time(tmp_path, monkeypatch):
  digests = []
  for now in (1.0e9, 1.1e9):
    monkeypatch.setattr(time, "time", lambda now=now: now)
    write_wav(tmp_path / "x.wav", sine(0.1, RATE, 2), RATE)
    data = (tmp_path / "x.wav").read_bytes()
    assert b"PEAK" not in data  # libsndfile's chunk that carries the time of writing
    digests.append(hashlib.sha256(data).hexdigest())
  assert digests[0] == digests[1]


def test_unwritable_places_are_output_errors(tmp_path):
  with pytest.raises(OutputError, match=r"absent/x\.wav: cannot be written"):
    write_wav(tmp_path / "absent" / "x.wav", sine(0.1, RATE, 2), RATE)
  (tmp_path / "folder.wav").mkdir()
  with pytest.raises(OutputError, match=r"folder\.wav"):
    write_wav(tmp_path / "folder.wav", sine(0.1, RATE, 2), RATE)
  assert [p.name for p in tmp_path.iterdir()] == ["folder.wav"]


def test_mono_is_duplicated(tmp_path):
  soundfile.write(tmp_path / "mono.wav", sine(0.1, RATE, 1), RATE, subtype="FLOAT")
  audio = read_audio(tmp_path / "mono.wav", RATE)
  assert audio.shape == (4410, 2)
  np.testing.assert_array_equal(audio[:, 0], audio[:, 1])


@pytest.mark.parametrize("rate", [16_000, 48_000, 96_000])
def test_other_rates_are_resampled_to_the_same_sound(tmp_path, rate):
  soundfile.write(tmp_path / "x.wav", sine(1.0, rate, 2), rate, subtype="FLOAT")
  audio = read_audio(tmp_path / "x.wav", RATE)
  assert audio.shape == (RATE, 2)
  inner = slice(2000, -2000)
  np.testing.assert_allclose(audio[inner], sine(1.0, RATE, 2)[inner], atol=2e-3)


@pytest.mark.parametrize(
  ("name", "subtype", "step"),
  [("x.wav", "PCM_U8", 2**-7), ("x.wav", "PCM_24", 2**-23), ("x.flac", "PCM_16", 2**-15)],
)
def test_integer_formats_come_as_float_within_one_step(tmp_path, name, subtype, step):
  soundfile.write(tmp_path / name, sine(0.1, RATE, 2), RATE, subtype=subtype)
  np.testing.assert_allclose(
    read_audio(tmp_path / name, RATE), sine(0.1, RATE, 2), atol=1.01 * step
  )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_named_with_their_sample(tmp_path, bad):
  audio = sine(0.1, RATE, 2)
  audio[1234, 1] = bad
  soundfile.write(tmp_path / "x.wav", audio, RATE, subtype="FLOAT")
  with pytest.raises(DataError, match=r"x\.wav: sample 1234 \(0\.028 s\)"):
    read_audio(tmp_path / "x.wav", RATE)


def test_what_is_not_stereo_or_mono_audio_is_refused_in_one_line(tmp_path):
  soundfile.write(tmp_path / "six.wav", sine(0.1, RATE, 6), RATE)
  soundfile.write(tmp_path / "empty.wav", sine(0.0, RATE, 2), RATE)
  soundfile.write(tmp_path / "slow.wav", sine(0.1, RATE, 2), 50)
  (tmp_path / "zero.wav").write_bytes(b"")
  (tmp_path / "page.wav").write_text("<html>not found</html>")
  (tmp_path / "cut.wav").write_bytes((tmp_path / "six.wav").read_bytes()[:20])
  (tmp_path / "folder.wav").mkdir()
  expected = {
    "six": "has 6 channels, expected 1 or 2",
    "empty": "holds no samples",
    "slow": "sample rate 50 Hz",
    "zero": "is empty",
    "page": "cannot be read as audio",
    "cut": "cannot be read as audio",
    "folder": "is not a file",
  }
  for name, words in expected.items():
    with pytest.raises(DataError, match=words) as error:
      read_audio(tmp_path / f"{name}.wav", RATE)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_missing_file_is_a_missing_error(tmp_path):
  with pytest.raises(MissingError, match="no such audio file"):
    read_audio(tmp_path / "none.wav", RATE)


def test_too_long_names_the_maximum_whatever_the_rate(tmp_path):
  soundfile.write(tmp_path / "x.wav", sine(1.5, 48_000, 2), 48_000)
  assert len(read_audio(tmp_path / "x.wav", RATE, max_seconds=1.5)) == 66150
  with pytest.raises(DataError, match=r"lasts 1\.50 s, at most 1 s"):
    read_audio(tmp_path / "x.wav", RATE, max_seconds=1.0)


@pytest.mark.parametrize(
  "name",
  ["x.wav", "float.wav", "x.rf64", "x.aiff", "x.flac", "x.ogg", "x.mp3"],
)
def test_a_file_that_was_cut_off_is_refused_wherever_it_was(name, tmp_path, capfd):
  path = tmp_path / name
  audio = 0.1 * np.random.default_rng(0).standard_normal((RATE, 2))
  if name == "float.wav":
    write_wav(path, audio, RATE)
  else:
    soundfile.write(path, audio, RATE, format=path.suffix[1:].upper())
  whole = path.read_bytes()
  assert len(read_audio(path, RATE)) == RATE
  for share in (0.001, 0.003, 0.02, 0.1, 0.25, 1 / 3, 0.5, 0.77, 0.9):
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"cut off|cannot be read as audio \(") as error:
      read_audio(path, RATE)
    assert "\n" not in str(error.value)
  if path.suffix != ".mp3":  # of which the last frame may go unnoticed
    path.write_bytes(whole[:-2])
    with pytest.raises(DataError, match=r"cut off|cannot be read as audio \("):
      read_audio(path, RATE)
  assert capfd.readouterr().err == ""


def test_what_follows_the_samples_does_not_matter(tmp_path):
  write_wav(tmp_path / "x.wav", sine(0.1, RATE, 2), RATE)
  with (tmp_path / "x.wav").open("ab") as file:
    file.write(b"id3 " + (1000).to_bytes(4, "little") + b"half of a tag")
  np.testing.assert_array_equal(read_audio(tmp_path / "x.wav", RATE), sine(0.1, RATE, 2))


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.ogg", "x.mp3"])
def test_long_files_come_in_blocks_as_they_would_in_one(name, tmp_path):
  audio = 0.1 * np.random.default_rng(0).standard_normal((int(2.2 * BLOCK), 1))
  with soundfile.SoundFile(tmp_path / name, "w", RATE, 1) as file:
    for block in np.array_split(audio, 100):  # libsndfile's Vorbis encoder does not survive more
      file.write(block)
  expected, _ = soundfile.read(tmp_path / name, dtype="float32")
  np.testing.assert_array_equal(decode(tmp_path / name)[0][:, 0], expected)


def test_no_mp3_loses_its_second_half_in_silence(tmp_path, capfd):
  noise = np.zeros((30 * RATE, 2))
  noise[: 3 * RATE] = 0.1 * np.random.default_rng(0).standard_normal((3 * RATE, 2))
  path = tmp_path / "x.mp3"
  soundfile.write(path, noise, RATE, bitrate_mode="VARIABLE")
  data = path.read_bytes()
  path.write_bytes(data + data)
  with pytest.raises(DataError, match="files were joined"):
    read_audio(path, RATE)
  # Without its first frame, which says how long it is, libsndfile would go by the loud beginning.
  path.write_bytes(data[data.index(b"\xff\xfb", 4) :])
  assert 30 * RATE <= len(read_audio(path, RATE)) < 30 * RATE + 3 * 1152
  assert capfd.readouterr().err == ""


def test_an_mp3_with_a_picture_in_front_is_measured_without_it(tmp_path):
  path = tmp_path / "x.mp3"
  soundfile.write(path, sine(1.0, RATE, 2), RATE)
  tag = b"ID3\x04\x00\x00" + bytes((0, 1, 0, 0)) + bytes(1 << 14)
  path.write_bytes(tag + path.read_bytes())
  assert len(read_audio(path, RATE)) == RATE
  path.write_bytes(path.read_bytes()[:-3000])
  with pytest.raises(DataError, match="cut off"):
    read_audio(path, RATE)


def test_other_formats_and_numbers_that_are_not_audio_are_refused(tmp_path):
  soundfile.write(tmp_path / "x.au", sine(0.1, RATE, 2), RATE)
  with pytest.raises(DataError, match="is AU, expected WAV"):
    read_audio(tmp_path / "x.au", RATE)
  soundfile.write(tmp_path / "x.raw", sine(0.1, RATE, 2), RATE, subtype="PCM_16")
  with pytest.raises(DataError, match="cannot be read as audio"):
    read_audio(tmp_path / "x.raw", RATE)
  write_wav(tmp_path / "x.wav", 32768 * sine(0.1, RATE, 2), RATE)
  with pytest.raises(DataError, match=r"sample \d+ .*expected within ±1"):
    read_audio(tmp_path / "x.wav", RATE)
  soundfile.write(tmp_path / "one.wav", sine(0.1, RATE, 2)[:1], 192_000)
  with pytest.raises(DataError, match="shorter than one sample at 8000 Hz"):
    read_audio(tmp_path / "one.wav", 8_000)


def test_only_the_decoder_is_kept_quiet(capfd):
  with quiet_mpg123():
    os.write(2, b"\nNote: Illegal Audio-MPEG-Header 0x0 at offset 1.\nNote: Trying to resync...\n")
    os.write(2, b"step 10\n[src/libmpg123/layer3.c:INT123_do_layer3():2034] error: bits\n")
    assert capfd.readouterr().err == ""
  assert capfd.readouterr().err == "step 10\n"


def test_a_kind_that_is_not_read_is_to_be_converted(tmp_path):
  (tmp_path / "x.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
  with pytest.raises(DataError, match="m4a is not read here; convert it to FLAC"):
    read_audio(tmp_path / "x.m4a", RATE)

import hashlib
import time

import numpy as np
import pytest
import soundfile

from stemphonic_jax.audio.files import read_audio, write_wav
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
    "zero": "cannot be read as audio",
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

"""What is written into a WAV beside its samples, and that readers take the samples as they were."""

import struct

import numpy as np
import pytest
import soundfile

from stemphonic_jax.audio.files import decode_stretch, read_audio, write_wav

RATE = 44_100
AUDIO = np.random.default_rng(0).uniform(-1.5, 1.5, (RATE, 2)).astype(np.float32)


def chunks(path):
  data, found, place = path.read_bytes(), {}, 12
  assert (data[:4], data[8:12]) == (b"RIFF", b"WAVE")
  assert struct.unpack_from("<I", data, 4) == (len(data) - 8,)
  while place < len(data):
    name, size = struct.unpack_from("<4sI", data, place)
    found[name] = data[place + 8 : place + 8 + size]
    place += 8 + size + size % 2
  return found


def test_title_and_tempo_are_where_daws_and_samplers_look(tmp_path):
  path = tmp_path / "x.wav"
  write_wav(path, AUDIO, RATE, title="drums", album="Größe", bpm=120)
  found = chunks(path)
  assert list(found) == [b"fmt ", b"fact", b"LIST", b"acid", b"data"]
  with soundfile.SoundFile(path) as file:
    assert (file.title, file.album, file.subtype) == ("drums", "Größe", "FLOAT")
  assert b"IBPM\x04\0\0\x00120\0" in found[b"LIST"]
  # A second at 120 bpm is a loop of two beats in 4/4.
  assert struct.unpack("<IHHfIHHf", found[b"acid"]) == (4, 60, 0x8000, 0, 2, 4, 4, 120)
  write_wav(path, AUDIO, RATE, bpm=97.3)
  flags, *_, beats, _, _, bpm = struct.unpack("<IHHfIHHf", chunks(path)[b"acid"])
  assert (flags, beats, bpm) == (4 | 8, 2, pytest.approx(97.3))  # no loop of whole beats
  write_wav(path, AUDIO, RATE)
  assert list(chunks(path)) == [b"fmt ", b"fact", b"data"]


@pytest.mark.parametrize("samples", [RATE, 1001])
def test_samples_come_back_bit_equal_with_all_that_is_said_of_them(tmp_path, samples):
  path, audio = tmp_path / "x.wav", AUDIO[:samples]
  write_wav(path, audio, RATE, title="odd", bpm=96)
  np.testing.assert_array_equal(read_audio(path, RATE), audio)
  np.testing.assert_array_equal(decode_stretch(path, 0.01, 0.01)[0], audio[441:882])


def test_24_bits_are_rounded_to_the_nearest_and_clipped(tmp_path):
  path = tmp_path / "x.wav"
  write_wav(path, AUDIO[:1001], RATE, bits=24, bpm=96)
  assert soundfile.info(path).subtype == "PCM_24"
  expected = np.clip(AUDIO[:1001], -1, 1 - 2**-23)
  np.testing.assert_allclose(read_audio(path, RATE), expected, rtol=0, atol=2**-24)

"""A thousand damaged files: each is read or refused in a line, and nothing else happens."""

import io
import struct
import tracemalloc
import warnings

import numpy as np
import pytest
import soundfile

from stemphonic_jax.audio.files import decode
from stemphonic_jax.data.sources.entries import Entry, Part
from stemphonic_jax.data.sources.reader import read_entry
from stemphonic_jax.errors import DataError, MissingError

RATE = 44100
COUNT = 1_000
FORMATS = (
  ("wav", "PCM_16", 2),
  ("wav", "PCM_24", 1),
  ("wav", "FLOAT", 2),
  ("rf64", "PCM_16", 2),
  ("flac", "PCM_16", 2),
  ("ogg", "VORBIS", 2),
  ("mp3", "MPEG_LAYER_III", 2),
  ("aiff", "PCM_16", 2),
)


def encoded(kind: str, subtype: str, channels: int, seconds: float = 0.05) -> bytes:
  rng = np.random.default_rng(0)
  audio = 0.1 * rng.standard_normal((round(seconds * RATE), channels))
  file = io.BytesIO()
  soundfile.write(file, audio, RATE, format=kind.upper(), subtype=subtype)
  return file.getvalue()


def flips(rng, data):
  for place in rng.integers(len(data), size=rng.integers(1, 9)):
    data[place] ^= 1 << int(rng.integers(8))


def cut(rng, data):
  del data[int(rng.integers(len(data))) :]


def insertion(rng, data):
  place = int(rng.integers(len(data)))
  data[place:place] = rng.bytes(int(rng.integers(1, 400)))


def removal(rng, data):
  place = int(rng.integers(len(data)))
  del data[place : place + int(rng.integers(1, 400))]


def header(rng, data):
  place = int(rng.integers(64))
  data[place : place + 4] = rng.bytes(4)


def huge_size(rng, data):
  place = int(rng.integers(64))
  size = [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff"][int(rng.integers(3))]
  data[place : place + 4] = size


def swapped_chunks(rng, data):
  a, b = sorted(int(place) for place in rng.integers(len(data), size=2))
  c = b + min(b - a, len(data) - b)
  data[a : a + c - b], data[b:c] = data[b:c], data[a : a + c - b]


def zeros(rng, data):
  place, length = int(rng.integers(len(data))), int(rng.integers(1, 2000))
  data[place : place + length] = bytes(len(data[place : place + length]))


MUTATIONS = (flips, cut, insertion, removal, header, huge_size, swapped_chunks, zeros)


def mutated(seed: int) -> tuple[str, bytes]:
  """File number `seed`: every format meets every mutation, and some meet two."""
  kind = FORMATS[seed % len(FORMATS)]
  rng = np.random.default_rng(seed)
  data = bytearray(encoded(*kind))
  MUTATIONS[seed // len(FORMATS) % len(MUTATIONS)](rng, data)
  if len(data) > 64 and rng.random() < 0.3:
    MUTATIONS[rng.integers(len(MUTATIONS))](rng, data)
  return kind[0], bytes(data)


def outcome(path, name: str) -> str:
  """How reading a file ended: the reason it was refused for, or "" if what came back is audio."""
  entry = Entry(name, (Part("drums", "drums", (path,)),))
  try:
    mix, findings = read_entry(entry, RATE, min_seconds=0.0)
  except (DataError, MissingError) as error:
    return str(error)
  audio = mix.stems["drums"].audio
  assert (audio.dtype, audio.shape[1]) == (np.float32, 2)
  assert np.isfinite(audio).all()
  assert np.isfinite(findings.stems["drums"].dbfs)
  return ""


def test_mutated_files_are_read_or_refused_in_one_line(tmp_path, capfd):
  reasons, taken = set(), 0
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    for seed in range(COUNT):
      kind, data = mutated(seed)
      path = tmp_path / f"{seed}.{kind}"
      path.write_bytes(data)
      reason = outcome(path, f"mix {seed}.")
      path.unlink()
      taken += not reason
      if reason:
        reasons.add(reason.replace(str(path), ""))
        assert "\n" not in reason
        assert len(reason) < 400
        assert str(path) in reason or f"mix {seed}." in reason
  assert capfd.readouterr() == ("", "")  # mpg123 would print, from C
  assert taken > COUNT / 10  # else nothing was tested but the first check
  assert len(reasons) > COUNT / 10


def promising(kind: str) -> bytes:
  """A short file whose header promises as much as its format can say."""
  data = bytearray(encoded(kind, "PCM_16", 2))
  if kind == "flac":  # 36 bits of STREAMINFO
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
  elif kind == "rf64":
    place = data.index(b"ds64") + 8
    data[place : place + 24] = struct.pack("<3Q", 1 << 40, 1 << 40, 1 << 38)
  else:
    place = data.index(b"SSND" if kind == "aiff" else b"data") + 4
    data[place : place + 4] = b"\x7f\xff\xff\xff" if kind == "aiff" else b"\xfe\xff\xff\x7f"
  return bytes(data)


@pytest.mark.parametrize("kind", ["wav", "rf64", "aiff", "flac"])
def test_a_header_that_promises_gigabytes_does_not_get_them(kind, tmp_path):
  path = tmp_path / f"x.{kind}"
  path.write_bytes(promising(kind))
  tracemalloc.start()
  try:
    with pytest.raises(DataError, match="cut off"):
      decode(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize("known", [True, False])
def test_a_small_file_of_hours_of_silence_is_not_decoded_to_its_end(known, tmp_path):
  path = tmp_path / "x.flac"
  soundfile.write(path, np.zeros((60 * 48_000, 1), np.int16), 48_000)
  data = bytearray(path.read_bytes())
  if not known:  # as encoders write it that cannot go back
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert len(decode(path)[0]) == 60 * 48_000
  assert len(data) < 30_000
  with pytest.raises(DataError, match=r"lasts \d+\.\d\d s, at most 10 s fit"):
    decode(path, max_seconds=10.0)

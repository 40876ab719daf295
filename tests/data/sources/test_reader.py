import json
import os
from dataclasses import asdict, replace

import numpy as np
import pytest
import soundfile

from stemphonic_jax.audio import levels, stems_mp4
from stemphonic_jax.audio.files import read_audio, write_wav
from stemphonic_jax.data.sources.entries import Entry, Part
from stemphonic_jax.data.sources.reader import count_clipped, read_entry
from stemphonic_jax.errors import DataError, MissingError

RATE = 8_000
SECONDS = 1.5


def noise(seconds: float = SECONDS, seed: int = 0, channels: int = 2, rate: int = RATE):
  rng = np.random.default_rng(seed)
  return 0.1 * rng.standard_normal((round(seconds * rate), channels)).astype(np.float32)


def entry(**files) -> Entry:
  """A mix whose stems are named after their types, each of one file or of a tuple of them."""
  parts = [
    Part(name, name, paths if isinstance(paths, tuple) else (paths,))
    for name, paths in files.items()
  ]
  return Entry("train/a", tuple(parts), caption="a song", bpm=100.0, notes=("click dropped",))


@pytest.fixture
def save(tmp_path):
  def save(name: str, audio: np.ndarray, rate: int = RATE, **how):
    if how:
      soundfile.write(tmp_path / name, audio, rate, **how)
    else:
      write_wav(tmp_path / name, audio, rate)
    return tmp_path / name

  return save


def test_a_mix_is_what_its_files_hold_and_what_its_entry_says(save):
  drums, keys = noise(seed=1), noise(seed=2)
  found = entry(drums=save("d.wav", drums), keys=save("k.wav", keys))
  labelled = (found.parts[0], replace(found.parts[1], label="grand piano", bleed=True))
  mix, findings = read_entry(replace(found, parts=labelled), RATE)
  assert (mix.id, mix.caption, mix.bpm, mix.rate) == ("train/a", "a song", 100.0, RATE)
  assert [(s.type, s.label, s.bleed) for s in mix.stems.values()] == [
    ("drums", "", False),
    ("keys", "grand piano", True),
  ]
  np.testing.assert_array_equal(mix.stems["drums"].audio, drums)
  np.testing.assert_array_equal(mix.stems["keys"].audio, keys)
  row = findings.stems["keys"]
  assert row.dbfs == pytest.approx(levels.dbfs(keys), abs=0.01)
  assert row.peak_dbfs == pytest.approx(20 * np.log10(np.abs(keys).max()), abs=0.01)
  assert (row.clipped, row.seconds, row.rate, row.channels, row.note) == (0, SECONDS, RATE, 2, "")
  assert findings.notes == ("click dropped",)
  json.dumps(asdict(findings), allow_nan=False)


def test_mono_is_duplicated_and_foreign_rates_are_resampled(save):
  mono = noise(channels=1)
  fast = save("k.wav", noise(rate=48_000), 48_000)
  mix, findings = read_entry(entry(drums=save("d.wav", mono), keys=fast), RATE)
  np.testing.assert_array_equal(mix.stems["drums"].audio, np.repeat(mono, 2, axis=1))
  np.testing.assert_array_equal(mix.stems["keys"].audio, read_audio(fast, RATE))
  assert (findings.stems["drums"].channels, findings.stems["drums"].note) == (1, "mono")
  assert findings.stems["keys"].rate == 48_000
  assert findings.stems["keys"].note == "resampled from 48000 Hz"


@pytest.mark.parametrize(
  ("name", "subtype", "step"),
  [
    ("d.wav", "PCM_U8", 2**-7),
    ("d.wav", "PCM_24", 2**-23),
    ("d.flac", "PCM_16", 2**-15),
    ("d.aiff", "PCM_16", 2**-15),
  ],
)
def test_integers_of_any_width_are_read(name, subtype, step, save):
  mix, _ = read_entry(entry(drums=save(name, noise(), subtype=subtype)), RATE)
  np.testing.assert_allclose(mix.stems["drums"].audio, noise(), atol=1.01 * step)


def test_the_files_of_a_stem_are_summed_and_keep_their_ends(save):
  kick, snare, hat = noise(1.2, 1), noise(1.5, 2), noise(1.0, 3, channels=1)
  files = (save("kick.wav", kick), save("snare.wav", snare), save("hat.wav", hat))
  mix, findings = read_entry(entry(drums=files), RATE)
  expected = snare.copy()
  expected[: len(kick)] += kick
  expected[: len(hat)] += hat
  np.testing.assert_allclose(mix.stems["drums"].audio, expected, atol=1e-7)
  assert findings.stems["drums"].note == "sum of 3 files"
  again, _ = read_entry(entry(drums=files[::-1]), RATE)
  np.testing.assert_allclose(again.stems["drums"].audio, expected, atol=1e-7)


def test_stems_ten_milliseconds_apart_are_padded_at_the_end(save):
  short = save("d.wav", noise(SECONDS - 0.01))
  mix, findings = read_entry(entry(drums=short, keys=save("k.wav", noise(seed=1))), RATE)
  audio = mix.stems["drums"].audio
  assert mix.seconds == SECONDS
  np.testing.assert_array_equal(audio[:-80], noise(SECONDS - 0.01))
  assert not audio[-80:].any()
  assert findings.stems["drums"].seconds == SECONDS - 0.01
  assert findings.stems["drums"].note == "padded by 0.010 s"


def test_stems_ten_seconds_apart_cost_the_mix(save):
  files = {"drums": save("d.wav", noise(11.5)), "keys": save("k.wav", noise(1.5))}
  with pytest.raises(DataError, match=r"train/a: keys lasts 1\.500 s and drums 11\.500 s, .*1 s"):
    read_entry(entry(**files), RATE)
  assert read_entry(entry(**files), RATE, tolerance=10.0)[0].seconds == 11.5
  with pytest.raises(DataError, match="at most 9"):
    read_entry(entry(**files), RATE, tolerance=9.999)


def test_stems_of_a_ragged_entry_are_padded_whatever_the_tolerance(save):
  ragged = entry(drums=save("d.wav", noise(1.5)), keys=save("k.wav", noise(16.5, seed=1)))
  mix, findings = read_entry(replace(ragged, ragged=True), RATE, tolerance=0.0)
  assert mix.seconds == 16.5
  assert not mix.stems["drums"].audio[12_000:].any()
  assert findings.stems["drums"].note == "padded by 15.000 s"


def test_a_silent_stem_is_left_out_whatever_its_length(save):
  hum = np.full((50, 2), 0.000_99, np.float32)  # under -60 dBFS
  files = {"drums": save("d.wav", noise()), "keys": save("k.wav", hum)}
  mix, findings = read_entry(entry(**files), RATE)
  assert list(mix.stems) == list(findings.stems) == ["drums"]
  assert findings.notes == ("click dropped", "keys: silent, left out")
  # It sounds as soon as one sample does.
  hum = np.full((round(SECONDS * RATE), 2), 0.000_99, np.float32)
  hum[7, 1] = -0.001_01
  mix, _ = read_entry(entry(drums=files["drums"], keys=save("k.wav", hum)), RATE)
  assert list(mix.stems) == ["drums", "keys"]
  silent = save("s.wav", np.zeros((RATE, 2), np.float32))
  with pytest.raises(DataError, match="train/a: no stem that sounds, of 2"):
    read_entry(entry(drums=silent, keys=silent), RATE)
  with pytest.raises(DataError, match="no stem that sounds, of 0"):
    read_entry(entry(), RATE)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_clipping_is_counted_in_the_files_and_noted(subtype, save):
  audio = noise()
  audio[100:110, 0] = 1.0
  audio[105:108, 1] = -1.0
  audio[200:202] = 1.0  # a peak that was normalised
  files = (save("a.wav", audio, subtype=subtype), save("b.wav", noise(seed=1)))
  _, findings = read_entry(entry(drums=files), RATE)
  assert findings.stems["drums"].clipped == 13
  assert findings.stems["drums"].note == "sum of 2 files; 13 samples clipped"
  # A sum beyond full scale is not clipped: it is kept in floats.
  loud = np.full((RATE, 2), 0.7, np.float32)
  mix, findings = read_entry(entry(drums=(save("a.wav", loud), save("b.wav", loud))), RATE)
  assert (mix.stems["drums"].audio == np.float32(1.4)).all()
  assert findings.stems["drums"].clipped == 0


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_clipping_of_very_short_audio(samples):
  assert count_clipped(np.ones((samples, 2), np.float32)) == (2 * samples if samples > 2 else 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_numbers_that_are_no_audio_cost_the_mix(bad, save):
  audio = noise()
  audio[1234, 1] = bad
  files = {"drums": save("d.wav", noise()), "keys": save("k.wav", audio)}
  with pytest.raises(DataError, match=r"k\.wav: sample 1234 \(0\.154 s\)"):
    read_entry(entry(**files), RATE)


def test_files_that_cannot_be_used_cost_the_mix_in_one_line(save, tmp_path):
  fine = save("fine.wav", noise())
  save("six.wav", noise(channels=6))
  save("empty.wav", noise(0.0))
  save("cut.wav", noise())
  (tmp_path / "zero.wav").write_bytes(b"")
  (tmp_path / "page.wav").write_text("<html>not found</html>\n" * 100)
  (tmp_path / "folder.wav").mkdir()
  os.mkfifo(tmp_path / "pipe.wav")
  (tmp_path / "dangling.wav").symlink_to(tmp_path / "gone.wav")
  (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
  os.truncate(tmp_path / "cut.wav", 30_000)
  expected = {
    "six.wav": (DataError, "has 6 channels"),
    "empty.wav": (DataError, "holds no samples"),
    "cut.wav": (DataError, "cut off: 30000 bytes"),
    "zero.wav": (DataError, r"is empty \(0 bytes\)"),
    "page.wav": (DataError, "cannot be read as audio"),
    "folder.wav": (DataError, "is not a file"),
    "pipe.wav": (DataError, "is not a file"),
    "dangling.wav": (MissingError, "no such audio file"),
    "loop.wav": (MissingError, "no such audio file"),
    "none.wav": (MissingError, "no such audio file"),
    300 * "x": (DataError, "File name too long"),
  }
  for name, (kind, words) in expected.items():
    with pytest.raises(kind, match=words) as error:
      read_entry(entry(drums=fine, keys=tmp_path / name), RATE)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["d.wav", "d.flac", "d.ogg", "d.mp3", "d.aiff"])
def test_a_stem_that_was_cut_off_anywhere_costs_the_mix(name, save):
  path = save(name, noise(SECONDS, rate=44_100), 44_100, subtype=None)
  whole = path.read_bytes()
  assert read_entry(entry(drums=path), RATE)[0].seconds == pytest.approx(SECONDS)
  for length in np.linspace(0, 0.9 * len(whole), 25).astype(int):
    path.write_bytes(whole[:length])
    with pytest.raises(DataError, match=r"cut off|cannot be read as audio|is empty"):
      read_entry(entry(drums=path), RATE)


def test_a_link_is_read_as_what_it_leads_to(save, tmp_path):
  save("d.wav", noise())
  (tmp_path / "link.wav").symlink_to("d.wav")
  mix, _ = read_entry(entry(drums=tmp_path / "link.wav"), RATE)
  np.testing.assert_array_equal(mix.stems["drums"].audio, noise())


def test_a_file_that_may_not_be_read_costs_the_mix(save, monkeypatch):
  path = save("d.wav", noise())
  path.chmod(0)
  if os.access(path, os.R_OK):  # as root

    def refuse(*args, **kwargs):
      raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
  with pytest.raises(DataError, match=r"d\.wav: cannot be read \(Permission denied\)"):
    read_entry(entry(drums=path), RATE)


def test_mixes_too_short_or_too_long_are_refused(save):
  found = entry(drums=save("d.wav", noise(1.5)))
  with pytest.raises(DataError, match=r"train/a: lasts 1\.500 s, expected at least 2 s"):
    read_entry(found, RATE, min_seconds=2.0)
  with pytest.raises(DataError, match=r"d\.wav: lasts 1\.50 s, at most 1 s fit"):
    read_entry(found, RATE, max_seconds=1.0)


def test_a_stem_without_files_and_an_impossible_tempo_are_refused(save):
  with pytest.raises(DataError, match="train/a: stem 'drums' has no files"):
    read_entry(entry(drums=()), RATE)
  found = entry(drums=save("d.wav", noise()))
  with pytest.raises(DataError, match="bpm 1000"):
    read_entry(replace(found, bpm=1000.0), RATE)


def test_streams_of_a_packed_file_are_stems(tmp_path, monkeypatch):
  def read_stream(path, stream, max_seconds):
    return noise(seed=stream), RATE

  monkeypatch.setattr(stems_mp4, "read_stream", read_stream)
  file = tmp_path / "x.stem.mp4"
  parts = [Part(name, name, (file,), stream=i) for i, name in enumerate(("drums", "basses"), 1)]
  mix, _ = read_entry(Entry("x", tuple(parts)), RATE)
  np.testing.assert_array_equal(mix.stems["drums"].audio, noise(seed=1))
  np.testing.assert_array_equal(mix.stems["basses"].audio, noise(seed=2))


def test_the_same_files_give_the_same_bits(save):
  found = entry(
    drums=(save("a.wav", noise(rate=48_000), 48_000), save("b.wav", noise(seed=1))),
    keys=save("k.mp3", noise(rate=44_100), 44_100, subtype=None),
  )
  (a, rows), (b, again) = read_entry(found, RATE), read_entry(found, RATE)
  assert rows == again
  for name in a.stems:
    np.testing.assert_array_equal(a.stems[name].audio, b.stems[name].audio)

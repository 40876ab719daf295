"""Projects for other programs: valid by the published schema, and in them what was mixed."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemphonic_jax.audio import stems_mp4
from stemphonic_jax.audio.daw import dawproject, project, reaper, stem_file, wavs
from stemphonic_jax.audio.daw.project import Marker, Project, Track

HERE = Path(__file__).parent
RATE = 44_100
KINDS = ("drums", "basses", "vocals", "keys", "guitars")


def tone(number: int, seconds: float = 2.5) -> np.ndarray:
  time = np.arange(round(seconds * RATE)) / RATE
  wave = 0.1 * np.sin(2 * np.pi * 110 * (number + 1) * time)
  return np.stack([wave, wave / 2], axis=1).astype(np.float32)


def song(count: int = 2, bpm: float | None = 120, **first) -> Project:
  tracks = [
    Track(kind, kind, tone(k), "#3b6fb6", **(first if k == 0 else {}))
    for k, kind in enumerate(KINDS[:count])
  ]
  markers = [Marker(0, 'A "quoted"'), Marker(2, "B <it's> \x01")]
  return Project('A <"title"> & more', RATE, bpm, tracks, markers)


@pytest.mark.parametrize("bpm", [120, 96.5, None])
def test_a_dawproject_is_valid_and_holds_the_mixer(bpm):
  etree = pytest.importorskip("lxml.etree", reason="needs lxml, of the extra test")
  given = song(3, bpm, gain=-6.0, pan=-0.5, mute=True)
  files = dict(dawproject.entries(given))
  for name, schema in {"project.xml": "Project.xsd", "metadata.xml": "MetaData.xsd"}.items():
    document = etree.fromstring(files[name])
    etree.XMLSchema(file=HERE / schema).assertValid(document)
  root = etree.fromstring(files["project.xml"])
  assert [track.get("name") for track in root.iter("Track")] == [*KINDS[:3], "Master"]
  first = next(root.iter("Channel"))
  assert float(first.find("Volume").get("value")) == pytest.approx(0.501187, abs=1e-6)
  assert (first.find("Pan").get("value"), first.find("Mute").get("value")) == ("0.250000", "true")
  paths = [file.get("path") for file in root.iter("File")]
  assert paths == [name for name in files if name.endswith(".wav")]
  clip, marker = next(root.iter("Clip")), list(root.iter("Marker"))[1]
  if bpm == 120:  # 2.5 s are five beats, and the second bar is filled up
    assert root.find("Transport/Tempo").get("value") == "120.000000"
    assert (clip.get("duration"), marker.get("time")) == ("8", "4")
  if bpm is None:
    assert (clip.get("duration"), marker.get("time")) == ("2.5", "2")
    assert root.find("Transport") is None


def test_a_reaper_project_closes_what_it_opens_and_names_its_files():
  files = dict(reaper.entries(song(2, pan=0.25, solo=True)))
  (name, *sounds), lines = files, files[next(iter(files))].decode().splitlines()
  assert name == "A title & more.rpp"
  assert sum(line.strip().startswith("<") for line in lines) == sum(
    line.strip() == ">" for line in lines
  )
  assert "  TEMPO 120 4 4" in lines
  assert "  MARKER 1 0 'A \"quoted\"' 0" in lines
  assert "    VOLPAN 1 0.25 -1 -1 1" in lines
  assert "    MUTESOLO 0 1 0" in lines
  assert f"    PEAKCOL {0x1000000 + 0xB66F3B}" in lines  # red is the lowest byte
  assert [f'        FILE "{sound}"' for sound in sounds] == [ln for ln in lines if "FILE" in ln]


def unzipped(given: Project, **options) -> dict[str, np.ndarray]:
  file = io.BytesIO()
  project.write_zip(file, wavs.entries(given, **options))
  with zipfile.ZipFile(file) as archive:
    read = {name: soundfile.read(io.BytesIO(archive.read(name))) for name in archive.namelist()}
  return {name: audio for name, (audio, _) in read.items()}


def test_wavs_are_what_is_heard_or_what_was_made():
  given = song(3, gain=6.0, pan=1.0, mute=True)
  found = unzipped(given)
  assert list(found) == ["basses.wav", "vocals.wav", "mix.wav"]
  assert all(audio.shape == (4 * RATE, 2) for audio in found.values())  # two bars at 120 bpm
  np.testing.assert_array_equal(found["basses.wav"][: len(tone(1))], tone(1))
  assert not found["basses.wav"][len(tone(1)) :].any()
  np.testing.assert_allclose(found["mix.wav"], found["basses.wav"] + found["vocals.wav"], atol=1e-7)
  raw = unzipped(given, raw=True)
  assert list(raw) == ["drums.wav", "basses.wav", "vocals.wav"]
  np.testing.assert_array_equal(raw["drums.wav"][: len(tone(0))], tone(0))
  assert list(unzipped(song(3, solo=True))) == ["drums.wav", "mix.wav"]


def test_24_bit_stems_are_lowered_together_where_one_would_clip():
  loud = song(2, gain=6.0)
  loud.tracks[0].audio[:] *= 8
  found = unzipped(loud, bits=24)
  peak = np.abs(unzipped(loud)["mix.wav"]).max()
  assert peak > 1
  assert np.abs(found["mix.wav"]).max() == pytest.approx(1, abs=1e-6)
  np.testing.assert_allclose(found["basses.wav"] * peak, unzipped(loud)["basses.wav"], atol=1e-5)


def test_gain_and_pan_are_those_of_the_page():
  track = song(1, gain=-6.0206, pan=0.0).tracks[0]
  np.testing.assert_allclose(project.placed(track), tone(0) / 2, atol=1e-6)
  hard = project.placed(song(1, pan=-1.0).tracks[0])
  np.testing.assert_allclose(hard[:, 0], tone(0).sum(axis=1), atol=1e-6)
  np.testing.assert_allclose(hard[:, 1], 0, atol=1e-6)
  half = project.placed(song(1, pan=0.5).tracks[0])  # Web Audio's, for two channels
  np.testing.assert_allclose(half[:, 0], tone(0)[:, 0] * np.sqrt(0.5), atol=1e-6)


@pytest.mark.parametrize("count", [2, 5])
def test_a_stem_mp4_has_a_mix_and_four_parts(tmp_path, count):
  given, path = song(count), tmp_path / "song.stem.mp4"
  stem_file.write(path, given)
  streams = [stems_mp4.read_stream(path, k)[0] for k in range(5)]
  data, place, kind = path.read_bytes(), 0, b""
  about = json.loads(data[data.rindex(b"stem{") + 4 :])
  names = [stem["name"] for stem in about["stems"]]
  assert names == (["drums", "basses", "-", "-"] if count == 2 else list(stem_file.NAMES))
  while place < len(data):  # the new box is counted in those around it
    size, kind = struct.unpack_from(">I4s", data, place)
    place += size
  assert (place, kind) == (len(data), b"moov")
  parts = streams[1] + streams[2] + streams[3] + streams[4]
  middle = slice(RATE // 2, 2 * RATE)
  np.testing.assert_allclose(streams[0][middle], project.mix_of(given)[middle], atol=0.02)
  np.testing.assert_allclose(parts[middle], streams[0][middle], atol=0.02)
  if count == 5:  # keys and guitars are one part
    np.testing.assert_allclose(streams[3][middle], (tone(3) + tone(4))[middle], atol=0.02)

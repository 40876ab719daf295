"""A saved song is handed over as it is mixed; what is no song, or is taken, is said in one line."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from stemphonic_jax.audio.files import read_audio
from stemphonic_jax.errors import DataError, MissingError, OutputError, UsageError
from stemphonic_jax.generation import handover
from stemphonic_jax.generation.mixer import Strip, read_mixer, save_mixer
from stemphonic_jax.generation.sections import sections
from stemphonic_jax.generation.song import Song

RATE = 8_000


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
  """A song of four bars at 120 bpm, of which the bass plays the last two."""
  noise = np.random.default_rng(0).uniform(-0.1, 0.1, (8 * RATE, 2)).astype(np.float32)
  bass = noise.copy()
  bass[: 4 * RATE] = 0
  info = {
    "request": {"prompt": "Slow  dub", "bpm": 120.0},
    "sample_rate": RATE,
    "stems": {name: {"type": name, "given": False} for name in ("drums", "basses")},
  }
  folder = tmp_path_factory.mktemp("songs") / "song"
  Song({"drums": noise, "basses": bass}, RATE, 100, {}, {}, info).save(folder)
  return folder


def test_all_forms_are_beside_the_song_and_nothing_is_replaced(saved):
  for form, name in {"zip": "song.zip", "dawproject": "song.dawproject"}.items():
    found = handover.export(saved, form)
    assert found == saved.parent / name
    before = found.read_bytes()
    with pytest.raises(OutputError, match="already exists; choose another --out"):
      handover.export(saved, form)
    found.unlink()
    assert handover.export(saved, form).read_bytes() == before
  folder = handover.export(saved, "reaper")
  assert sorted(p.name for p in folder.rglob("*.*")) == ["Slow dub.rpp", "basses.wav", "drums.wav"]
  zipped = handover.export(saved, "reaper", saved.parent / "more" / "reaper.zip")
  assert "Slow dub.rpp" in zipfile.ZipFile(zipped).namelist()
  drums = read_audio(folder / "audio" / "drums.wav", RATE)
  np.testing.assert_array_equal(drums, read_audio(saved / "drums.wav", RATE))


def test_the_mixer_of_the_page_is_kept_beside_the_song(saved, tmp_path):
  strips = {"drums": Strip(gain=-12.0, pan=0.5), "basses": Strip(mute=True)}
  save_mixer(saved, strips)
  assert read_mixer(saved) == strips
  with zipfile.ZipFile(handover.export(saved, "zip", tmp_path / "mixed.zip")) as archive:
    assert archive.namelist() == ["drums.wav", "mix.wav"]
  handover.export(saved, "zip", tmp_path / "raw.zip", raw=True)
  assert len(zipfile.ZipFile(tmp_path / "raw.zip").namelist()) == 2
  (saved / "mixer.json").write_text('{"drums": {"gain": 99}}')
  with pytest.raises(DataError, match=r"mixer\.json: is no mixer .*got 99, expected -60 to 6 dB"):
    handover.read_project(saved)
  (saved / "mixer.json").unlink()


def test_a_song_in_six_eight_has_its_bars_in_a_daw(saved, tmp_path):
  song = shutil.copytree(saved, tmp_path / "song")
  info = json.loads((song / "song.json").read_text())
  info["request"] |= {"bpm": 60.0, "metre": "6/8"}  # bars of two seconds, of two beats
  (song / "song.json").write_text(json.dumps(info))
  project = handover.read_project(song)
  assert (project.bar, project.tempo) == (2.0, 90.0)
  assert "  TEMPO 90 6 8\n" in next(handover.entries(project, "reaper"))[1].decode()
  text = next(handover.entries(project, "dawproject"))[1].decode()
  assert 'numerator="6" denominator="8"' in text
  assert 'duration="12"' in text  # in quarters: four bars of three
  info["request"]["metre"] = "6/7"
  (song / "song.json").write_text(json.dumps(info))
  with pytest.raises(DataError, match="a metre of '6/7'"):
    handover.read_project(song)


def test_sections_begin_where_other_stems_play(saved):
  found = handover.read_project(saved)
  assert [(marker.time, marker.name) for marker in found.markers] == [
    (0, "A drums"),
    (4, "B all stems"),
  ]
  one = np.full((10, 2), 0.1, np.float32)  # shorter than a bar
  assert [marker.name for marker in sections({"keys": one}, RATE, None)] == ["A all stems"]


def test_what_is_no_song_is_said_in_one_line(saved, tmp_path):
  with pytest.raises(MissingError, match=r"is not the folder of a song \(it has no song\.json\)"):
    handover.export(tmp_path, "zip")
  info = json.loads((saved / "song.json").read_text())
  wrong = {"sample_rate": 0}, {"sample_rate": 10**40}, {"request": {"prompt": "\ud800", "bpm": 90}}
  contents = [json.dumps(info | part) for part in (*wrong, {"stems": {"keys": {"type": []}}})]
  contents += "{", "[]", '{"stems": {}}', '{"sample_rate": 8000, "request": 3, "stems": {}}'
  for content in contents:
    (tmp_path / "song.json").write_text(content)
    with pytest.raises(DataError, match=r"song\.json: not a song's"):
      handover.export(tmp_path, "zip")
  info["stems"] = {"../../etc/passwd": {"type": "drums"}}
  (tmp_path / "song.json").write_text(json.dumps(info))
  with pytest.raises(UsageError, match="of which no file name can be made"):
    handover.export(tmp_path, "zip")
  assert [path.name for path in tmp_path.iterdir()] == ["song.json"]


def test_options_that_do_not_fit_are_refused(saved):
  for form, options in (("tape", {}), ("reaper", {"raw": True}), ("stem", {"bits": 24})):
    with pytest.raises(UsageError):
      handover.export(saved, form, **options)


@pytest.mark.parametrize(
  ("form", "name"), [("zip", "x.wav"), ("dawproject", "x"), ("stem", "x.mp3"), ("stem", "mp4")]
)
def test_what_its_name_says_it_is_not_is_not_written(saved, form, name):
  out = saved.parent / "named" / name
  with pytest.raises(
    UsageError, match=rf"--out .*{name}: .*expected a name in {handover.FILES[form]}"
  ):
    handover.export(saved, form, out)
  assert not out.parent.exists()

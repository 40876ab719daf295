import contextlib
import sys

import pytest
import yaml

from stemphonic_jax.data.sources import catalogue, midi, slakh
from stemphonic_jax.errors import DataError, MissingError
from tests.data.sources import trees


@pytest.fixture
def root(tmp_path):
  return trees.write_slakh(tmp_path / "root", mixes=1, seconds=0.05)


def edit(root, change):
  """Changes the metadata of the track and scans; what was found of it, or the reason."""
  path = root / "train" / "Track00001" / "metadata.yaml"
  content = yaml.safe_load(path.read_text())
  change(content)
  path.write_text(yaml.safe_dump(content))
  found = slakh.scan(root)
  return found.entries[0] if found.entries else found.rejected["train/Track00001"]


def set_stem(**values):
  return lambda content: content["stems"]["S00"].update(values)


def test_the_splits_without_what_was_omitted(tmp_path):
  root = trees.write_slakh(tmp_path, mixes=4, seconds=0.05)
  assert {entry.id: entry.split for entry in catalogue.scan("slakh", root).entries} == {
    "train/Track00001": "train",
    "train/Track00003": "train",
    "validation/Track00002": "valid",
    "test/Track00004": "test",
  }


def test_stems_with_audio_are_parts_labelled_by_their_program(root):
  (entry,) = catalogue.scan("slakh", root).entries
  assert [(part.name, part.label, part.files[0].name) for part in entry.parts] == [
    ("guitars", "Distortion Guitar", "S00.flac"),
    ("basses", "Fretless Bass", "S01.flac"),
    ("drums", "Drums", "S02.flac"),
    ("guitars 2", "Acoustic Guitar (steel)", "S04.flac"),
    ("strings", "String Ensemble 1", "S05.flac"),
    ("synths", "Pad 2 (warm)", "S07.flac"),
  ]
  assert entry.notes == ("S03: never rendered, left out", "S06: no audio, left out")
  assert entry.bpm == 120.0


@pytest.mark.parametrize(
  ("group", "program", "drums", "expected"),
  [
    ("Chromatic Percussion", "Vibraphone", False, "percussion"),
    ("ORGAN", "Church Organ", False, "keys"),
    ("Strings (continued)", "Choir Aahs", False, "synth-vocals"),
    ("Strings", "Timpani", False, "percussion"),
    ("Reed", "Alto Sax", False, "winds"),
    ("Sound Effects", "FX 1 (rain)", False, "SFX"),
    ("Sound effects", "Applause", False, "SFX"),
    ("Ethnic", "Sitar", False, "guitars"),
    ("Percussive", "Woodblock", False, "percussion"),
    ("Guitar", "Distortion Guitar", True, "drums"),
    ("Theremins", "Theremin", False, "theremins"),
  ],
)
def test_classes_have_types_whatever_their_case(root, group, program, drums, expected):
  change = set_stem(inst_class=group, midi_program_name=program, is_drum=drums)
  entry = edit(root, change)
  assert entry.parts[0].type == expected
  assert ("S00: kept as the free type theremins" in entry.notes) == (expected == "theremins")


def test_baby_slakh_is_wav_without_splits_and_says_nothing_is_rendered(tmp_path):
  trees.write_slakh_track(tmp_path / "Track00001", 0.05, suffix=".wav")
  path = tmp_path / "Track00001" / "metadata.yaml"
  path.write_text(path.read_text().replace("rendered: true", "rendered: false"))
  (entry,) = catalogue.scan("slakh", tmp_path).entries
  assert (entry.id, entry.split, len(entry.parts)) == ("Track00001", "", 6)
  assert "S00: said not to be rendered, but it is there" in entry.notes


@pytest.mark.parametrize(
  ("change", "reason"),
  [
    (lambda content: content.pop("stems"), "stems: is a NoneType, expected a dict"),
    (lambda content: content.update(stems=[1]), "stems: is a list, expected a dict"),
    (lambda content: content.update(stems={1: {}}), "name: is a int, expected a str"),
    (lambda content: content["stems"].update(S01=None), "S01: is a NoneType, expected a dict"),
    (lambda content: content["stems"].update({"../S01": {}}), "is not a plain file name"),
    (lambda content: content.update(stems={}), "no stem has audio"),
  ],
)
def test_a_track_with_malformed_metadata_is_rejected(root, change, reason):
  found = edit(root, change)
  assert isinstance(found, str)
  assert reason in found


@pytest.mark.parametrize(
  "text", ["a: [", "a: 2001-13-45", "!!python/object/apply:os.getcwd []", "- 1", ""]
)
def test_what_is_no_metadata_is_rejected_in_one_line(root, text):
  (root / "train" / "Track00001" / "metadata.yaml").write_text(text)
  (reason,) = slakh.scan(root).rejected.values()
  assert reason.startswith("metadata.yaml: ")
  assert "\n" not in reason


def test_metadata_that_would_fill_the_memory_do_not(root):
  lines = ["a0: &a0 [x, x]"]
  lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
  lines += ["stems:", "  S00: {inst_class: *a39, midi_program_name: *a39, is_drum: *a39}"]
  (root / "train" / "Track00001" / "metadata.yaml").write_text("\n".join(lines))
  (entry,) = slakh.scan(root).entries
  assert [(part.type, part.label) for part in entry.parts] == [("other", "")]


def test_missing_metadata_reject_a_track_and_missing_midi_costs_its_tempo(root):
  folder = root / "train" / "Track00001"
  (folder / "all_src.mid").write_bytes(b"MThd nothing else")
  (entry,) = slakh.scan(root).entries
  assert entry.bpm is None
  assert entry.notes[-1].startswith("no tempo: cannot be read as MIDI")
  (folder / "all_src.mid").unlink()
  assert slakh.scan(root).entries[0].notes[-1].startswith("no tempo: train/Track00001/all_src.mid")
  (folder / "metadata.yaml").unlink()
  assert list(slakh.scan(root).rejected) == ["train/Track00001"]


@pytest.mark.parametrize(
  ("tempi", "expected"),
  [
    ([(120.0, 8)], 120.0),
    ([(60.0, 1), (90.0, 100), (40.0, 8)], 90.0),  # seconds count: 1, 67 and 12 of them
    ([(200.0, 40), (50.0, 20)], 50.0),  # twice the beats, and half the seconds
    ([(100.0, 0), (80.0, 8)], 80.0),  # a tempo that holds for no time at all
  ],
)
def test_the_main_tempo_is_the_median_over_time(tempi, expected, tmp_path):
  trees.write_midi(tmp_path / "x.mid", tempi)
  assert midi.main_tempo(tmp_path / "x.mid") == pytest.approx(expected, rel=1e-5)


def test_a_file_that_names_no_tempo_has_none(root):
  path = root / "train" / "Track00001" / "all_src.mid"
  trees.write_midi(path, [])
  assert midi.main_tempo(path) is None
  assert slakh.scan(root).entries[0].notes[-1] == "no tempo: all_src.mid says none"


def test_a_damaged_midi_file_has_no_traceback(tmp_path):
  trees.write_midi(tmp_path / "whole.mid", [(120.0, 8)])
  whole = (tmp_path / "whole.mid").read_bytes()
  path = tmp_path / "damaged.mid"
  for position in range(len(whole)):
    for damaged in (whole[:position], whole[:position] + b"\xff" + whole[position + 1 :]):
      path.write_bytes(damaged)
      with contextlib.suppress(DataError):  # or else it is read, as something
        tempo = midi.main_tempo(path)
        assert tempo is None or tempo > 0


def test_a_tempo_that_no_music_has_is_none(root):
  trees.write_midi(root / "train" / "Track00001" / "all_src.mid", [(10.0, 8)])
  (entry,) = slakh.scan(root).entries
  assert entry.bpm is None
  assert entry.notes[-1] == "no tempo: all_src.mid says 10"


@pytest.mark.parametrize("module", ["mido", "yaml"])
def test_what_reads_it_is_an_extra(module, root, monkeypatch):
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(MissingError, match=rf'needs {module}.*pip install "stemphonic-jax\[datasets'):
    slakh.scan(root)

import json

import pytest

from stemphonic_jax.data.sources import catalogue, folder
from stemphonic_jax.data.taxonomy import guess_type
from stemphonic_jax.errors import DataError, MissingError
from tests.data.sources import trees


@pytest.fixture
def root(tmp_path):
  return trees.write_folder(tmp_path, seconds=0.05)


def described(root, text):
  """Writes the mix.json of the first mix and scans; what was found of it, or the reason."""
  (root / "mix 00" / "mix.json").write_text(text if isinstance(text, str) else json.dumps(text))
  found = catalogue.scan("folder", root)
  return found.rejected.get("mix 00") or found.entries[0]


def test_names_of_files_are_types_and_labels(root):
  first, second = catalogue.scan("folder", root).entries
  assert [(part.name, part.type, part.label) for part in first.parts] == [
    ("guitars", "guitars", "Gitar 2"),
    ("vocals", "vocals", "Lead Vocal"),
    ("drums", "drums", "drums"),
    ("guitars 2", "guitars", "guitar_1"),
    ("theremin", "theremin", "theremin"),
  ]
  assert first.notes == (
    "mixture.wav: a mix, left out",
    "Gitar 2: taken as guitars",
    "Lead Vocal: taken as vocals",
    "theremin: kept as the free type theremin",
  )
  assert (first.caption, first.genre, first.bpm) == ("", "", None)
  assert (second.caption, second.genre, second.bpm) == ("Slow surf rock.", "surf", 92.5)
  assert second.parts[-1].type == "synths"
  assert not any("theremin" in note for note in second.notes)


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("gitar", "guitars"),
    ("Guitar 2", "guitars"),
    ("02_drums", "drums"),
    ("violins", "strings"),
    ("bas", "basses"),
    ("lead vocal", "vocals"),
    ("Guitar (lead) L", "guitars"),
    ("bass DI", "basses"),
    ("kick drum", "drums"),
    ("theremin", "theremin"),
    ("Theremin 3", "theremin"),
    ("sitar", "sitar"),  # not a guitar that lost a letter
    ("lute", "guitars"),  # and not a flute
    ("bassoon", "winds"),  # and not a bass
    ("vocal fx", "vocal fx"),  # which of both is not for us to say
    ("bass & drums", "bass & drums"),
    ("ситар", "ситар"),
    ("01", "01"),
    ("", "other"),
  ],
)
def test_only_near_misses_are_taken_for_a_type(name, expected):
  assert guess_type(name) == expected


def test_types_may_be_given_with_the_ending_or_without(root):
  types = {"theremin": "Strings", "drums.wav": "hurdy-gurdy", "Gitar 2.flac": "bass"}
  entry = described(root, {"types": types})
  assert {part.label: part.type for part in entry.parts} == {
    "drums": "hurdy gurdy",
    "Gitar 2": "basses",
    "guitar_1": "guitars",
    "Lead Vocal": "vocals",
    "theremin": "strings",
  }


def test_a_stem_in_two_formats_is_one(root):
  trees.tone(root / "mix 00" / "drums.flac", 1, 0.05)
  entry = catalogue.scan("folder", root).entries[0]
  assert [part.files[0].name for part in entry.parts if part.type == "drums"] == ["drums.wav"]
  assert "drums.flac: left out, drums.wav is it" in entry.notes


def test_other_fields_are_noted(root):
  assert "mix.json: 'tempo' ignored" in described(root, {"tempo": 120}).notes


def test_a_caption_is_one_line(root):
  assert described(root, {"caption": " two\nlines\a ", "bpm": None}).caption == "two lines"


@pytest.mark.parametrize(
  ("content", "reason"),
  [
    ("{", "mix 00/mix.json: malformed JSON"),
    ("[]", "mix 00/mix.json: is a list, expected a dict"),
  ],
)
def test_a_malformed_description_costs_its_mix_only(root, content, reason):
  found = described(root, content)
  assert isinstance(found, str)
  assert found.startswith(reason)
  assert [entry.id for entry in folder.scan(root).entries] == ["mix 01"]


@pytest.mark.parametrize(
  ("content", "note"),
  [
    ({"bpm": 1000}, "mix.json: bpm '1000' is no tempo from 20 to 400; left out"),
    ({"bpm": "fast"}, "mix.json: bpm 'fast' is no tempo from 20 to 400; left out"),
    ({"caption": 3}, "mix.json: caption is a int, not a text; left out"),
    ({"genre": {"a": 1}}, "mix.json: genre is a dict, not a text; left out"),
    ({"types": ["a"]}, "mix.json: types is a list, expected a dict; left out"),
    ({"types": {"tuba.wav": "winds"}}, "mix.json: types names 'tuba.wav', which is not there"),
    ({"types": {"../drums.wav": "drums"}}, "mix.json: types names '../drums.wav', which is not"),
    ({"types": {"drums.wav": 3}}, "mix.json: 'drums.wav' cannot be of the type 3; its name counts"),
    ({"types": {"drums.wav": "mix"}}, "mix.json: 'drums.wav' cannot be of the type 'mix'; its"),
  ],
)
def test_no_optional_field_costs_its_mix(root, content, note):
  entry = described(root, content | {"tempo": 1})
  assert len(entry.parts) == 5
  assert any(found.startswith(note) for found in entry.notes)
  assert (entry.caption, entry.genre, entry.bpm) == ("", "", None)


def test_genres_may_be_several_and_a_tempo_a_text(root):
  entry = described(root, {"genre": ["surf", "rock"], "bpm": "92.5 BPM"})
  assert (entry.genre, entry.bpm) == ("surf, rock", 92.5)


def test_names_are_the_same_composed_or_not(root):
  (root / "mix 00" / "drums.wav").rename(root / "mix 00" / "Trömmel.wav")
  entry = described(root, {"types": {"Tr\u00f6mmel.wav": "drums"}})
  assert [(part.type, part.label) for part in entry.parts if "mmel" in part.label] == [
    ("drums", "Tr\u00f6mmel")
  ]
  (root / "mix 00" / "Trömmel.wav").rename(root / "mix 00" / "Tr\u00f6mmel.wav")
  entry = described(root, {"types": {"Tro\u0308mmel": "drums"}})
  assert sum(part.type == "drums" for part in entry.parts) == 1


def test_mixes_of_others_and_other_audio_are_left_out_with_a_note(root):
  for name in ("no_vocals.wav", "Instrumental (no drums).wav"):
    trees.tone(root / "mix 00" / name, 1, 0.05)
  (root / "mix 00" / "bass.m4a").write_bytes(b"")
  (root / "mix 00" / "takes").mkdir()
  trees.tone(root / "mix 00" / "takes" / "one.wav", 1, 0.05)
  entry = described(root, {"types": {"Instrumental (no drums)": "keys"}})
  assert {part.label for part in entry.parts if part.type == "keys"} == {"Instrumental (no drums)"}
  assert {
    "no_vocals.wav: a mix, left out",
    "bass.m4a: m4a is not read, left out; convert it to FLAC",
    "takes: a folder with audio, left out",
  } <= set(entry.notes)
  assert len(entry.parts) == 6


def test_a_caption_may_lie_beside_the_audio(root):
  (root / "mix 00" / "mix 00.caption.txt").write_text("Slow\nsurf.", encoding="utf-8-sig")
  assert described(root, {}).caption == "Slow surf."
  assert described(root, {"caption": "Fast surf."}).caption == "Fast surf."
  (root / "mix 00" / "caption.txt").write_text("Which?")
  entry = described(root, {})
  assert entry.caption == ""
  assert "caption.txt, mix 00.caption.txt: 2 captions of one mix, left out" in entry.notes
  (root / "mix 00" / "caption.txt").unlink()
  (root / "mix 00" / "mix 00.caption.txt").write_bytes("Café".encode("windows-1252"))
  assert "mix 00.caption.txt: not text in UTF-8, but may be" in described(root, {})


def test_what_preparing_left_in_the_root_is_no_mix(root):
  (root / "records" / "train").mkdir(parents=True)
  (root / "records" / ".report").write_text("")
  (root / "held_out").mkdir()
  (root / "held_out" / "index.json").write_text('{\n  "format": "stemphonic_jax records 2",')
  (root / "checked" / ".check").mkdir(parents=True)
  found = catalogue.scan("folder", root)
  assert [entry.id for entry in found.entries] == ["mix 00", "mix 01"]
  assert not found.rejected


def test_a_folder_too_high_or_too_low_is_said_to_be_one(root, caplog):
  above = root.parent / "above"
  above.mkdir()
  root.rename(above / "Album")
  with pytest.raises(DataError) as error:
    catalogue.scan("folder", above)
  assert "no usable mix; the first of 1 rejected is Album: no stems, there are" in str(error.value)
  assert f"to prepare them name {above / 'Album'}, for one of them" in str(error.value)
  with pytest.raises(MissingError, match="is it one mix\\? then name the folder that it is in"):
    catalogue.scan("folder", above / "Album" / "mix 00")
  trees.tone(above / "Album" / "loose.wav", 1, 0.05)
  catalogue.scan("folder", above / "Album")
  assert "1 files are in no folder of a mix: loose.wav" in caplog.text


def test_a_folder_without_stems_is_rejected(root):
  trees.tone(root / "only a mix" / "Master.wav", 1, 0.05)
  (root / "no audio").mkdir()
  (root / "no audio" / "notes.txt").write_text("drums.wav is in the post")
  rejected = catalogue.scan("folder", root).rejected
  assert list(rejected) == ["no audio", "only a mix"]
  assert rejected["no audio"].startswith("no stems, expected audio files such as drums.wav")
  assert rejected["only a mix"] == "no stems, Master.wav: a mix, left out"

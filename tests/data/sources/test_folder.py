import json

import pytest

from stemphonic_jax.data.sources import catalogue, folder
from stemphonic_jax.data.taxonomy import guess_type
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
    ({"bpm": 1000}, "mix.json: bpm 1000, expected 20 to 400"),
    ({"bpm": True}, "mix.json: bpm True, expected 20 to 400"),
    ('{"bpm": NaN}', "mix.json: bpm nan, expected 20 to 400"),
    ({"caption": ["a"]}, "mix.json: caption: is a list, expected a str"),
    ({"types": ["a"]}, "mix.json: types: is a list, expected a dict"),
    ({"types": {"tuba.wav": "winds"}}, "mix.json: types names 'tuba.wav'; stems: Gitar 2, Lead"),
    ({"types": {"../drums.wav": "drums"}}, "mix.json: types: '../drums.wav' is not a plain file"),
    ({"types": {"drums.wav": 3}}, "mix.json: type of drums.wav: is a int, expected a str"),
    ({"types": {"drums.wav": "mix"}}, "mix.json: 'drums.wav' cannot be of the type 'mix'"),
    ({"types": {"drums.wav": " "}}, "mix.json: 'drums.wav' cannot be of the type ''"),
  ],
)
def test_a_malformed_description_costs_its_mix_only(root, content, reason):
  found = described(root, content)
  assert isinstance(found, str)
  assert found.startswith(reason)
  assert [entry.id for entry in folder.scan(root).entries] == ["mix 01"]


def test_a_folder_without_stems_is_rejected(root):
  trees.tone(root / "only a mix" / "Master.wav", 1, 0.05)
  (root / "no audio").mkdir()
  (root / "no audio" / "notes.txt").write_text("drums.wav is in the post")
  rejected = catalogue.scan("folder", root).rejected
  assert list(rejected) == ["no audio", "only a mix"]
  assert all(reason.startswith("no stems; expected audio files") for reason in rejected.values())

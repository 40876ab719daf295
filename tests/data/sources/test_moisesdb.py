import json

import pytest

from stemphonic_jax.data import taxonomy
from stemphonic_jax.data.sources import catalogue, moisesdb
from stemphonic_jax.data.sources.reader import read_entry
from tests.data.sources import trees


@pytest.fixture
def root(tmp_path):
  return trees.write_moisesdb(tmp_path, seconds=0.05)


def song(root):
  return sorted((root / "moisesdb_v0.1").iterdir())[0]


def edit(root, change):
  """Changes the data.json of the first song and scans; what was found of it, or the reason."""
  path = song(root) / "data.json"
  content = json.loads(path.read_text())
  change(content)
  path.write_text(json.dumps(content))
  found = catalogue.scan("moisesdb", root)
  first = f"moisesdb_v0.1/{song(root).name}"
  return found.rejected.get(first) or next(e for e in found.entries if e.id == first)


def test_tracks_are_parts_by_stem_and_type(root):
  entry = catalogue.scan("moisesdb", root).entries[0]
  assert [(part.name, part.type, part.label, len(part.files)) for part in entry.parts] == [
    ("drums", "drums", "kick drum, snare drum, overheads", 3),  # the stem is listed twice
    ("basses", "basses", "bass guitar", 1),
    ("guitars", "guitars", "distorted electric guitar, acoustic guitar", 3),
    ("guitars 2", "guitars", "banjo, mandolin, ukulele, harp etc", 1),
    ("keys", "keys", "grand piano", 1),
    ("keys 2", "keys", "organ, electric organ", 1),
    ("synths", "synths", "synth pad", 1),
    ("vocals", "vocals", "lead female singer", 1),
  ]
  assert [part.name for part in entry.parts if part.bleed] == ["drums"]
  assert entry.notes == (
    "other plucked, maybe a harp: taken as guitars, listen to it",
    "click track dropped",
  )
  assert (entry.genre, entry.split, entry.bpm) == ("rock", "", None)
  assert catalogue.scan("moisesdb", root).entries[1].genre == "singer songwriter"


def test_the_root_may_be_the_provider(root):
  above, below = (catalogue.scan("moisesdb", r) for r in (root, root / "moisesdb_v0.1"))
  assert [entry.id for entry in above.entries] == [f"moisesdb_v0.1/{e.id}" for e in below.entries]
  assert [e.parts for e in above.entries] == [e.parts for e in below.entries]


# Names as they are published, with our types (moisesdb/defaults.py).
@pytest.mark.parametrize(
  ("stem", "track", "expected"),
  [
    ("vocals", "background_vocals", "vocals"),
    ("vocals", "other_(vocoder,_beatboxing_etc)", "synth-vocals"),
    ("bass", "contrabass/double_bass_(bass_of_instrings)", "basses"),
    ("bass", "tuba_(bass_of_brass)", "basses"),
    ("drums", "full_acoustic_drumkit", "drums"),
    ("percussion", "a-tonal_percussion_(claps,_shakers,_congas,_cowbell_etc)", "percussion"),
    ("guitar", "lap_steel_guitar_or_slide_guitar", "guitars"),
    ("other_plucked", "banjo,_mandolin,_ukulele,_harp_etc", "guitars"),
    ("piano", "electric_piano_(rhodes,_wurlitzer,_piano_sound_alike)", "keys"),
    ("other_keys", "organ,_electric_organ", "keys"),
    ("other_keys", "synth_lead", "synths"),
    ("other_keys", "synth_pad", "synths"),
    ("other_keys", "other_sounds_(hapischord,_melotron_etc)", "keys"),
    ("bowed_strings", "cello_(solo)", "strings"),
    ("wind", "brass_(trumpet,_trombone,_french_horn,_brass_etc)", "winds"),
    ("other", "fx/processed_sound,_scratches,_gun_shots,_explosions_etc", "SFX"),
    ("other", "something_else", "other"),
  ],
)
def test_published_names_have_types(stem, track, expected):
  assert moisesdb.type_of(moisesdb.words(stem), moisesdb.words(track)) == expected
  assert expected in (*taxonomy.STEM_TYPES, "other")


def test_an_unknown_stem_is_kept_as_a_free_type(root):
  entry = edit(root, lambda content: content["stems"].append(theremin(root)))
  assert entry.parts[-1].type == "theremin"
  assert "theremin, solo: kept as the free type theremin" in entry.notes


def theremin(root):
  trees.tone(song(root) / "theremin" / "x.wav", 9, 0.05)
  return {"stemName": "theremin", "tracks": [{"id": "x", "trackType": "solo", "extension": "wav"}]}


def set_track(key, value):
  return lambda content: content["stems"][0]["tracks"][0].update({key: value})


@pytest.mark.parametrize(
  ("change", "reason"),
  [
    (lambda content: content.pop("stems"), "data.json: stems: is a NoneType, expected a list"),
    (lambda content: content.update(stems={}), "data.json: stems: is a dict, expected a list"),
    (lambda content: content.update(stems=[]), "data.json: no tracks"),
    (lambda content: content["stems"][0].pop("tracks"), "tracks: is a NoneType, expected a list"),
    (set_track("trackType", None), "trackType: is a NoneType, expected a str"),
    (set_track("id", "../../../etc/passwd"), "is not a plain file name"),
    (set_track("id", "kick\n"), "is not a plain file name"),
    (set_track("id", "absent"), "drums/absent.wav: no such file"),
    (lambda content: content["stems"][0].update(stemName=".."), "'..' is not a plain file name"),
  ],
)
def test_a_song_with_malformed_data_is_rejected(root, change, reason):
  found = edit(root, change)
  assert isinstance(found, str)
  assert reason in found
  assert "\n" not in found


def test_a_song_without_data_is_rejected_and_the_rest_is_read(root):
  (song(root) / "data.json").unlink()
  found = catalogue.scan("moisesdb", root)
  assert len(found.entries) == 1
  assert list(found.rejected.values()) == [
    f"moisesdb_v0.1/{song(root).name}/data.json: no such file; copy or unpack it again"
  ]


def test_a_track_that_is_listed_twice_is_summed_once(root):
  entry = edit(root, lambda content: content["stems"].append(content["stems"][0]))
  assert len(entry.parts[0].files) == 3


def test_tracks_that_end_seconds_apart_are_padded(root):
  trees.tone(song(root) / "late" / "x.wav", 9, 2.0)
  late = theremin(root) | {"stemName": "late"}
  entry = edit(root, lambda content: content["stems"].append(late))
  mix, _ = read_entry(entry, 44_100)
  assert mix.seconds == 2.0

import json
import os
import shutil
import unicodedata
from functools import partial

import pytest

from stemphonic_jax.audio import files
from stemphonic_jax.data.sources import catalogue, folder, tree
from stemphonic_jax.data.sources.catalogue import Part
from stemphonic_jax.data.sources.entries import MAX_REASON, named
from stemphonic_jax.errors import DataError, MissingError, UsageError
from tests.data.sources import trees

WRITERS = {name: getattr(trees, f"write_{name}") for name in catalogue.SOURCES}


@pytest.mark.parametrize("source", catalogue.SOURCES)
def test_every_source_finds_mixes_that_keep_the_rules(source, tmp_path):
  root = WRITERS[source](tmp_path / "root", seconds=0.05)
  found = catalogue.scan(source, root)
  assert found.source == source
  assert found.licence
  assert found.entries
  assert found.rejected == {}
  assert len({entry.id for entry in found.entries}) == len(found.entries)
  for entry in found.entries:
    assert len({part.name for part in entry.parts}) == len(entry.parts)
    assert entry.split in ("train", "valid", "test", "")
    files = [file for part in entry.parts for file in part.files]
    assert len(set(files)) == len(files)
    assert all(file.is_file() and file.is_relative_to(root) for file in files)
  assert catalogue.scan(source, str(root)) == found


@pytest.mark.parametrize("source", catalogue.SOURCES)
def test_a_root_in_another_layout_says_what_is_expected(source, tmp_path):
  (tmp_path / "README.txt").write_text("nothing here")
  with pytest.raises(MissingError, match="expected") as error:
    catalogue.scan(source, tmp_path)
  assert "\n" not in str(error.value)
  with pytest.raises(MissingError, match="no such folder"):
    catalogue.scan(source, tmp_path / "absent")
  with pytest.raises(MissingError, match="not a folder"):
    catalogue.scan(source, tmp_path / "README.txt")


def test_an_unknown_source_names_the_nearest():
  with pytest.raises(UsageError, match="did you mean 'slakh'\\? sources: musdb, moisesdb, slakh"):
    catalogue.scan("slack", ".")


def test_no_usable_mix_names_the_first_reason(tmp_path):
  (tmp_path / "one").mkdir()
  (tmp_path / "two").mkdir()
  with pytest.raises(DataError, match="no usable mix; the first of 2 rejected is one: no stems"):
    catalogue.scan("folder", tmp_path)


def test_links_out_of_the_root_are_not_followed(tmp_path):
  root = trees.write_folder(tmp_path / "root", mixes=2, seconds=0.05)
  trees.tone(tmp_path / "secret" / "drums.wav", 1, 0.05)
  (root / "mix 00" / "bass.wav").symlink_to(tmp_path / "secret" / "drums.wav")
  (root / "away").symlink_to(tmp_path / "secret")
  (root / "again").symlink_to(root / "mix 01")  # a link within the root is as good as a copy
  (root / "circle").symlink_to(root / "circle")
  found = catalogue.scan("folder", root)
  assert [entry.id for entry in found.entries] == ["again", "mix 01"]
  assert set(found.rejected) == {"mix 00", "away"}
  assert found.rejected["mix 00"].startswith("mix 00/bass.wav: leads out of")
  songs = catalogue.scan("mixes", root)
  assert set(songs.rejected) == {"mix 00/bass.wav"}
  assert not any(entry.id.startswith(("again", "away")) for entry in songs.entries)


def test_names_of_every_kind_give_safe_ids(tmp_path):
  long = "long " * 40
  accents = unicodedata.normalize("NFD", "Café")
  for name in (long, accents, "bell\a\nrings", "日本の歌"):
    trees.tone(tmp_path / name / "drums.wav", 1, 0.05)
  ids = [entry.id for entry in catalogue.scan("folder", tmp_path).entries]
  assert len(set(ids)) == 4
  assert all(name.isprintable() and len(name.encode()) <= tree.MAX_ID for name in ids)
  assert {"Café", "日本の歌"} <= set(ids)
  assert any(name.startswith("bell__rings-") for name in ids)
  assert any(name.startswith("long long") for name in ids)


def test_names_spelled_alike_in_other_bytes_stay_apart(tmp_path):
  for form in ("NFC", "NFD"):
    trees.tone(tmp_path / unicodedata.normalize(form, "Café") / "drums.wav", 1, 0.05)
  if len(list(tmp_path.iterdir())) == 1:
    pytest.skip("this file system holds them for one")
  ids = [entry.id for entry in catalogue.scan("folder", tmp_path).entries]
  assert len(set(ids)) == 2


def test_names_that_are_not_text_at_all(tmp_path):
  strange = os.fsencode(tmp_path) + b"/mix \xff\xfe"
  try:
    os.mkdir(strange)
  except OSError:
    pytest.skip("this file system has no such names")
  trees.tone(tmp_path / "mix" / "drums.wav", 1, 0.05)
  shutil.copy(os.fsencode(tmp_path / "mix" / "drums.wav"), strange)
  found = catalogue.scan("folder", tmp_path)
  assert [entry.id for entry in found.entries] == ["mix"]
  ((name, reason),) = found.rejected.items()
  assert name.startswith("mix __-")
  assert "its name is not in UTF-8; rename it" in reason
  (name + reason).encode()  # fit to be written down


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "a\\b", "a\0", "a\nb"])
def test_names_out_of_files_are_plain(name):
  with pytest.raises(DataError, match="not a plain file name"):
    tree.file_name(name, "data.json")


@pytest.mark.parametrize(
  ("content", "reason"),
  [
    (b"", "malformed JSON"),
    (b"{", "malformed JSON"),
    (b"[1]", "is a list, expected a dict"),
    (b"\xff\xfe{\0}\0", "not text in UTF-8, but is in UTF-16; save it as UTF-8"),
    (b'{"caption":\n"it\x92s"}', "may be in Windows-1252, in which 0x92 in line 2 is ’"),
    (b"[" * 100_000, "nested too deeply"),
  ],
)
def test_malformed_json_is_one_line(content, reason, tmp_path):
  (tmp_path / "mix.json").write_bytes(content)
  with pytest.raises(DataError, match=f"^mix.json: .*{reason}") as error:
    tree.read_json(tmp_path / "mix.json", tmp_path)
  assert "\n" not in str(error.value)


def test_a_huge_text_is_not_read(tmp_path):
  with (tmp_path / "mix.json").open("wb") as file:
    file.truncate(tree.MAX_TEXT + 1)
  with pytest.raises(DataError, match="expected a short text"):
    tree.read_json(tmp_path / "mix.json", tmp_path)


def test_a_reason_is_short_whatever_it_quotes(tmp_path):
  root = trees.write_folder(tmp_path, mixes=1, seconds=0.05)
  (root / "mix 00" / "mix.json").write_text(json.dumps({"types": {"x" * 10_000: "drums"}}))
  assert max(map(len, folder.scan(root).entries[0].notes)) == MAX_REASON
  (root / "mix 00" / "mix.json").unlink()
  (root / "mix 00" / "mix.json").symlink_to("x" * 200)
  for path in (root / "mix 00").iterdir():
    path.rename(path.with_name(f"{'y' * 200}.{path.name[:20]}.m4a"))
  assert len(folder.scan(root).rejected["mix 00"]) == MAX_REASON


def test_what_systems_leave_behind_is_not_there(tmp_path):
  root = trees.write_mixes(tmp_path, seconds=0.05)
  count = len(catalogue.scan("mixes", root).entries)
  for name in (".Trash/a.wav", "lost+found/b.wav", "__MACOSX/c.wav", "album 0/._song 00.wav"):
    trees.tone(root / name, 1, 0.05)
  assert len(catalogue.scan("mixes", root).entries) == count


def test_parts_of_one_type_are_numbered():
  part = partial(Part, "", files=())
  found = named([part("guitars"), part("drums"), part("guitars"), part("guitars 2"), part("drums")])
  assert [part.name for part in found] == [
    "guitars",
    "drums",
    "guitars 2",
    "guitars 2 2",
    "drums 2",
  ]


def test_mixes_take_their_captions_from_beside_them(tmp_path):
  root = trees.write_mixes(tmp_path, seconds=0.05)
  first, second, third = catalogue.scan("mixes", root).entries
  assert first.id == "album 0/song 00.wav"
  assert (first.caption, first.genre, first.bpm) == ("A waltz.", "waltz", 180.0)
  assert (second.caption, second.bpm) == ("A slow march.", None)
  assert third.caption == ""
  assert [(part.name, part.type, part.label) for part in third.parts] == [("mix", "mix", "song 02")]
  (root / "album 0" / "song 00.json").write_text('{"bpm": "fast", "tempo": 90}')
  (root / "album 0" / "song 00.caption.txt").write_text("Not a waltz.")
  first = catalogue.scan("mixes", root).entries[0]
  assert (first.caption, first.bpm) == ("Not a waltz.", None)
  assert first.notes == (
    "song 00.json: 'tempo' ignored",
    "song 00.json: bpm 'fast' is no tempo from 20 to 400; left out",
  )


def test_every_ending_of_audio_is_read_and_other_audio_is_said(tmp_path, caplog):
  root = trees.write_mixes(tmp_path / "music", mixes=1, seconds=0.05)
  song = root / "album 0" / "song 00.wav"
  for ending in files.ENDINGS:
    (root / f"x{ending.upper()}").write_bytes(song.read_bytes())
  (root / "y.m4a").write_bytes(b"ftyp")
  names = {entry.id for entry in catalogue.scan("mixes", root).entries}
  assert names == {"album 0/song 00.wav", *(f"x{ending.upper()}" for ending in files.ENDINGS)}
  assert {".wave", ".aifc", ".oga", ".opus"} <= set(files.ENDINGS)
  assert (
    "1 files of other audio; y.m4a: m4a is not read, left out; convert it to FLAC" in caplog.text
  )
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "y.WMA").write_bytes(b"")
  with pytest.raises(MissingError, match=r"holds no audio; y\.WMA: WMA is not read"):
    catalogue.scan("mixes", tmp_path / "other")


@pytest.mark.parametrize(
  ("value", "bpm"),
  [
    (92.5, 92.5),
    ("120", 120.0),
    (" 120 BPM", 120.0),
    ("92,5", 92.5),
    ("ca. 128bpm", 128.0),
    (0, None),
    ("0", None),
    ("fast", None),
    ("4/4", None),
    (1000, None),
    (True, None),
    (float("nan"), None),
    ([120], None),
  ],
)
def test_a_tempo_is_a_number_or_a_text_that_says_one(value, bpm):
  assert tree.tempo(value) == bpm
  notes = []
  assert tree.description({"bpm": value}, "mix.json", notes)["bpm"] == bpm
  assert bool(notes) == (bpm is None)


def test_a_root_that_is_not_named_is_not_the_folder_we_are_in(tmp_path, monkeypatch):
  trees.write_folder(tmp_path / "music", mixes=1, seconds=1.0)
  monkeypatch.chdir(tmp_path / "music")
  with pytest.raises(UsageError, match=r"its root is not named; name the folder"):
    catalogue.scan("folder", "")
  assert catalogue.scan("folder", ".").entries

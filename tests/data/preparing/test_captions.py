"""Captions: from a file, from the data set, or made of what is known."""

import pytest

from stemphonic_jax.data.preparing import captions
from stemphonic_jax.errors import DataError, MissingError


@pytest.mark.parametrize(
  ("known", "caption"),
  [
    (
      ("Pop", ["drums", "basses", "vocals"], 119.6),
      "Pop music with drums, basses and vocals at 120 BPM",
    ),
    (("", ["drums", "basses"], None), "Music with drums and basses"),
    ((" hip hop ", ["keys", "keys"], None), "Hip hop music with keys"),
    (("", [], None), "Music"),
    (("pop", ["mix"], 120.0), "Pop music at 120 BPM"),
    (("", ["other", "drums"], None), "Music with drums"),
  ],
)  # fmt: skip
def test_the_template_says_what_is_known(known, caption):
  assert captions.template(*known) == caption


def test_a_file_goes_before_the_data_set_and_both_before_the_template():
  known = "Rock", ["drums"], 100.0
  told = {"a": "from the file"}
  assert captions.describe("a", "given", *known, told) == ("from the file", "file")
  assert captions.describe("b", " given\n words ", *known, told) == ("given words", "given")
  expected = ("Rock music with drums at 100 BPM", "template")
  assert captions.describe("b", " ", *known, told) == expected


def test_a_file_of_captions_is_read(tmp_path):
  path = tmp_path / "captions.jsonl"
  path.write_text(
    '{"id": "a", "caption": "warm  soul\\n", "model": "x"}\n\n{"id": "é", "caption": "ü"}\n'
  )
  assert captions.read_captions(path) == {"a": "warm soul", "é": "ü"}


@pytest.mark.parametrize(
  "line",
  ["{", "[]", '"a"', '{"id": "a"}', '{"id": 3, "caption": "b"}', '{"id": "a", "caption": " "}',
   "[" * 100_000, '{"id": "a", "caption": "\\ud800"}'],
)  # fmt: skip
def test_a_wrong_line_is_named(tmp_path, line):
  path = tmp_path / "captions.jsonl"
  path.write_text('{"id": "a", "caption": "b"}\n' + line)
  with pytest.raises(DataError, match=r"captions\.jsonl: line 2 is not"):
    captions.read_captions(path)


def test_what_is_too_long_or_not_there_is_named(tmp_path):
  with pytest.raises(MissingError, match="no such file of captions"):
    captions.read_captions(tmp_path / "none")
  path = tmp_path / "captions.jsonl"
  path.write_text('{"id": "a", "caption": "' + "b" * 5_000 + '"}')
  with pytest.raises(DataError, match="5000 characters, expected at most 4000"):
    captions.read_captions(path)


def test_captions_in_another_encoding_are_refused_with_a_guess(tmp_path):
  path = tmp_path / "captions.jsonl"
  line = '{"id": "a", "caption": "it’s"}\n'
  path.write_text(line, encoding="utf-8-sig")
  assert captions.read_captions(path) == {"a": "it’s"}
  path.write_bytes(b"\n" + line.encode("windows-1252"))
  with pytest.raises(DataError, match=r"Windows-1252, in which 0x92 in line 2 is ’; save it as UT"):
    captions.read_captions(path)
  path.write_text(line, encoding="utf-16")
  with pytest.raises(DataError, match=r"jsonl: not text in UTF-8, but is in UTF-16; save it as UT"):
    captions.read_captions(path)


def test_no_caption_is_dropped_for_another_in_silence(tmp_path):
  path = tmp_path / "captions.jsonl"
  path.write_text('{"id": "a", "caption": "b"}\n' * 2)
  assert captions.read_captions(path) == {"a": "b"}
  path.write_text('{"id": "a", "caption": "b"}\n{"id": "a", "caption": "c"}')
  with pytest.raises(DataError, match="line 2 has a second caption for 'a'; keep one"):
    captions.read_captions(path)
  path.write_text("\n")
  with pytest.raises(DataError, match="holds no captions"):
    captions.read_captions(path)


def test_ids_of_captions_are_those_of_the_set_composed_or_not(tmp_path, caplog):
  path = tmp_path / "captions.jsonl"
  path.write_text(
    '{"id": "e\u0301", "caption": "b"}\n{"id": "mix/1", "caption": "c"}', encoding="utf-8"
  )
  found = captions.read_captions(path)
  captions.check_ids(path, found, ["\u00e9", "mix/1", "mix/2"])
  assert not caplog.text
  captions.check_ids(path, found, ["\u00e9", "mix/2"])
  assert "1 of 2 ids are no mixes of this set: 'mix/1'; its ids are as 'mix/2'" in caplog.text
  with pytest.raises(DataError, match=r"2 of 2 ids are no mixes of this set: 'mix/1', 'é'; its id"):
    captions.check_ids(path, found, ["train/mix 1"])

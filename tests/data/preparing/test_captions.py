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

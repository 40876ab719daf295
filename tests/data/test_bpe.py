"""Byte pairs as RoBERTa reads them; the same ids as the peer's are in tests/parity/test_clap.py."""

import json

import pytest

from stemphonic_jax.data.bpe import LETTERS, BytePairs, words
from stemphonic_jax.errors import DataError
from tests.weights import judges


def test_texts_are_cut_into_words_that_make_them_up():
  assert list(words("Don't stop,  it's 4/4\n")) == [
    "Don", "'t", " stop", ",", " ", " it", "'s", " 4", "/", "4", "\n"
  ]  # fmt: skip
  # Numbers and spaces are Unicode's: a half and a Roman four are numbers, U+001C is no space.
  assert list(words("½Ⅳ é\x1c\u3000x")) == ["½Ⅳ", " é", "\x1c", "\u3000", "x"]
  assert list(words("")) == []


def test_pairs_are_joined_in_the_order_they_were_learnt_in(tmp_path):
  judges.save_tokenizer(tmp_path)
  tokenizer = BytePairs.load(tmp_path)
  ids = {piece: i for piece, i in json.loads((tmp_path / "vocab.json").read_text()).items()}
  tokens, mask = tokenizer.encode(["drdr the", "", "d" * 50], 12)
  pieces = ["<s>", "dr", "dr", "Ġt", "h", "e", "</s>"]
  assert tokens[0].tolist() == [ids[piece] for piece in pieces] + [1] * 5
  assert tokens[1].tolist() == [0, 2] + [1] * 10
  assert tokens[2].tolist() == [0] + [ids["d"]] * 10 + [2]
  assert mask.sum(axis=1).tolist() == [7, 2, 12]
  assert len(tokenizer) == 262


def test_other_files_are_refused_in_one_line(tmp_path):
  judges.save_tokenizer(tmp_path)
  vocabulary = json.loads((tmp_path / "vocab.json").read_text())
  (tmp_path / "merges.txt").unlink()
  path = tmp_path / "tokenizer.json"
  model = {"type": "BPE", "vocab": vocabulary, "merges": [["d", "r"], "Ġ t"]}
  path.write_text(json.dumps({"model": model}))
  assert len(BytePairs.load(tmp_path)) == 262
  byte = LETTERS[0]
  for content, message in (
    ("{", "not JSON"),
    ("[]", "expected a JSON object"),
    ({"model": {"type": "Unigram"}}, "is no tokenizer of byte pairs"),
    ({"model": model | {"vocab": [1]}}, "has no vocabulary"),
    ({"model": model | {"vocab": vocabulary | {"a": -1}}}, "has no vocabulary"),
    ({"model": model | {"vocab": {k: v for k, v in vocabulary.items() if k != byte}}}, "lacks 'Ā'"),
    ({"model": model | {"merges": [["d", "d"]]}}, "is no pair of its vocabulary; copy it again"),
    ({"model": model | {"merges": [1]}}, "is no pair"),
    ({"model": model | {"merges": 7}}, "None is no pair"),
  ):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
      BytePairs.load(tmp_path)
    assert "\n" not in str(caught.value)

"""The tokenizer: T5's layout of ids, deterministic training, nothing unknown."""

from __future__ import annotations

import io

import pytest
import sentencepiece
from absl import logging

from stemphonic_jax.data.batching.prompts import stem_prompt
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.errors import DataError, MissingError, UsageError

CAPTIONS = [f"{mood} {style}" for mood in ("Tight", "Warm") for style in ("funk", "café jazz")]
TEXTS = [stem_prompt(kind, caption, ("drums",)) for kind in STEM_TYPES for caption in CAPTIONS]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  return Tokenizer.train(TEXTS, tmp_path_factory.mktemp("text") / "tokens.model", 400)


def test_training_twice_gives_the_same_file_and_loading_gives_the_same_ids(tokenizer, tmp_path):
  path = tmp_path / "deep" / "tokens.model"
  assert Tokenizer.train(iter(TEXTS), path, 400).model == tokenizer.model == path.read_bytes()
  assert [p.name for p in path.parent.iterdir()] == ["tokens.model"]
  loaded = Tokenizer.load(path)
  assert (loaded.encode(TEXTS, 32)[0] == tokenizer.encode(TEXTS, 32)[0]).all()
  assert 256 < len(loaded) <= 400


def test_a_row_is_ids_then_the_end_then_padding(tokenizer):
  tokens, mask = tokenizer.encode([TEXTS[0], ""], 128)
  length = int(mask[0].sum())
  assert tokens.shape == mask.shape == (2, 128)
  assert (str(tokens.dtype), str(mask.dtype)) == ("int32", "bool")
  assert tokens[0, length - 1] == 1
  assert 1 < length < 128
  assert mask[0, :length].all()
  assert (tokens[0, : length - 1] > 2).all()
  assert not tokens[0, length:].any()
  assert tokens[1].tolist() == [1] + [0] * 127
  assert mask[1].tolist() == [True] + [False] * 127
  assert tokens.max() < len(tokenizer)


@pytest.mark.parametrize("text", [TEXTS[5], "drums & basses ♯♭", "静かな夜", "ROCK 🎸"])
def test_no_text_is_unknown_and_decoding_gives_it_back(tokenizer, text):
  tokens, _ = tokenizer.encode([text], 128)
  assert 2 not in tokens
  assert tokenizer.decode(tokens[0]) == text


def test_a_text_that_is_too_long_keeps_its_end_and_is_reported(tokenizer, monkeypatch):
  reports = []
  monkeypatch.setattr(
    logging, "log_every_n_seconds", lambda level, message, n, *args: reports.append(message % args)
  )
  whole, _ = tokenizer.encode(TEXTS[:1], 128)
  assert reports == []
  tokens, mask = tokenizer.encode(TEXTS[:1], 8)
  assert tokens[0].tolist() == [*whole[0, :7], 1]
  assert mask.all()
  assert reports == [f"text of {(whole > 0).sum()} tokens cut to 8: {TEXTS[0][:60]}..."]


def test_a_text_longer_than_a_line_is_trained_on_too(tmp_path):
  texts = [" ".join(f"word{i}" for i in range(2000))]
  tokenizer = Tokenizer.train(texts, tmp_path / "m", 400)
  assert len(tokenizer.encode(["word1"], 8)[0][0].nonzero()[0]) < 6


def test_training_that_cannot_work_says_why(tmp_path):
  with pytest.raises(UsageError, match="no texts"):
    Tokenizer.train(["", ""], tmp_path / "m", 400)
  with pytest.raises(UsageError, match="of 100 pieces: Vocabulary size is smaller"):
    Tokenizer.train(TEXTS, tmp_path / "m", 100)
  assert not list(tmp_path.iterdir())


def test_missing_and_foreign_models_are_named(tmp_path):
  with pytest.raises(MissingError, match="no such sentencepiece model"):
    Tokenizer.load(tmp_path / "m")
  (tmp_path / "m").write_bytes(b"RIFF")
  with pytest.raises(DataError, match="not a sentencepiece model"):
    Tokenizer.load(tmp_path / "m")
  other = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS), model_writer=other, vocab_size=60, minloglevel=2
  )
  (tmp_path / "m").write_bytes(other.getvalue())
  with pytest.raises(DataError, match=r"pad, end, unknown are \(-1, 2, 0\), expected \(0, 1, 2\)"):
    Tokenizer.load(tmp_path / "m")

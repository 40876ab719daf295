"""Keys in texts: many spellings, one name, and no key where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from stemphonic_jax.data.keys import KEYS, in_one_spelling
from stemphonic_jax.data.sources.demo.captions import key_words
from stemphonic_jax.data.sources.demo.facts import table
from stemphonic_jax.data.sources.demo.theory import Key
from stemphonic_jax.data.tokenizer import Tokenizer

ALL = [Key(tonic, mode) for tonic in range(12) for mode in ("major", "minor")]


@pytest.mark.parametrize(
  ("written", "read"),
  [
    ("calm in g-flat maj.", "calm in Gb major."),
    ("F♯ MINOR", "Gb minor"),
    ("Gbm, slow", "Gb minor, slow"),
    ("in Am", "in A minor"),
    ("in Em with drums, Am - G", "in E minor with drums, A minor - G"),
    ("A minor key ballad", "a minor key ballad"),  # may be one of sadness
    ("A minority, in F minor", "a minority, in F minor"),
    ("en la mayor con guitarra", "en A major con guitarra"),
    ("lo-fi, a minor, slow", "lo-fi, A minor, slow"),
    ("G sharp minor", "Ab minor"),
    ("fis-Moll und B-Dur, H-Moll, As-Dur", "Gb minor und Bb major, B minor, Ab major"),
    ("en fa dièse mineur", "en Gb minor"),
    ("la bemolle maggiore", "Ab major"),
    ("Em ré menor", "Em D minor"),
    ("ля-бемоль минор", "Ab minor"),
    ("平静的降D大调钢琴", "平静的 Db major 钢琴"),
    ("嬰ヘ短調", "Gb minor"),
    ("ハ長調の曲", "C major の曲"),
  ],
)
def test_a_key_is_read_in_any_spelling(written, read):
  assert in_one_spelling(written) == read
  assert in_one_spelling(read) == read


@pytest.mark.parametrize(
  "text",
  [
    *("a minor key change", "with a major drop", "in a minor-key mood", "in a major way", "in G"),
    *(
      "I Am happy",
      "Here I Am.",
      "hard minor",
      "Cmaj7 chords",
      "EBM with drums",
      "dark ebm, 120 bpm",
    ),
    *("of a minority", "la mayor parte de la cancion", "do maior sucesso", "mi mayor inspiracion"),
  ],
)
def test_what_names_no_key_stays(text):
  assert in_one_spelling(text) == text


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.name)
def test_each_way_in_which_the_corpus_writes_a_key_is_its_name(key):
  rng = np.random.default_rng(0)
  written = {f"slow, {key_words(key, rng)}" for _ in range(60)}
  if key.tonic == 9:  # "A minor key" may be one of sadness
    written = {text for text in written if not text.endswith(" key")}
  said = {in_one_spelling(text).removesuffix(" key").replace("key of ", "") for text in written}
  assert len(written) >= 5
  assert said == {f"slow, {key.name}"}
  for language in table("languages").values():
    text = language["key"][key.mode].format(language["tonics"][key.tonic])
    assert in_one_spelling(text) == key.name


def test_a_key_is_one_piece_of_a_tokenizer_that_is_trained_here(tmp_path):
  tokenizer = Tokenizer.train(["slow in f# minor", "Waltz, Bbm"] * 9, tmp_path / "m", 400)
  tokens, _ = tokenizer.encode(["slow in F# minor", "slow in gbm", "slow in fis-moll"], 16)
  assert (tokens == tokens[0]).all()
  pieces = {tokenizer.encode([key], 4)[0][0, 0] for key in KEYS}
  assert len(pieces) == 24
  assert all(tokenizer.decode([piece]) in KEYS for piece in pieces)

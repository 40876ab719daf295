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
    # Chinese, with the sign on either side
    *((text, "Bb major") for text in ("Bb大调", "bB大调", "♭B大调", "B♭大調")),
    *(
      (text, "Gb minor") for text in ("#F小调", "F#小调", "F＃マイナー", "F♯\u2011moll", "F#-Moll")
    ),
    *((text, "Eb major") for text in ("bE大调", "降E大调", "Es-Dur", "Eb-Dur")),
    *((text, "Db minor") for text in ("C♯小调", "Cシャープマイナー")),
    # any blank or hyphen, any language
    *((f"A{gap}minor", "A minor") for gap in ("  ", "\u00a0", "\t", "\n", "\u2011")),
    *(
      (text, "A minor") for text in ("A mineur", "A минор", "A 小调", "Ａ小调", "ля-минорный", "Am")
    ),
    *(("en C majeur", "en C major"), ("em A menor", "em A minor"), ("Amの曲", "A minor の曲")),
    *(("re\u0301 mineur", "D minor"), ("Bb-Dur", "Bb major"), ("Ab-Dur", "Ab major")),
    # within a sentence; "Em 120 bpm" is Portuguese
    *(("lo-fi beat Am 90 bpm", "lo-fi beat A minor 90 bpm"), ("Am, 90 bpm", "A minor, 90 bpm")),
    *(
      ("techno, 130 bpm, Am", "techno, 130 bpm, A minor"),
      ("I want it in Am", "I want it in A minor"),
    ),
    # before an adjective, a hyphen or "key"
    ("em lá menor triste", "em A minor triste"),
    ("Bossa em Lá menor suave", "Bossa em A minor suave"),
    ("en mi menor triste con guitarra", "en E minor triste con guitarra"),
    ("Balada en La menor lenta", "Balada en A minor lenta"),
    ("Bolero en Do mayor alegre", "Bolero en C major alegre"),
    ("rock la maggiore pieno di speranza", "rock A major pieno di speranza"),
    ("pop mi mineur avec batterie", "pop E minor avec batterie"),
    *(("C-Moll-Sinfonie", "C minor-Sinfonie"), ("A-Dur-Konzert", "A major-Konzert")),
    *(("A minor-key ballad", "A minor-key ballad"), ("Am-F-C-G", "A minor-F-C-G")),
    *((f"in the {a} minor key", "in the A minor key") for a in "aA"),
    *(("in the A minor scale", "in the A minor scale"), ("in A Minor Key", "in A minor Key")),
    *(
      ("key of a minor waltz", "key of A minor waltz"),
      ("a minor with drums", "A minor with drums"),
    ),
    *(("a major\ndisco", "A major\ndisco"), ("Ebmin", "Eb minor"), ("F#min", "Gb minor")),
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
    *("Samba lento. Em 120 bpm", "Em 4/4, alegre", "Em 1985 o forró", "Am 24. Dezember"),
    *("This Is Who I Really Am", "Idi Amin", "in the style of Amin Bouhafa", "DJ Emin"),
    *("a major influence on jazz", "theme of a major film", "in a major city", "- a major hit"),
    *("sound of a minor chord", "sound of a minor 7th", "a minor mood", "a minor setback"),
    *("What do minor chords do?", "artists who do major tours", "A maior banda", "Tracey Emin"),
    *("la maggiore parte", "la minor parte", "en la mayor de las ciudades", "es mi mayor"),
    *("la mayor y más bella", "en la mayor parte"),
  ],
)
def test_what_names_no_key_stays(text):
  assert in_one_spelling(text) == text


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.name)
def test_each_way_in_which_the_corpus_writes_a_key_is_its_name(key):
  rng = np.random.default_rng(0)
  written = {f"slow, {key_words(key, rng)}" for _ in range(60)}
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

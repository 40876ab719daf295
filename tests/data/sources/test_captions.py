"""Captions are read back: every word of the tables that one holds has to be true of its piece."""

import itertools
import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.sources.demo import captions, facts
from stemphonic_jax.data.sources.demo.arranger import compose
from stemphonic_jax.data.sources.demo.styles import Groove
from stemphonic_jax.data.sources.demo.styles_of_version_2 import STYLES_TWO as STYLES
from stemphonic_jax.data.sources.demo.theory import TONICS, Key
from stemphonic_jax.data.sources.demo.triple import COMMONS
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import UsageError

WORDS, LANGUAGES = facts.table("words"), facts.table("languages")
KEY = re.compile(r"\b([A-G])([#b♯♭]?)(?:[ -]?(major|minor|maj|min|m)\b)")
BPM = re.compile(r"\b(\d{2,3}) ?(?:bpm|beats)|(?:bpm:?|tempo) (\d{2,3})\b(?! bass)", re.IGNORECASE)
NO = "|".join(language["without"] for language in LANGUAGES.values())
NEGATED = re.compile(
  rf"(?:\bno|\bwithout any|\bwithout|\bleave out the|\bminus the|(?<!\w)(?:{NO})) ([^,.;:!?|/\n]+)"
)


@pytest.fixture(scope="module")
def pieces():
  return [compose(0, index, 24.0) for index in range(100)]


def holds(row, piece):
  """Whether a row of moods or tempi is true of a piece."""
  low, high = row.get("bpm", (row.get("above", 0), row.get("below", 999)))
  return (
    piece.style in row.get("styles", [piece.style])
    and piece.key.mode == row.get("mode", piece.key.mode)
    and low <= piece.bpm < high
  )


def trait(name, piece):
  types = {part.type for part in piece.parts.values()}
  plays = " ".join(part.plays.name for part in piece.parts.values())
  return {
    "swung": piece.swing >= 0.2,
    "straight": piece.swing == 0,
    "instrumental": not types & {"vocals", "synth-vocals"},
    "sung": "vocals" in types,
    "small": len(piece.parts) <= 3,
    "large": len(piece.parts) >= 7,
    "acoustic": not types & {"synths", "SFX"} and not re.search("synth|electr|sub bass", plays),
    "electronic": bool(types & {"synths", "synth-vocals"}),
  }[name]


def plays(name, piece):
  return any(part.plays.name == name for part in piece.parts.values())


def has(kind, piece):
  return any(part.type == kind for part in piece.parts.values())


def statements():
  """Every phrase of the tables, and what it says: functions of a piece, one of which is to hold."""
  found = defaultdict(list)

  def add(phrase, says, *given):
    found[phrase.lower()].append(lambda piece: says(*given, piece))

  for style, phrases in WORDS["styles"].items():
    for phrase in (style, *phrases):
      add(phrase, lambda style, piece: piece.style == style, style)
  for table in ("moods", "tempi"):
    for row in WORDS[table]:
      for phrase in row["words"]:
        add(phrase, holds, row)
      for language in LANGUAGES.values():
        if foreign := language[table].get(row["words"][0]):
          add(foreign, holds, row)
  for metre, phrases in WORDS["metres"].items():
    for phrase in phrases:
      add(phrase, lambda metre, piece: piece.metre == metre, metre)
  for name, phrases in WORDS["traits"].items():
    for phrase in phrases:
      add(phrase, trait, name)
  for kind, phrases in WORDS["types"].items():
    for phrase in phrases:
      add(phrase.removeprefix("a "), has, kind)
  for name, row in WORDS["plays"].items():
    for phrase in (name, *row["names"]):
      for said in (phrase, *(f"{sound} {phrase}" for sound in row["sound"])):
        add(said.removeprefix("a "), plays, name)
  every = (*COMMONS.values(), *(style.parts for style in STYLES.values()))
  grooves = (row for parts in every for row in parts.values())
  for groove in {p.name for row in grooves for p in row if isinstance(p, Groove)}:
    add(groove, plays, groove)
    if groove.endswith("drums"):  # "jazz", "drums", where nothing is between tags
      add(groove, has, "drums")
  for language in LANGUAGES.values():
    for style, phrase in language["styles"].items():
      add(phrase, lambda style, piece: piece.style == style, style)
    for kind, phrase in language["types"].items():
      add(phrase, has, kind)
    for name, phrase in language["plays"].items():
      add(phrase, plays, name)
    for mode, form in language["key"].items():
      for tonic, phrase in enumerate(language["tonics"]):
        add(form.format(phrase), lambda key, piece: piece.key == key, Key(tonic, mode))
  return dict(found)


SAYS = statements()
LETTER = "[A-Za-zÀ-ɏЀ-ӿ0-9]"  # that a word could go on with; not of Chinese or Japanese
PHRASE = re.compile(
  "|".join(
    re.escape(phrase)
    if ord(phrase[0]) > 0x3000
    else rf"(?<!{LETTER}){re.escape(phrase)}(?!{LETTER})"
    for phrase in sorted(SAYS, key=len, reverse=True)
  )
)


def check(text, piece):
  """How many statements a caption makes; AssertionError for one that is not true."""
  count = 0
  for found in KEY.finditer(text):
    letter, sign, mode = found.groups()
    tonic = TONICS.index(letter) + {"#": 1, "♯": 1, "b": -1, "♭": -1}.get(sign, 0)
    key = Key(tonic % 12, "minor" if mode in ("minor", "min", "m") else "major")
    assert key == piece.key, (text, found.group())
    count += 1
  for found in BPM.findall(text):
    assert float("".join(found)) == piece.bpm, (text, found)
    count += 1
  small = re.sub(r"\bno swing\b", "a straight feel", text.lower())
  for found in PHRASE.findall(NEGATED.sub(" ", small)):
    assert any(says(piece) for says in SAYS[found]), (text, found)
    count += 1
  for words in NEGATED.findall(small):
    for found in PHRASE.findall(words):
      assert not any(says(piece) for says in SAYS[found]), (text, "no " + found)
      count += 1
  return count


def test_what_a_caption_says_is_true_of_the_piece(pieces):
  counts = []
  for piece in pieces:
    found, rng = facts.facts_of(piece), np.random.default_rng(piece.index)
    texts = [captions.plain(found, rng), *(captions.write(found, rng) for _ in range(8))]
    counts += [check(text, piece) for text in texts]
  assert np.mean(counts) > 4
  assert counts.count(0) < 0.05 * len(counts)


def test_the_reader_knows_what_is_not_true(pieces):
  """So that the test above cannot pass by not reading."""
  wrong = 0
  for piece, other in itertools.pairwise(pieces):
    try:
      check(captions.plain(facts.facts_of(piece), np.random.default_rng(0)), other)
    except AssertionError:
      wrong += 1
  assert wrong > 0.97 * (len(pieces) - 1)


def test_what_says_nothing_of_the_music_has_no_word_that_does():
  for name, phrases in WORDS["frames"].items():
    for phrase in phrases:
      for word in PHRASE.findall(phrase.replace("{}", "").lower()):
        raise AssertionError((name, phrase, word))
  assert len(WORDS["frames"]["fillers"]) >= 40


def test_captions_are_as_long_and_as_different_as_people_make_them(pieces):
  texts = [text for piece in pieces for text in captions.captions_of(piece)]
  lengths = np.array([len(text.split()) for text in texts])
  assert lengths.min() <= 1
  assert 40 < lengths.max() <= captions.LONGEST + 6  # and strangers
  assert len(set(texts)) > 0.9 * len(texts)
  assert 0.1 < np.mean([not text.isascii() for text in texts]) < 0.35
  keys = [bool(KEY.search(text)) for text in texts]
  assert 0.4 < np.mean(keys) < 0.75
  assert all(text == " ".join(text.split(" ")).strip() for text in texts)
  plain = [captions.captions_of(piece)[0] for piece in pieces[:40]]
  assert all(p.key.name in text for p, text in zip(pieces[:40], plain, strict=True))


def test_slips_leave_numbers_and_keys_alone():
  rng, text = np.random.default_rng(0), "Melancholic ballad in Bb minor at 72 bpm with violin, 3/4"
  typed = [captions.blur(text, rng) for _ in range(300)]
  assert all(re.search("bb minor.* 72 .*3/4", t.lower(), re.DOTALL) for t in typed if len(t) < 60)
  assert 30 < sum(t.lower() != text.lower() for t in typed) < 120
  assert max(Counter(typed).values()) < 250


def test_words_of_a_stem_are_those_of_what_it_plays(pieces):
  said = Counter()
  for piece in pieces:
    for (name, words), player in zip(
      captions.words_of(piece).items(), facts.facts_of(piece).players, strict=True
    ):
      assert piece.parts[name].type == player.type
      left = words
      for known in sorted((*player.names, *player.sound, *player.playing), key=len, reverse=True):
        left = re.sub(rf"(?<!\w){known.removeprefix('a ')}(?!\w)", "", left)
      assert not left.strip(" ,"), (words, left)
      said[bool(words)] += 1
  assert 0.9 < said[True] / said.total() <= 1.0


def test_how_a_line_is_played_is_what_its_notes_do(pieces):
  seen = Counter()
  for piece in pieces:
    for part in piece.parts.values():
      if part.plays.name not in WORDS["plays"] or part.type == "SFX":
        continue
      told = set(facts.playing_of(part, piece))
      seen.update(told)
      sizes = [len(note.pitches) for note in part.notes]
      if told & {"melody", "arpeggio", "picked", "walking"}:
        assert max(sizes) == 1
      if told & {"held", "stabs", "chords", "strummed", "power chords"}:
        assert min(sizes) > 1
      if "held" in told:
        bar = 60 / piece.bpm * (2 if piece.metre == "6/8" else int(piece.metre[0]))
        assert np.mean([note.length for note in part.notes]) > bar / 2
      assert not {"sparse", "busy"} <= told
  assert len(seen) >= 12


def test_every_name_in_the_tables_is_of_something(pieces):
  played = {p.plays.name for piece in pieces for p in piece.parts.values()}
  lines = {name for name in played if not name.endswith("drums")}
  every = (*COMMONS.values(), *(style.parts for style in STYLES.values()))
  stock = (plays for parts in every for row in parts.values() for plays in row)
  assert lines <= WORDS["plays"].keys() | {p.name for p in stock if isinstance(p, Groove)}
  assert WORDS["styles"].keys() == set(STYLES)
  assert WORDS["types"].keys() == set(STEM_TYPES)
  moods = {row["words"][0] for row in WORDS["moods"]}
  tempi = {row["words"][0] for row in WORDS["tempi"]}
  for language in LANGUAGES.values():
    assert language["moods"].keys() <= moods
    assert language["tempi"].keys() <= tempi
    assert language["plays"].keys() <= WORDS["plays"].keys()
    assert language["types"].keys() <= set(STEM_TYPES)
    assert language["styles"].keys() <= set(STYLES)
    assert len(language["tonics"]) == 12


def test_the_second_edition_has_words_and_the_first_is_as_it_was():
  first, second = (demo.piece(3, 5, 2.0, 8000, edition=demo.Edition(v)) for v in (1, 2))
  assert (first.captions, {stem.words for stem in first.stems.values()}) == ((), {""})
  assert len(second.captions) == captions.COUNT - 1
  assert any(stem.words for stem in second.stems.values())
  with pytest.raises(UsageError, match=r"data\.corpus: got 3, expected one of 1, 2"):
    demo.Edition(3)

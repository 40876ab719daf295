"""Captions as people write them: nothing to five sentences, in any order and in nine languages.

Whatever they say of the music is true of the piece (facts.py); the rest says nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stemphonic_jax.data.sources.demo.composer import Piece
from stemphonic_jax.data.sources.demo.facts import Facts, Player, facts_of, table
from stemphonic_jax.data.sources.demo.theory import TONICS, Key

COUNT = 8  # captions of a piece, the plain one among them
LONGEST = 58  # words, of some 80 tokens
# Shares of the kinds of captions, and of what is said in them.
KINDS = {"tags": 24, "phrase": 28, "request": 12, "sentences": 22, "word": 4, "foreign": 9, "": 1}
SAID = {"style": 0.85, "mood": 0.6, "tempo": 0.45, "key": 0.62, "bpm": 0.25, "parts": 0.65}
SAID |= {"without": 0.15, "trait": 0.25}
METRE = {"4/4": 0.08, "3/4": 0.6, "6/8": 0.6}  # how often a metre is said
BLURRED = {"typos": 0.12, "lower": 0.3, "upper": 0.02, "strangers": 0.14, "bare": 0.2}
SHARPS = dict(zip(("Db", "Eb", "Gb", "Ab", "Bb"), ("C#", "D#", "F#", "G#", "A#"), strict=True))
SENTENCES = {"mood": "moods", "tempo": "tempi"}  # of their own, in the table
ADJECTIVE = 3  # words that stand before a noun have at most so many parts
SYLLABLES = ("ka", "lo", "mir", "ven", "zu", "thra", "pel", "ogg", "shi", "dun", "ex", "qua", "bry")
SCRIPTS = (0x3B1, 25), (0x430, 32), (0x3042, 60), (0x4E00, 400), (0x1F600, 60), (0x5D0, 27)


def captions_of(piece: Piece) -> tuple[str, ...]:
  """The captions of a piece: a plain one first, then such as people write; some may be equal."""
  facts, rng = facts_of(piece), np.random.default_rng([piece.seed, piece.index, 2])
  return (plain(facts, rng), *(blur(write(facts, rng), rng) for _ in range(COUNT - 1)))


def words_of(piece: Piece) -> dict[str, str]:
  """A few words for each stem: what plays, how it sounds, how it is played; or none."""
  players, rng = facts_of(piece).players, np.random.default_rng([piece.seed, piece.index, 3])
  return {name: _stem_words(player, rng) for name, player in zip(piece.parts, players, strict=True)}


def _stem_words(player: Player, rng: np.random.Generator) -> str:
  name = [_one(player.names, rng).removeprefix("a ")] if rng.random() < 0.5 else []
  sound = [word for word in _some(player.sound, 2, rng) if not name or word[:6] not in name[0]]
  playing = _some(player.playing, 2, rng)
  if name and sound and rng.random() < 0.6:  # "warm bass guitar"
    name = [f"{sound.pop()} {name[0]}"]
  said = list(dict.fromkeys([*name, *sound, *playing]))[: int(rng.integers(1, 4))]
  return (", " if rng.random() < 0.7 else " ").join(_shuffled(said, rng))


def plain(facts: Facts, rng: np.random.Generator) -> str:
  """Style, mood, tempo, key and all that plays, as the table has their first words."""
  mood = _one(_one(facts.moods, rng), rng) if facts.moods else ""
  style, tempo = facts.style, facts.tempi[0][0]
  metre = "" if facts.metre == "4/4" else f" in {facts.metre}"
  parts = _listed(list(dict.fromkeys(player.plays for player in facts.players)), "and")
  first = " ".join(filter(None, (mood, tempo, style)))
  heads = (
    f"{first}{metre} in {facts.key.name} with {parts}",
    f"{first}{metre} in {facts.key.name}, featuring {parts}",
    ", ".join(filter(None, (f"{style}{metre}", mood, tempo, facts.key.name))) + f": {parts}",
    " ".join(filter(None, (mood, style))) + f"{metre} with {parts}, {tempo}, in {facts.key.name}",
  )
  text = heads[int(rng.integers(len(heads)))]
  return text[0].upper() + text[1:]


def write(facts: Facts, rng: np.random.Generator) -> str:
  """One caption, as somebody writes it who makes no mistakes."""
  kind = str(rng.choice(list(KINDS), p=np.array([*KINDS.values()]) / sum(KINDS.values())))
  if kind == "foreign":
    return _foreign(facts, rng)
  if not kind:
    return ""
  said = _say(facts, rng)
  if kind == "word":
    true = [words for name, words in said.items() if words and name != "without"]
    return _one(_one(true or [[facts.style]], rng), rng)
  if kind == "tags":
    return _tags(said, rng)
  frames = table("words")["frames"]
  if kind == "phrase":
    return _capital(_head(said, rng), rng)
  if kind == "request":
    text = _one(frames["requests"], rng).format(_head(said, rng, article=0.8))
    return _capital(text + (f" {_one(frames['purposes'], rng)}" if rng.random() < 0.4 else ""), rng)
  return _sentences(said, rng)


def _say(facts: Facts, rng: np.random.Generator) -> dict[str, list[str]]:
  """What is said of a piece by kind, each in words that are drawn; most is left out."""
  words = table("words")
  told = {name: rng.random() < share for name, share in SAID.items()}
  said: dict[str, list[str]] = dict.fromkeys((*SAID, "metre"), ())
  if told["style"]:
    said["style"] = [facts.style if rng.random() < 0.4 else _one(words["styles"][facts.style], rng)]
  if told["mood"]:
    said["mood"] = [_one(group, rng) for group in _some(facts.moods, 2, rng)]
  if told["tempo"]:
    said["tempo"] = [_one(_one(facts.tempi, rng), rng)]
  if told["key"]:
    said["key"] = [key_words(facts.key, rng)]
  if told["bpm"]:
    said["bpm"] = [_one(words["frames"]["bpms"], rng).format(round(facts.bpm))]
  if told["parts"]:
    said["parts"] = _instruments(facts, rng)
  if told["without"]:
    absent = [_one(words["types"][kind], rng) for kind in _some(facts.absent, 2, rng)]
    said["without"] = [word.removeprefix("a ") for word in absent]
  if told["trait"] and facts.traits:
    said["trait"] = [_one(words["traits"][_one(facts.traits, rng)], rng)]
  if rng.random() < METRE[facts.metre]:
    said["metre"] = [_one(words["metres"][facts.metre], rng)]
  return said


def _instruments(facts: Facts, rng: np.random.Generator) -> list[str]:
  """Some of what plays, by name or by type, some of it with how it sounds."""
  found = []
  for player in _some(facts.players, 5, rng):
    if rng.random() < 0.2:
      found.append(_one(table("words")["types"][player.type], rng))
      continue
    name = _one(player.names, rng)
    if player.sound and rng.random() < 0.3 and not name.startswith("a "):
      sound = _one(player.sound, rng)
      name = name if sound[:6] in name else f"{sound} {name}"
    found.append(name)
  return list(dict.fromkeys(found))


def key_words(key: Key, rng: np.random.Generator) -> str:
  """A key in one of its spellings: mostly "F# minor", now and then "Gbm" or "key of G♭ minor"."""
  tonic = TONICS[key.tonic]
  tonic = SHARPS.get(tonic, tonic) if rng.random() < 0.5 else tonic
  if rng.random() < 0.7:
    return f"{tonic} {key.mode}"
  sign = tonic.replace("b", "♭").replace("#", "♯")
  short = f"{tonic}m" if key.mode == "minor" else f"{tonic}maj"
  forms = (f"{tonic}-{key.mode}", f"{sign} {key.mode}", short, f"{tonic} {key.mode[:3]}",
           f"key of {tonic} {key.mode}", f"{tonic} {key.mode} key")  # fmt: skip
  return forms[int(rng.integers(len(forms)))]


def _tags(said: dict[str, Sequence[str]], rng: np.random.Generator) -> str:
  """Everything in any order, with tags that say nothing among it."""
  frames = table("words")["frames"]
  found = [word for name, words in said.items() if name != "without" for word in words]
  found += _some(frames["tags"], 3, rng) if rng.random() < 0.35 else []
  between = _one((", ", ", ", ", ", " / ", " | ", ",", "; ", " ", "\n"), rng)
  if between not in (" ", "\n"):
    found += [f"{_one(frames['without'][:2], rng)} {word}" for word in said["without"]]
  return between.join(_shuffled(found, rng))


def _head(said: dict[str, Sequence[str]], rng: np.random.Generator, article: float = 0.3) -> str:
  """A noun with all that is said before and after it: "slow dreamy ambient in D minor"."""
  frames = table("words")["frames"]
  short, long = [], []
  for word in (*said["mood"], *said["tempo"], *said["trait"]):
    fits = " " not in word and not word.startswith("with")
    (short if fits and len(short) < ADJECTIVE else long).append(word)
  noun = _one(said["style"], rng) if said["style"] else _one(frames["nouns"], rng)
  if said["style"] and rng.random() < 0.3 and noun.split()[-1] not in (*frames["nouns"], "music"):
    noun = f"{noun} {_one(frames['nouns'], rng)}"
  text = " ".join([*_shuffled(short, rng), noun])
  if rng.random() < article:
    text = f"{'an' if text[0].lower() in 'aeiou' else 'a'} {text}"
  after = [f"in {'the ' if word.startswith('key') else ''}{word}" for word in said["key"]]
  after += [f"{'with' if word.startswith('a ') else 'in'} {word}" for word in said["metre"]]
  after += [word if word.startswith("at ") else f"at {word}" for word in said["bpm"]]
  if said["parts"]:
    after.append(f"{_one(frames['with'], rng)} {_listed(said['parts'], 'and')}")
  text = " ".join([text, *_shuffled(after, rng)])
  text = ", ".join([text, *_shuffled(long, rng)])
  if said["without"]:
    text += (
      f"{_one((',', ''), rng)} {_one(frames['without'], rng)} {_listed(said['without'], 'or')}"
    )
  return text


def _sentences(said: dict[str, Sequence[str]], rng: np.random.Generator) -> str:
  """Two to five sentences: what is said stands in the first or in one of its own."""
  frames = table("words")["frames"]
  later = {name for name in said if name != "style" and rng.random() < 0.5}
  first = _head({name: () if name in later else words for name, words in said.items()}, rng, 0.6)
  more = []
  for name in _shuffled(sorted(later), rng):
    words = said[name]
    if not words:
      continue
    if name == "parts":
      more.append(f"{_one(frames['more'], rng)} {_listed(words, 'and')}.")
    elif name in SENTENCES:
      more.append(_one(frames[SENTENCES[name]], rng).format(_listed(words, "and")))
    elif name in ("key", "metre"):
      more.append(f"{_one(('It is in', 'In', 'Written in', 'Played in'), rng)} {words[0]}.")
    elif name == "without":
      more.append(f"{_one(frames['without'], rng)} {_listed(words, 'or')}.")
    else:
      more.append(f"{words[0]}.")
  fillers = _some(frames["fillers"], 3, rng) if rng.random() < 0.7 else []
  found = [_upper(sentence) for sentence in [*more, *fillers]]
  found.insert(int(rng.integers(len(found) + 1)) if rng.random() < 0.4 else 0, f"{_upper(first)}.")
  while len(" ".join(found).split()) > LONGEST:
    found.pop()
  return " ".join(found)


def _foreign(facts: Facts, rng: np.random.Generator) -> str:
  """The same in another language, as far as it has words for it."""
  language = _one(list(table("languages").values()), rng)
  told = {name: rng.random() < share for name, share in SAID.items()}
  moods = [language["moods"].get(group[0]) for group in facts.moods]
  tempi = [language["tempi"].get(group[0]) for group in facts.tempi]
  said = [language["styles"].get(facts.style, facts.style)] if told["style"] else []
  said += _some([*filter(None, moods)], 2, rng) if told["mood"] else []
  said += _some([*filter(None, tempi)], 1, rng) if told["tempo"] else []
  mode, tonic = language["key"][facts.key.mode], language["tonics"][facts.key.tonic]
  said += [mode.format(tonic)] if told["key"] else []
  said += [_one(language["bpm"], rng).format(round(facts.bpm))] if told["bpm"] else []
  said += [facts.metre] if rng.random() < METRE[facts.metre] else []
  text = _one((", ", ", ", " "), rng).join(_shuffled(said, rng))
  if rng.random() < 0.4 and text:
    text = _one(language["frames"], rng).format(text)
  names = [language["plays"].get(p.plays) or language["types"].get(p.type) for p in facts.players]
  names = _some(list(dict.fromkeys(filter(None, names))), 4, rng) if told["parts"] else []
  if names:
    text = f"{text} {language['with']} {_listed(names, language['and'])}"
  absent = [language["types"][kind] for kind in facts.absent if kind in language["types"]]
  if told["without"] and absent:
    text = f"{text}, {language['without']} {_one(absent, rng)}"
  return text.strip(" ,")


def blur(text: str, rng: np.random.Generator) -> str:
  """The same as it is typed: slips, small letters, words that nobody knows. Numbers stay."""
  does = {name: rng.random() < share for name, share in BLURRED.items()}
  words = text.split(" ")
  if does["typos"]:
    for place in _some(range(len(words)), 3, rng):
      words[place] = _mistyped(words[place], rng)
  if does["strangers"]:
    for _ in range(int(rng.integers(1, 5))):
      words.insert(int(rng.integers(len(words) + 1)), _stranger(rng))
  text = " ".join(words).strip()
  if does["bare"]:
    text = text.rstrip(".!?")
  return text.lower() if does["lower"] else text.upper() if does["upper"] else text


def _mistyped(word: str, rng: np.random.Generator) -> str:
  """A word with two letters swapped, one left out or one twice; short words and keys stay."""
  if len(word) < 5 or not word.isascii() or not word.isalpha() or word in ("minor", "major"):
    return word
  place = int(rng.integers(1, len(word) - 1))
  first, second, rest = word[:place], word[place], word[place + 1 :]
  changed = (first + rest, first + second * 2 + rest, first + rest[0] + second + rest[1:])
  return changed[int(rng.integers(3))]


def _stranger(rng: np.random.Generator) -> str:
  """A word of no meaning, in any script."""
  if rng.random() < 0.75:
    word = "".join(_one(SYLLABLES, rng) for _ in range(int(rng.integers(2, 5))))
    return word.capitalize() if rng.random() < 0.4 else word
  first, count = SCRIPTS[int(rng.integers(len(SCRIPTS)))]
  return "".join(chr(first + int(rng.integers(count))) for _ in range(int(rng.integers(1, 6))))


def _one(found: Sequence, rng: np.random.Generator):
  return found[int(rng.integers(len(found)))]


def _some(found: Sequence, most: int, rng: np.random.Generator) -> list:
  """One to `most` of what there is, in random order."""
  count = min(int(rng.integers(1, most + 1)), len(found))
  return [found[int(k)] for k in rng.permutation(len(found))[:count]]


def _shuffled(found: Sequence, rng: np.random.Generator) -> list:
  return [found[int(k)] for k in rng.permutation(len(found))]


def _listed(words: Sequence[str], last: str) -> str:
  """ "a, b and c"."""
  return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _upper(text: str) -> str:
  return text[:1].upper() + text[1:]


def _capital(text: str, rng: np.random.Generator) -> str:
  """As a sentence, or as it is."""
  text = _upper(text) if rng.random() < 0.6 else text
  return text + "." if rng.random() < 0.3 and text[-1:] not in "?." else text

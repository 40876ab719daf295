"""Musical keys in texts: many spellings of 24 names.

A corpus says each of them rarely, and less so where "F# minor", "Gbm", "fis-Moll" and "fa dièse
mineur" are four. A tokenizer that has a piece for each name (tokenizer.py) reads them all as one.
"""

from __future__ import annotations

import re
import unicodedata

TONICS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
MODES = ("major", "minor")
KEYS = tuple(f"{tonic} {mode}" for tonic in TONICS for mode in MODES)

# Pitch classes of the letters, German (H is B) and sung names, the Russian and the Japanese ones.
LETTERS = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
GERMAN = LETTERS | {"B": 10, "H": 11}
SUNG = {"do": 0, "dó": 0, "ut": 0, "re": 2, "ré": 2, "mi": 4, "fa": 5, "fá": 5, "sol": 7}
SUNG |= {"la": 9, "lá": 9, "si": 11}
SUNG |= {"до": 0, "ре": 2, "ми": 4, "фа": 5, "соль": 7, "ля": 9, "си": 11}
IROHA = dict(zip("ハニホヘトイロ", (0, 2, 4, 5, 7, 9, 11), strict=True))
SHARP = "#", "♯", "sharp", "is", "dièse", "diese", "diesis", "sostenido", "sustenido", "диез"
SHARP += "嬰", "升", "シャープ"
MAJOR = "maj", "dur", "may", "mag", "mai", "маж", "長", "大", "メ"  # how the words for it begin

_GAP = r"(?:\s+|[-‐])"
_START, _END = r"(?<![^\Wぁ-鿿])(?<![#♯♭])", r"(?![^\Wぁ-鿿])"  # Chinese has no spaces
_SIGN = rf"(?P<sign>[#♯b♭]|{_GAP}?(?:sharp|flat))?"
_ALTERED = "bémol|bemolle|bemol|dièse|diesis|diese|sostenido|sustenido|бемоль|диез|[#♯b♭]"
_ASIAN = r"\s*(?P<mode>[小大][调調]|マイナー|メジャー|[短長]調)"
_PATTERNS = [
  # "F# minor", "g-flat maj", "key of A minor"; "Amin" and "Emin" are names
  (
    rf"{_START}(?![ae]min\b)(?P<tonic>[A-G]){_SIGN}{_GAP}?(?P<mode>major|minor|maj|min){_END}",
    LETTERS,
  ),
  # "Gbm", "C♯m"; no "EBM" or "ebm", a genre
  (
    rf"{_START}(?!(?<!\bin )(?-i:ebm\b))(?P<tonic>[A-G])(?-i:(?P<sign>[#♯b♭])(?P<mode>m)){_END}",
    LETTERS,
  ),
  # "Am" at an end, before a sign or "key", and after "in". Before a number too, but "Am" and "Em",
  # German and Portuguese words, only within a sentence: "beat Am 90 bpm", no "Em 120 bpm".
  (
    rf"{_START}(?-i:(?P<tonic>[A-G])(?P<sign>)(?P<mode>m))(?:(?=\s+key|\s*$|\s*[^\w\s]|[ぁ-鿿])"
    r"|(?<=\bin\s..)\b|(?:(?<![AE]m)|(?<=[\w,;/|]\s[AE]m))(?=\s+\d))",
    LETTERS,
  ),
  (rf"\b(?P<tonic>[A-H])(?P<sign>is|es|s)?{_GAP}(?P<mode>dur|moll)\b", GERMAN),
  (rf"{_START}(?P<tonic>[A-G])(?P<sign>[#♯b♭]){_GAP}(?P<mode>dur|moll)\b", LETTERS),
  (
    rf"\b(?P<tonic>{'|'.join(SUNG)}|(?-i:[A-G]))(?:{_GAP}?(?P<sign>{_ALTERED}))?{_GAP}"
    r"(?P<mode>maj(?:eur|or)|min(?:eur|or[ea]?)|maggiore?|ma[iy]or|menor|(?:мажор|минор)[а-я]*)\b",
    SUNG | LETTERS,
  ),
  (rf"{_START}(?P<sign>[降升嬰変#♯♭]|(?-i:b))(?P<tonic>[A-G]){_ASIAN}", LETTERS),
  (rf"{_START}(?P<tonic>[A-G])(?P<sign>[#♯b♭]|シャープ|フラット)?{_ASIAN}", LETTERS),
  (rf"(?P<sign>[嬰変])?(?P<tonic>[{''.join(IROHA)}])(?P<mode>[短長])調", IROHA),
]
_PATTERNS = [(re.compile(pattern, re.IGNORECASE), names) for pattern, names in _PATTERNS]
_LONGER = re.compile(r"\b[A-G]b? (?:major|minor)(?=\w)")  # "A minority"

# Tonics that are words as well: "a minor chord", "la mayor parte", "who do major tours", "A maior".
_ARTICLE = re.compile(rf"a{_GAP}(?:major|minor|maj|min)", re.IGNORECASE)
_WORD = re.compile(  # Spanish has no word "do"
  r"(?:la|mi|do(?!\W+mayor)|(?-i:[AE])(?=\W+m(?:ai|ay|en)))\W+m(?!ineur|ajeur)", re.IGNORECASE
)
# What follows a key; an adjective would go on with its noun.
_ENDS = re.compile(
  r"(?![-‐])\s*(?:$|(?<=\n)|[^\w\s]|(?!\d+(?:th|rd|nd))\d|(?:with|without|no|in|at|around|for|to|"
  r"that|please|featuring|including|built|played|leave|minus|bpm|tempo|con|com|sin|sem|senza|para|"
  r"per|por|a)\b)",
  re.IGNORECASE,
)
_NOUN = re.compile(r"\s+(?:parte?|medida|d[aeo]|del)\b", re.IGNORECASE)
_FOLLOWS = re.compile(
  rf"\s+key|{_GAP}(?:label|league|mode|scale|way|role|part|touch|change)", re.IGNORECASE
)


def in_one_spelling(text: str) -> str:
  """The text with every key in it as KEYS spell it, a word of its own.

  Characters are in the form NFKC, in which a tokenizer reads them: "Ａ" is "A".
  """
  text = unicodedata.normalize("NFKC", text)
  for pattern, names in _PATTERNS:
    text = pattern.sub(lambda found, names=names: _named(found, names), text)
  return _LONGER.sub(lambda found: found[0].lower(), text)


def _named(found: re.Match, names: dict[str, int]) -> str:
  """What stands for a key that was found, or for a word that only looks like one."""
  tonic, mode = found["tonic"], found["mode"].lower()
  before, after = found.string[: found.start()], found.string[found.end() :]
  if _ARTICLE.fullmatch(found[0]):
    if not _is_key(found, before, after):
      return found[0].lower()  # of which no tokenizer makes a key
  elif not found["sign"] and _WORD.match(found[0]) and not _is_sung(found, before, after):
    return found[0]
  elif found[0] == "Am" and re.search(r"\bI (?:[\w']+ ){0,2}(?<!\bin )$", before):
    return found[0]  # "Who I Really Am"
  step = names.get(tonic) or names.get(tonic.lower()) or names.get(tonic.upper()) or 0
  if sign := (found["sign"] or "").strip(" -‐\n\t").lower():
    step += 1 if sign in SHARP else -1
  name = f"{TONICS[step % 12]} {'major' if mode.startswith(MAJOR) else 'minor'}"
  return f"{'' if before[-1:].isspace() or not before else ' '}{name}{' ' * after[:1].isalnum()}"


def _is_key(found: re.Match, before: str, after: str) -> bool:
  """Whether "a minor" is A minor: in capitals, or where an article would not stand."""
  if re.search(r"\b(?:the|key\s+of)\s+$", before, re.IGNORECASE):
    return True
  if found["tonic"] == "A":  # an article at the start of a sentence, or where all is in capitals
    starts = re.search(r"(?:^|[.!?\n])\s*$", before) or found["mode"].isupper()
    return not (starts and _FOLLOWS.match(after))
  return bool(re.search(r"(^|\b(in|of)|[^\w\s])\s*$", before.lower()) and _ENDS.match(after))


def _is_sung(found: re.Match, before: str, after: str) -> bool:
  """Whether "la menor" is A minor: after "en", or where no noun follows."""
  if re.search(r"\b(?:en|em|in)\s+$", before, re.IGNORECASE) or found["mode"].endswith("ore"):
    return not _NOUN.match(after)
  verb = re.search(r"\b(?:es|son|era|fue|é|è)\s+$", before, re.IGNORECASE)
  return not verb and _ENDS.match(after) is not None

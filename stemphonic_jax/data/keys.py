"""Musical keys in texts: many spellings of 24 names.

A corpus says each of them rarely, and less so where "F# minor", "Gbm", "fis-Moll" and "fa dièse
mineur" are four. A tokenizer that has a piece for each name (tokenizer.py) reads them all as one.
"""

from __future__ import annotations

import re

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
SHARP += "嬰", "升"
MAJOR = "maj", "dur", "may", "mag", "mai", "маж", "長", "大", "メ"  # how the words for it begin

_SIGN = r"(?P<sign>[#♯b♭]|[ -]?(?:sharp|flat))?"
_ALTERED = "bémol|bemolle|bemol|dièse|diesis|diese|sostenido|sustenido|бемоль|диез|[#♯b♭]"
_PATTERNS = [
  # "F# minor", "g-flat maj", "key of A minor"; no "a minor change", and no "A minor key"
  (rf"(?<![\w#♯♭])(?P<tonic>[A-G]){_SIGN}[ -]?(?P<mode>major|minor|maj|min)\b", LETTERS),
  # "Gbm", "C♯m", and "Am" where nothing but a sign follows; no "EBM" or "ebm", a genre
  (
    r"(?<![\w#♯♭])(?!(?<!\bin )(?-i:ebm\b))(?P<tonic>[A-G])(?-i:(?P<sign>[#♯b♭])(?P<mode>m))\b",
    LETTERS,
  ),
  (
    r"(?<![\w#♯♭])(?<!\bI )(?-i:(?P<tonic>[A-G])(?P<sign>)(?P<mode>m))"
    r"(?= key|\s*$|\s*[^\w\s]|\s+\d)",
    LETTERS,
  ),
  (r"(?<=\bin )(?-i:(?P<tonic>[A-G])(?P<sign>)(?P<mode>m))\b", LETTERS),
  (r"\b(?P<tonic>[CDEFGAH]|B)(?P<sign>is|es|s)?[ -](?P<mode>dur|moll)\b", GERMAN),
  (
    rf"\b(?P<tonic>{'|'.join(SUNG)})(?:[ -]?(?P<sign>{_ALTERED}))?[ -]"
    r"(?P<mode>maj(?:eur|or)|min(?:eur|or[ea]?)|maggiore|ma[iy]or|menor|мажор|минор)(?:е|а)?\b",
    SUNG,
  ),
  (r"(?P<sign>[降升])?(?P<tonic>[A-G])(?P<mode>[小大])[调調]", LETTERS),
  (r"(?<![\w#♯♭])(?P<tonic>[A-G])(?P<sign>[#♯b♭])?(?P<mode>マイナー|メジャー)", LETTERS),
  (rf"(?P<sign>[嬰変])?(?P<tonic>[{''.join(IROHA)}])(?P<mode>[短長])調", IROHA),
]
_PATTERNS = [(re.compile(pattern, re.IGNORECASE), names) for pattern, names in _PATTERNS]
_FOLLOWS = re.compile(r"[ -](?:key|label|mode|scale|way|role|part|touch|change)", re.IGNORECASE)
# "la mayor parte", "do maior sucesso": no keys; "la mayor con guitarra" is one.
_ADJECTIVE = re.compile(
  r"(?:la|mi|si|do|lá) (?:ma[iy]or|menor) (?!(?:con|com|y|e|para|a|de|key|\d)\b)\w", re.IGNORECASE
)
_LONGER = re.compile(r"\b[A-G]b? (?:major|minor)(?=[\w-])")  # "A minority"
_SAYS_NO_KEY = re.compile(r"a[ -](?:major|minor|maj|min)", re.IGNORECASE)


def in_one_spelling(text: str) -> str:
  """The text with every key in it as KEYS spell it, a word of its own."""
  for pattern, names in _PATTERNS:
    text = pattern.sub(lambda found, names=names: _named(found, names), text)
  return _LONGER.sub(lambda found: found[0].lower(), text)


def _named(found: re.Match, names: dict[str, int]) -> str:
  """What stands for a key that was found, or for an article before an adjective."""
  tonic, mode = found["tonic"], found["mode"].lower()
  after = found.string[found.end() :]
  if _SAYS_NO_KEY.fullmatch(found[0]) and not _is_key(found):
    return found[0].lower()  # of which no tokenizer makes a key
  if names is SUNG and not found["sign"] and _ADJECTIVE.match(found[0] + after):
    return found[0]
  step = names.get(tonic) or names.get(tonic.lower()) or names.get(tonic.upper()) or 0
  if sign := (found["sign"] or "").strip(" -").lower():
    step += 1 if sign in SHARP else -1
  name = f"{TONICS[step % 12]} {'major' if mode.startswith(MAJOR) else 'minor'}"
  before = found.string[: found.start()]
  return f"{'' if before[-1:].isspace() or not before else ' '}{name}{' ' * after[:1].isalnum()}"


def _is_key(found: re.Match) -> bool:
  """Whether "a minor" is A minor: in capitals, or where an article would not stand."""
  before, after = found.string[: found.start()], found.string[found.end() :]
  if _FOLLOWS.match(after):
    return False
  return (
    found["tonic"] == "A" or re.search(r"(^|\b(in|of)|[^\w\s])\s*$", before.lower()) is not None
  )

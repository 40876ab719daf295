"""Text as token ids of RoBERTa: byte pairs of GPT-2, from the files that its models come with.

A text is cut into words, a word into bytes, and neighbouring pieces are joined in the order in
which the pairs were learnt. Names of special tokens are plain text here.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from stemphonic_jax.errors import DataError, MissingError

FIRST, PAD, LAST = "<s>", "<pad>", "</s>"
# On the kinds of characters: L letter, N number, O other, a blank, and _ for other space.
WORDS = re.compile(r" ?L+| ?N+| ?O+|[ _]+(?![LNO])|[ _]+")
ENDINGS = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
# White space by Unicode, which Python's is more than.
SPACES = frozenset("\t\n\x0b\x0c\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {
  chr(code) for code in range(0x2000, 0x200B)
}


def _letters() -> dict[int, str]:
  """A visible letter for each byte: itself where it has one, else the next from 256 on."""
  visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
  visible += range(ord("®"), ord("ÿ") + 1)
  hidden = [byte for byte in range(256) if byte not in visible]
  return {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(hidden)}


LETTERS = _letters()


class BytePairs:
  """Texts to ids. `vocabulary` has the id of each piece, `merges` the pairs as they were learnt."""

  def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]):
    self._ids = dict(vocabulary)
    self._order = {pair: place for place, pair in enumerate(merges)}
    self._pieces = functools.lru_cache(1 << 16)(self._joined)

  @classmethod
  def load(cls, folder: Path) -> BytePairs:
    """Reads vocab.json and merges.txt, or tokenizer.json; MissingError or DataError without."""
    paths = [folder / name for name in ("vocab.json", "merges.txt", "tokenizer.json")]
    if paths[0].is_file() and paths[1].is_file():
      path = paths[0]
      vocabulary, lines = _json(path), paths[1].read_bytes().decode(errors="replace").split("\n")
      merges = [line.split() for line in lines if line and not line.startswith("#version")]
    elif paths[2].is_file():
      path = paths[2]
      content = _json(path)
      model = content.get("model")
      if not isinstance(model, dict) or model.get("type") != "BPE":
        raise DataError(f"{path}: is no tokenizer of byte pairs")
      vocabulary, lines = model.get("vocab"), model.get("merges")
      lines = lines if isinstance(lines, list) else [None]
      merges = [line.split(" ") if isinstance(line, str) else line for line in lines]
    else:
      raise MissingError(f"{folder}: needs vocab.json and merges.txt, or tokenizer.json")
    problem = _problem(vocabulary, merges)
    if problem:
      raise DataError(f"{path}: {problem}; copy it again from where the model is")
    return cls(vocabulary, [tuple(pair) for pair in merges])

  def __len__(self) -> int:
    """The number of rows of an embedding table that has them all."""
    return max(self._ids.values()) + 1

  def encode(
    self, texts: Sequence[str], length: int
  ) -> tuple[Int32[np.ndarray, "B S"], Bool[np.ndarray, "B S"]]:
    """Ids padded to `length`, with the first and last token, and the mask of what is no padding.

    A text that is too long is cut and keeps its last token.
    """
    tokens = np.full((len(texts), length), self._ids[PAD], np.int32)
    mask = np.zeros((len(texts), length), bool)
    for row, text in enumerate(texts):
      ids = [i for word in words(text) for i in self._pieces(word)][: length - 2]
      ids = [self._ids[FIRST], *ids, self._ids[LAST]]
      tokens[row, : len(ids)] = ids
      mask[row, : len(ids)] = True
    return tokens, mask

  def _joined(self, word: str) -> list[int]:
    """The ids of a word's pieces: the pair that was learnt first is joined, wherever it stands."""
    pieces = [LETTERS[byte] for byte in word.encode(errors="replace")]
    while len(pieces) > 1:
      pairs = list(itertools.pairwise(pieces))
      best = min(pairs, key=lambda pair: self._order.get(pair, len(self._order)))
      if best not in self._order:
        break
      joined, place = [], 0
      while place < len(pieces):
        whole = tuple(pieces[place : place + 2]) == best
        joined.append("".join(best) if whole else pieces[place])
        place += 2 if whole else 1
      pieces = joined
    return [self._ids[piece] for piece in pieces]


def words(text: str) -> Iterator[str]:
  """The words of a text, each with the blank before it; they make up the text."""
  kinds, place = "".join(map(_kind, text)), 0
  while place < len(text):
    end = (ENDINGS.match(text, place) or WORDS.match(kinds, place)).end()
    yield text[place:end]
    place = end


@functools.lru_cache(1 << 12)
def _kind(letter: str) -> str:
  if letter == " " or letter in SPACES:
    return " " if letter == " " else "_"
  kind = unicodedata.category(letter)[0]
  return kind if kind in "LN" else "O"


def _json(path: Path) -> dict[str, Any]:
  try:
    content = json.loads(path.read_bytes())
  except (ValueError, RecursionError) as error:
    raise DataError(f"{path}: not JSON ({error})") from None
  if not isinstance(content, dict):
    raise DataError(f"{path}: expected a JSON object")
  return content


def _problem(vocabulary: Any, merges: Sequence[Any]) -> str:
  """What keeps a vocabulary and merges from being a tokenizer; nothing where they are one."""
  if not isinstance(vocabulary, dict) or not all(
    type(i) is int and 0 <= i < 1 << 20 for i in vocabulary.values()
  ):
    return "has no vocabulary"
  for piece in (FIRST, PAD, LAST, *LETTERS.values()):
    if piece not in vocabulary:
      return f"its vocabulary lacks {piece!r}"
  for pair in merges:
    texts = isinstance(pair, list) and all(isinstance(piece, str) for piece in pair)
    if not texts or len(pair) != 2 or "".join(pair) not in vocabulary:
      return f"{str(pair)[:60]} is no pair of its vocabulary"
  return ""

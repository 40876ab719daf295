"""Prompts (Sec. 3.4): first what this stem is, then what all stems of the piece share."""

from __future__ import annotations

import math
from collections.abc import Sequence


def stem_prompt(
  stem_type: str, description: str, context_types: Sequence[str] = (), words: str = ""
) -> str:
  """The instruction for one stem, in the paper's words and its capital letters.

  `description` is the global text; `context_types` are the types in the sub-mix given as condition,
  and without any the clause is left out, as for stems from scratch. `words` say how this stem alone
  is played and sounds, "[GUITARS: muted, palm-picked]"; the paper leaves them to later work.
  """
  clause = f" (given context stems: {_tag(context_types)})" if context_types else ""
  target = _tag([stem_type], words)
  return f"Generate the stem: {target}{clause} for some music described as: {description}"


def negative_prompt(description: str) -> str:
  """What guidance leads away from: of no type, and in the form of prompts.

  Without that form the demo model's songs fall apart: stems of their type 0.21 instead of 0.74.
  """
  return f"Generate the stem: for some music described as: {description}"


def mix_prompt(description: str) -> str:
  """The instruction for a whole mix, used in pre-training; the paper does not give its words."""
  return f"Generate the mix for some music described as: {description}"


def song_prompt(description: str, bpm: float | None = None) -> str:
  """What a system is told of a whole song whose only condition is text: the tempo is part of it."""
  return description if bpm is None or math.isnan(bpm) else f"{description}, {bpm:g} bpm"


def caption_prompt(stem_type: str, description: str, words: str = "") -> str:
  """A caption of one stem, for a model that has learned from captions and knows no instructions."""
  return ", ".join(filter(None, (f"solo {stem_type}", words, description)))


def _tag(stem_types: Sequence[str], words: str = "") -> str:
  return f"[{', '.join(stem_types).upper()}{f': {words}' if words else ''}]"

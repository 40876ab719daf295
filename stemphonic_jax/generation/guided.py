"""What a request says of guidance: one weight, or a weight for each of some conditions."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation import values
from stemphonic_jax.generation.limits import MAX_GUIDANCE

# Conditions as users weigh them, and as guidance.py names them.
WEIGHED = {
  "words": "text",
  "stem_words": "stem_words",
  "tempo": "bpm",
  "context": "context",
  "activity": "activity",
  "others": "others",
}
REST = "rest"  # all that are not named
NAMES = (*WEIGHED, REST)

Guidance = float | Mapping[str, float]


def check_guidance(own: float, asked: Any) -> float | dict[str, float]:
  """One weight, or weights by name with that of the rest, which is the model's `own` if left out.

  UsageError for an unknown name, and for a weight that is none.
  """
  if not isinstance(asked, Mapping):
    return _weight("guidance", own if asked is None else asked)
  weights = {REST: _weight("guidance", own)}
  for name, weight in asked.items():
    name = values.text("guidance", name)
    if name not in NAMES:
      near = difflib.get_close_matches(name, NAMES, n=1)
      hint = f" did you mean {near[0]!r}?" if near else ""
      raise UsageError(
        f"guidance: unknown condition {name[:40]!r};{hint} conditions: {', '.join(NAMES)}"
      )
    weights[name] = _weight(f"guidance of {name}", weight)
  return weights if len(weights) > 1 else weights[REST]


def weights_of(guidance: Guidance) -> dict[str, float]:
  """The weight of each condition by the name that guidance.py has for it.

  Words for one stem have that of all words, and other stems have 1, unless they are named.
  """
  named = guidance if isinstance(guidance, Mapping) else {REST: guidance}
  common = dict.fromkeys(("text", "bpm", "context", "activity"), named[REST])
  return common | {WEIGHED[name]: weight for name, weight in named.items() if name != REST}


def unguided(model: Mapping[str, Any], asked: Any) -> bool:
  """Whether nothing leads to the words of a prompt, nor away from others."""
  return weights_of(check_guidance(model["sample"]["guidance"], asked))["text"] == 1


def weighed(guidance: Guidance, words: Sequence[str]) -> bool:
  """Whether words for one stem, of which some are given, have a weight of their own."""
  return any(words) and isinstance(guidance, Mapping) and "stem_words" in guidance


def _weight(name: str, value: Any) -> float:
  weight = values.number(name, value)
  if not 0 <= weight <= MAX_GUIDANCE:  # nor is NaN
    raise UsageError(f"{name}: got {weight}, expected 0 to {MAX_GUIDANCE}")
  return weight

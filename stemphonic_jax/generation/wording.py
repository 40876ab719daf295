"""What a model is told of a stem, in the form of the texts it learned from."""

from collections.abc import Mapping, Sequence
from typing import Any

from stemphonic_jax.data.batching.prompts import (
  caption_prompt,
  mix_prompt,
  negative_prompt,
  stem_prompt,
)
from stemphonic_jax.data.taxonomy import MIX


def prompt(
  model: Mapping[str, Any],
  description: str,
  heard: Sequence[str],
  stem_type: str,
  words: str = "",
) -> str:
  """The text for a stem, with `words` of its own, that hears a sub-mix of the types `heard`."""
  if stem_type == MIX:
    return mix_prompt(description)
  if model.get("prompts") == "captions":
    return caption_prompt(stem_type, description, words)
  return stem_prompt(stem_type, description, heard, words)


def negative(model: Mapping[str, Any], description: str) -> str:
  """The text that stands where guidance leaves the text out, the same for stems of all types."""
  if model["whole_mixes"]:
    return mix_prompt(description)
  return description if model.get("prompts") == "captions" else negative_prompt(description)

"""What of a config makes a run this one: all but how far, how often and on how much it runs."""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

# Parts of a config that may change between two starts of one run. They decide how far it goes and
# how it ends there, what it looks at, and on which machines.
FREE = frozenset({
  "sample", "generate", "steps", "decay", "save_every", "log_every", "held_out_batches", "max_bad",
  "processes", "workers", "mesh", "micro_batches", "remat", "keep", "keep_best", "hang_seconds",
  "places",
})  # fmt: skip
# Where a run reads from: known by what is there, not by its path (places.py).
PLACES = (
  "data.records", "data.root", "data.captions", "data.soundfont", "init_from", "text.path",
  "codec.bass.path", "codec.drums.path", "codec.other.path", "codec.stems.path",
)  # fmt: skip
SWITCHES = (".weight", "distil.to")
# What options were before there was a choice, where that is not off.
BEFORE = {
  "system": "stemphonic",
  "data.corpus": 1,
  "data.soundfont_share": 0.7,
  "data.words_dropout": 0.5,
}


def lasting(config: ConfigDict | Mapping[str, Any]) -> dict[str, Any]:
  """What must not change, as JSON has it: {"train.learning_rate": 0.0001, …}.

  A part whose switch (`weight`, `distil.to`) is zero is off, and as good as not there. PLACES are
  left out.
  """
  found = flat(json.loads(config.to_json()) if isinstance(config, ConfigDict) else config)
  switches = [name for name, value in found.items() if name.endswith(SWITCHES) and not value]
  off = tuple(name[: name.rindex(".") + 1] for name in switches)
  return {
    name: value
    for name, value in found.items()
    if FREE.isdisjoint(name.split(".")) and not name.startswith(off) and name not in PLACES
  }


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
  """The names at which two mappings of `lasting` differ, sorted.

  What is off (False, 0, "") is as good as not there, and so is what was so before there was a
  choice: a run goes on under a version that has options more, as long as they change nothing.
  """

  def value(config: Mapping[str, Any], name: str) -> Any:
    return config.get(name, BEFORE.get(name)) or None

  names = sorted(ours.keys() | theirs.keys())
  return [name for name in names if value(ours, name) != value(theirs, name)]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """{"a": {"b": 1}} → {"a.b": 1}."""
  found = {}
  for name, value in tree.items():
    inner = isinstance(value, Mapping)
    found |= flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
  return found

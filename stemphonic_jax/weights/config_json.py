"""What config.json of a model has to hold: people change it by hand, so it is checked when read.

No jax is needed for it. Bounds are beyond any model that there is, and so low that what follows
from a number, as the shapes of tensors, takes neither minutes nor memory; that these are the
tensors of the model's files is checked after that.
"""

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stemphonic_jax.audio.lengths import LONGEST
from stemphonic_jax.data.taxonomy import ROLES
from stemphonic_jax.errors import MismatchError, UsageError
from stemphonic_jax.weights.signed import (
  CONFIG,
  MUSICGEN_STEM,
  STEMGEN,
  STEMPHONIC,
  check_sampler,
  system_of,
)

# Hz: at the first a tenth of a second still has samples, and a latent frame has at most the second.
SLOWEST, FASTEST = 100, 768_000
WIDEST, DEEPEST, MOST_ROWS = 1 << 16, 1 << 10, 1 << 20  # of layers, blocks, embeddings
LONGEST_TEXT = 1 << 13  # tokens
LARGEST_WINDOW, MOST_STRIDES = 1 << 14, 64  # of an STFT: samples, and strides in a window
USUAL_STFT = 3584, 896  # size and stride where they are left out
MOST_STEPS, MOST_GUIDANCE = 1_000, 20  # as of a request


class Kind(NamedTuple):
  """What a value has to be, in words, and whether one is."""

  expected: str
  right: Callable[[Any], bool]


class Closed(dict):
  """A table of all the keys there may be."""


class ByName(NamedTuple):
  """Tables of an object by what it has for `key`."""

  key: str
  tables: Mapping[str, Mapping[Any, Any]]


def _whole(low: int, high: int) -> Kind:
  return Kind(f"a whole number, {low} to {high}", lambda v: type(v) is int and low <= v <= high)


def _one_of(*names: str) -> Kind:
  return Kind(" or ".join(map(repr, names)), lambda v: isinstance(v, str) and v in names)


def _list_of(kind: Kind, least: int = 0, most: int = MOST_ROWS) -> Kind:
  count = f"a list of {least}" if least == most else "a list"
  return Kind(
    f"{count}, each entry {kind.expected}",
    lambda v: isinstance(v, (list, tuple)) and least <= len(v) <= most and all(map(kind.right, v)),
  )


def _or_nothing(kind: Kind) -> Kind:
  return Kind(f"{kind.expected}, or null", lambda v: v is None or kind.right(v))


def _is_number(value: Any) -> bool:
  return type(value) in (int, float) and abs(value) < 1e30  # nor is NaN


SIGNED = Kind("a finite number", _is_number)
NUMBER = Kind("a finite number from 0 on", lambda v: _is_number(v) and v >= 0)
SHARE = Kind("a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1)
GUIDANCE = Kind(
  f"a number from 0 to {MOST_GUIDANCE}", lambda v: _is_number(v) and 0 <= v <= MOST_GUIDANCE
)
TEXT = Kind("a text", lambda v: isinstance(v, str))
SWITCH = Kind("true or false", lambda v: isinstance(v, bool))
ANY = Kind("anything", lambda v: True)
WIDTH, DEPTH, SIZE = _whole(1, WIDEST), _whole(1, DEEPEST), _whole(1, LARGEST_WINDOW)
ROWS = _whole(1, MOST_ROWS)
DTYPE = _one_of("float32", "bfloat16")
REMAT = _one_of("none", "products", "blocks")

# By key what is expected, where "?" may be missing and ... is any other.
STFT = {"size?": SIZE, "stride?": _whole(2, LARGEST_WINDOW), "resolution?": _whole(1, 1 << 10)}
VAE = ByName(
  "architecture",
  {
    "oobleck": Closed({
      "channels?": _whole(1, 1 << 12),
      "multiples": _list_of(_whole(1, 1 << 10), 1, 16),
      "strides": _list_of(_whole(1, 1 << 10), 1, 16),
      "latent?": _whole(1, 1 << 12),
    }),
    "spectral": Closed({
      **STFT,
      "stacked?": _whole(1, 1 << 10),
      "latent?": _whole(1, 1 << 12),
      "width?": WIDTH,
      "depth?": DEPTH,
      "refinements?": _whole(0, 1 << 10),
    }),
  },
)  # fmt: skip
CODEC = ByName(
  "architecture",
  {
    "encodec": Closed({
      "filters?": _whole(1, 1 << 12),
      "ratios?": _list_of(_whole(1, 1 << 10), 1, 8),
      "latent?": _whole(1, 1 << 12),
      "levels?": _whole(1, 1 << 7),
      "entries?": WIDTH,
      "layers?": DEPTH,
      "padding?": TEXT,
    }),
    "spectral": Closed({
      **STFT,
      "components?": _whole(1, 1 << 12),
      "levels?": _whole(1, 1 << 7),
      "entries?": WIDTH,
      "refinements?": _whole(1, 1 << 10),
    }),
  },
)  # fmt: skip
DIT = Closed({
  "width": WIDTH,
  "depth": DEPTH,
  "heads": WIDTH,
  "dtype": DTYPE,
  # A switch in models from before there was a choice.
  "remat?": Kind(REMAT.expected, lambda v: isinstance(v, bool) or REMAT.right(v)),
  "activity_channels?": _whole(0, WIDEST),
  "memory_width?": _whole(0, WIDEST),
  "memory_heads?": _whole(0, WIDEST),
  "timing?": SWITCH,
  "prediction?": _one_of("velocity", "v"),
  "modulation?": SWITCH,
  "most_words?": Kind("a number from 0 to 1e6", lambda v: _is_number(v) and 0 <= v <= 1e6),
  "ensemble?": SWITCH,
  "beats?": SWITCH,
})  # fmt: skip
WORDS = ByName(
  "encoder",
  {
    "learned": {
      "vocabulary": ROWS,
      "width": WIDTH,
      "depth": DEPTH,
      "heads": WIDTH,
      "length": _whole(1, LONGEST_TEXT),
    },
    "t5": {"width": WIDTH, "length": _whole(1, LONGEST_TEXT)},
  },
)

NETWORK = {"width": WIDTH, "depth": DEPTH, "heads": WIDTH, "dtype": DTYPE, "remat": REMAT}
SAMPLE = {"steps": _whole(1, MOST_STEPS), "guidance": GUIDANCE, "share_noise": SWITCH}
DRAWN = {**SAMPLE, "top_k": _whole(0, WIDEST), "temperature": NUMBER}

ALL = {
  "sample_rate": _whole(SLOWEST, FASTEST),
  "seconds": Kind(
    f"a number of seconds, more than 0, at most {LONGEST:g}",
    lambda v: _is_number(v) and 0 < v <= LONGEST,
  ),
  "whole_mixes": SWITCH,
  "types?": _list_of(Kind("a name", lambda v: isinstance(v, str) and bool(v.strip()))),
  "dropout": {"text": NUMBER, "bpm": NUMBER, "context": NUMBER, "activity": NUMBER, ...: NUMBER},
  "licence?": _or_nothing(TEXT),
  "source?": _or_nothing(TEXT),
  "prompts?": _or_nothing(TEXT),
  "corpus?": {"version?": _whole(0, WIDEST), "soundfont_share?": SHARE},
}
OF_CODES = {
  **ALL,
  "whole_mixes": Kind("false, for it makes stems", lambda v: v is False),
  "types": ALL["types?"],
  "network": NETWORK,
}
TABLES = {
  STEMPHONIC: {
    **ALL,
    "vae": VAE,
    "dit": DIT,
    "text": WORDS,
    "sample": {
      **SAMPLE,
      "interval": _list_of(_whole(1, MOST_STEPS), 2, 2),
      "noise_share?": SHARE,
      "align_noise?": SWITCH,
    },
    "latents?": {"mean": _list_of(SIGNED), "std": _list_of(NUMBER)},
  },
  MUSICGEN_STEM: {
    **OF_CODES,
    "codec": Closed(dict.fromkeys(ROLES, CODEC)),
    "text": WORDS,
    "editing": {"share?": SHARE, "whole": SWITCH},
    "sample": DRAWN,
  },
  STEMGEN: {
    **OF_CODES,
    "codec": Closed({"stems": CODEC}),
    "sample": {**DRAWN, "weights": _list_of(NUMBER, 3, 3)},
  },
}

# Parts of a run's config that its model's has as they are.
KEPT = ("sample_rate", "seconds", "vae", "dit", "network", "codec", "text", "editing", "sample")


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[None]:
  """MismatchError, which names the config of a model folder, for what is found wrong with it."""
  try:
    yield
  except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, UsageError) as error:
    raise MismatchError(f"{directory}/{CONFIG}: wrong or missing: {error}") from None


def check(config: Mapping[str, Any]) -> None:
  """ValueError for the first place where the config of a model has something else than it may."""
  table = TABLES[system_of(config)]
  _check("", config, table)
  check_sampler(config)
  _check_all_frames(config)
  codecs, order = list(config.get("codec", ())), list(table.get("codec", ()))
  if order and codecs != order:  # in which the network has their streams
    raise ValueError(f"codec: got {', '.join(codecs)}, expected the order {', '.join(order)}")


def check_run(config: Mapping[str, Any]) -> None:
  """ValueError for the first entry of a run's config that its model's may not have.

  So that no model is trained which nobody can open. What the model's has beside these is added when
  it is written.
  """
  table = TABLES[system_of(config)]
  kept = {name: config[name] for name in KEPT if name in config and name in table}
  if "codec" in kept:  # where one was taken from is not said of a model
    kept["codec"] = {
      name: {key: value for key, value in fields.items() if key != "path"}
      for name, fields in kept["codec"].items()
    }
  for name, value in kept.items():
    _check(name, value, table[name], whole=False)
  _check_all_frames(kept)


def check_codec(config: Any) -> None:
  """ValueError for the first place where the config of a codec has something else than it may."""
  _check("codec", config, CODEC)
  _check_frames("codec", config)


def check_depth(name: str, depth: int, tensors: Collection[str]) -> None:
  """ValueError where a file has fewer tensors than a network would have blocks.

  It is seen before a network of any depth is traced.
  """
  if depth > len(tensors):
    raise ValueError(f"{name}: got {depth}, and the file has {len(tensors)} tensors in all")


def _check_all_frames(config: Mapping[str, Any]) -> None:
  """ValueError for a frame, or a window, of the autoencoder or a codec that is too long."""
  if "vae" in config:
    _check_frames("vae", config["vae"])
  for name, codec in config.get("codec", {}).items():
    _check_frames(f"codec.{name}", codec)


def _check_frames(where: str, fields: Mapping[str, Any]) -> None:
  """ValueError for a frame, or a window of an STFT, that is too long; each stride is traced."""
  size, stride = fields.get("size", USUAL_STFT[0]), fields.get("stride", USUAL_STFT[1])
  if size > MOST_STRIDES * stride:
    raise ValueError(
      f"{where}.size: got {size}, expected at most {MOST_STRIDES} strides of {stride}"
    )
  strides = fields.get("strides", fields.get("ratios", (stride, fields.get("stacked", 1))))
  if (hop := math.prod(strides)) > FASTEST:
    raise ValueError(f"{where}: a frame has {hop} samples, expected at most {FASTEST}")


def _check(where: str, value: Any, expected: Any, whole: bool = True) -> None:
  """ValueError for the first place with something else; unless `whole`, entries may be missing."""
  if isinstance(expected, Kind):
    if not expected.right(value):
      raise ValueError(f"{where}: got {_short(value)}, expected {expected.expected}")
    return
  if not isinstance(value, Mapping):
    raise ValueError(f"{where}: got {_short(value)}, expected an object")
  if isinstance(expected, ByName):
    key, tables = expected
    _check_keys(where, {key: value.get(key)}, {key: _one_of(*tables)})
    table = tables[value[key]]
    expected = type(table)({**table, key: ANY})
  _check_keys(where, value, expected, whole)


def _check_keys(
  where: str, value: Mapping[str, Any], table: Mapping[Any, Any], whole: bool = True
) -> None:
  inside = f"{where}." if where else ""
  for name in table:
    if whole and name is not ... and not name.endswith("?") and name not in value:
      raise ValueError(f"{inside}{name}: is missing")
  for name, entry in value.items():
    known = table.get(name, table.get(f"{name}?", table.get(...)))
    if known is not None:
      _check(f"{inside}{name[:40]}", entry, known, whole)
    elif isinstance(table, Closed):
      names = ", ".join(key.removesuffix("?") for key in table)
      raise ValueError(f"{inside}{name[:40]}: unknown, expected {names}")


def _short(value: Any) -> str:
  text = repr(value)
  return text if len(text) <= 40 else f"{text[:40]}…"

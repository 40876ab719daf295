"""What songs are compared with: the real pieces that options name, and how a table says so."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stemphonic_jax import __version__
from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.evaluation.shown.sheet import Sheet
from stemphonic_jax.evaluation.songs import ablation, corpus
from stemphonic_jax.evaluation.songs.ablation import Pieces, Run
from stemphonic_jax.evaluation.songs.trained import Model

REFERENCE = 150  # real pieces: with 16 of them a real stem is nearest to its own type 7 times in 10
PACKAGES = ("jax", "flax", "numpy", "scipy", "librosa")


@dataclass(frozen=True)
class Options:
  """What is measured on: so many `songs` of so many `seconds` (None: all the models make).

  They are compared with `reference` other real pieces.
  """

  songs: int = 60
  reference: int = REFERENCE
  seconds: float | None = None
  seed: int = 0
  source: str = "demo"
  root: str = ""
  held_out: int | None = None  # of a set on disk, as is `captions`; None: as the trainings had it
  captions: str = ""
  corpus: int | None = None  # version of the demo corpus; None: as the trainings had it
  soundfont: str = ""  # that plays a share of it, and the share
  share: float = demo.Edition.share


@dataclass(frozen=True, eq=False)
class Measured:
  """Sheets, and what can be listened to of them: how songs were made, and of which pieces.

  `asked` has a model and a run by what they are called; `real` are the pieces that prompts are of,
  and `counts` how many there are of each number of stems.
  """

  sheets: Sequence[Sheet]
  asked: Mapping[str, tuple[Model, Run]]
  real: Sequence[Mix]
  counts: Mapping[int | None, int]


def mixes(
  out: Path, options: Options, seconds: float, rate: int
) -> tuple[Sequence[Mix], Sequence[Mix]]:
  """Held-out pieces of that length: for prompts, and to compare with."""
  if options.source == "demo":
    edition = demo.Edition(options.corpus or 1, options.soundfont, options.share).check(rate)
    return corpus.composed(seconds, rate, options.seed, edition)
  return corpus.on_disk(
    options.source, options.root, out / "check", seconds, rate, options.seed,
    held_out=options.held_out, captions=Path(options.captions) if options.captions else None,
  )  # fmt: skip


def counts(real: Mapping[int | None, Pieces]) -> dict[int | None, int]:
  """How many pieces there are of each number of stems."""
  return {k: len(pieces.prompts) for k, pieces in real.items()}


def measured_on(real: Mapping[int | None, Pieces], seconds: float, options: Options) -> str:
  """How many pieces of what, in a sentence."""
  found = ", ".join(f"{count}{f' of K = {k}' if k else ''}" for k, count in counts(real).items())
  others = len(next(iter(real.values())).reference)
  return (
    f"{found} {pieces_of(options, seconds)}, compared with {others} others, on"
    f" {ablation.hardware()}."
  )


def pieces_of(options: Options, seconds: float) -> str:
  """What pieces they are."""
  source, pieces = options.source, "held-out pieces"
  if source == "demo" and options.corpus and options.corpus > 1:
    source += f", version {options.corpus}"
  if options.soundfont:
    source += f", {options.share:.0%} played by {Path(options.soundfont).name}"
  if options.source != "demo":
    told = f", captions of {Path(options.captions).name}" if options.captions else ""
    part = f"the {options.held_out} mixes that were held out"
    if not options.held_out:
      pieces, part = "pieces", "all mixes, on which no model here is known to be trained"
    source = f"one of each mix of {source}: of its test part or, without one, of {part}{told}"
  return f"{pieces} of {seconds:g} s ({source})"


def ids(real: Mapping[int | None, Pieces]) -> dict[str, list[str]]:
  """The pieces that prompts are of, by number of stems."""
  return {str(k or "all"): [p.id for p in pieces.prompts] for k, pieces in real.items()}


def about(
  models: Mapping[str, str], pieces: Mapping[str, Sequence[Any]], seconds: float, options: Options
) -> dict[str, Any]:
  """What the JSON of a sheet says beside its numbers; `models` are by name, as fingerprints."""
  versions = {name: importlib.metadata.version(name) for name in PACKAGES}
  return {
    "models": dict(models),
    "options": asdict(options) | {"seconds": seconds},
    "pieces": dict(pieces),
    "hardware": ablation.hardware(),
    "versions": {"stemphonic_jax": __version__, "python": platform.python_version()} | versions,
  }

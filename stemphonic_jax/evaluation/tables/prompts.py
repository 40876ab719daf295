"""Prompts as people write them, which are not in the words of a corpus: does a model make sound?

In other languages, long, of one word, misspelt, of things that it knows nothing of. Four types of
stems are asked for with each. Beside them are the prompts of the corpus, with their own types.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from stemphonic_jax.audio.levels import dbfs
from stemphonic_jax.data.bar import bar
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import DataError, MissingError
from stemphonic_jax.evaluation import kept, scores
from stemphonic_jax.evaluation.kept import Cell
from stemphonic_jax.evaluation.listeners.ears import Ears
from stemphonic_jax.evaluation.measures.identity import identity
from stemphonic_jax.evaluation.shown.sheet import Line, Sheet
from stemphonic_jax.evaluation.songs import ablation, asking
from stemphonic_jax.evaluation.songs.asking import Prompt
from stemphonic_jax.evaluation.tables import remade
from stemphonic_jax.evaluation.tables.basis import Measured, Options
from stemphonic_jax.evaluation.tables.remade import Setting
from stemphonic_jax.generation.limits import MAX_PROMPT, check_text
from stemphonic_jax.generation.outcome import SILENT_DBFS
from stemphonic_jax.weights.signed import check_stemphonic, find_bundle, read_config

WRITTEN = Path(asking.__file__).with_name("prompts.txt")
STEMS = 4  # asked for with each prompt
SHOWN = ("silent", "diverged", "identity")
NOTE = (
  f"Prompts as people write them, each with {STEMS} types of stems that are drawn, and prompts of"
  " held-out pieces with their own types."
)


def measure(path: Path, out: Path, options: Options, written: Path | None = None) -> Measured:
  """The sheet of a model, with the prompts of a file, one a line, or those that come along.

  MissingError or DataError for a file that has none; UsageError for a model of a system that reads
  no text, or makes other stems; other errors are those of `paper.one_model`.
  """
  texts = read(written or WRITTEN)
  instead = f"measure it with `stemphonic evaluate --systems {path}`"
  what = "--table prompts, which asks for any stems by text,"
  check_stemphonic(path, read_config(find_bundle(path)), what, instead)
  ears = Ears(out)
  what = "of two stems or more"
  of = remade.setting(__name__, path, out, options, ears, lambda mix, _: mix, what, runs=())
  others = remade.heard(of.others, ears, "other pieces")
  rows = {
    "as people write them": as_written(texts, of.seconds, options.seed),
    "of the corpus": [asking.prompt_of(mix) for mix in of.pieces],
  }
  lines = []
  for name, prompts in rows.items():
    cell = scored(of, name, prompts, others)
    lines.append(Line(name, (name,), cell.scores, models={of.model.name: cell}))
  note = f"{NOTE} {of.said}"
  sheet = Sheet(
    "prompts", "Prompts as people write them", note, ("Prompts",), SHOWN, lines, of.about
  )
  return Measured([sheet], {}, of.pieces, {None: len(of.pieces)})


def read(path: Path) -> list[str]:
  """The prompts of a file, one a line."""
  if not path.is_file():
    raise MissingError(f"--prompts {path}: no such file; expected one prompt a line")
  try:
    found = path.read_text(encoding="utf-8").splitlines()
  except UnicodeDecodeError as error:
    raise DataError(f"--prompts {path}: not UTF-8 ({error.reason}); save it as UTF-8") from None
  lines = {number: text for number, line in enumerate(found, 1) if (text := line.strip())}
  if not lines:
    raise DataError(f"--prompts {path}: has no prompts; expected one a line")
  for number, text in lines.items():
    check_text(f"--prompts {path}: line {number}", text, MAX_PROMPT)
  return list(lines.values())


def as_written(texts: Sequence[str], seconds: float, seed: int) -> list[Prompt]:
  """Each text with the types that are drawn for it, and no tempo but what it says."""
  prompts = []
  for number, text in enumerate(texts):
    types = np.random.default_rng([seed, number]).choice(STEM_TYPES, STEMS, replace=False)
    active = {str(kind): [(0.0, seconds)] for kind in types}
    prompts.append(Prompt(f"{number + 1}: {text[:30]}", text, None, active))
  return prompts


def scored(of: Setting, name: str, prompts: Sequence[Prompt], others: Sequence) -> Cell:
  """What a model makes of prompts; which of them came to no sound is in the log."""
  seed = of.options.seed
  key = {
    "model": of.model.bundle.fingerprint,
    "table": kept.code_of(__name__),
    "prompts": [[prompt.caption, prompt.bpm, list(prompt.types)] for prompt in prompts],
    "others": kept.digest_of(others),
    "seconds": of.seconds,
    "seed": seed,
    "hardware": ablation.hardware(),
  }

  def make() -> Cell:
    silent, diverged, songs = [], [], []
    made = asking.generate(of.pipe, prompts, seconds=of.seconds, seed=seed)
    told = bar(made, name, len(prompts), "songs")
    for prompt, mix in zip(prompts, (one.mix for one in told), strict=True):
      diverged.append([float(mix is None)])
      if mix is None:
        continue
      levels = {kind: dbfs(stem.audio) for kind, stem in mix.stems.items()}
      quiet = [kind for kind, level in levels.items() if level < SILENT_DBFS]
      silent.append([float(kind in quiet) for kind in levels])
      songs.append(of.ears.listen(mix, keep=False))
      if quiet:
        logging.warning("%r: silent: %s", prompt.caption, ", ".join(quiet))
    return Cell(
      {
        "silent": scores.mean(silent),
        "diverged": scores.mean(diverged),
        "identity": identity(songs, others),
      }
    )

  return kept.cell(of.out, key, make)

"""Models of all systems beside each other, on the same prompts: what is each idea worth?

Some make any stems, some only bass, drums and other. So all songs, and the real pieces, are heard
as these three: what is neither bass nor drums is added up, what is sung is left out.

    stemphonic evaluate --systems runs/c_ii_0 runs/c_ii_1 runs/musicgen_stem_0 …

Models whose names differ in a last number are trainings of one kind from several seeds, and a row.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from absl import logging

from stemphonic_jax.data.bar import bar
from stemphonic_jax.data.preparing import parts
from stemphonic_jax.data.preparing.parts import InParts, in_parts
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.errors import DataError, DivergedError, UsageError
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.kept import Cell, Heard
from stemphonic_jax.evaluation.listeners.ears import Ears, Listener
from stemphonic_jax.evaluation.measures import metrics
from stemphonic_jax.evaluation.scores import bootstrap
from stemphonic_jax.evaluation.shown.sheet import Line, Sheet
from stemphonic_jax.evaluation.songs import ablation, asking, corpus, trained
from stemphonic_jax.evaluation.songs.ablation import Pieces
from stemphonic_jax.evaluation.songs.asking import Prompt
from stemphonic_jax.evaluation.songs.trained import Model
from stemphonic_jax.evaluation.tables import basis, paper, remade
from stemphonic_jax.evaluation.tables.basis import Measured, Options
from stemphonic_jax.evaluation.tables.editing import whole
from stemphonic_jax.evaluation.tables.systems import SHOWN
from stemphonic_jax.generation.limits import MAX_SEED
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.generation.systems import pipeline_of
from stemphonic_jax.weights.architecture import parameter_count

RATE = 44_100  # Hz, of the real pieces
NOTE = (
  "All models are asked for the stems of the same pieces, by text and tempo, each for those that"
  " it makes; songs and pieces are heard as bass, drums and other. Parameters are of the network."
)


def measure(
  folders: Sequence[Path], out: Path, options: Options, listeners: Sequence[Listener] = ()
) -> Measured:
  """One sheet with a row for each kind of model, beside real pieces, shuffled stems and noise.

  Errors are those of `paper.table`; UsageError where two models have one name.
  """
  models = [trained.open_any(path) for path in folders]
  names = [model.name for model in models]
  if twice := {name for name in names if names.count(name) > 1}:
    raise UsageError(f"--systems: two models are called {twice.pop()}; rename one of the folders")
  if options.source == "demo":
    options = replace(options, **trained.corpus_of(models, options.corpus, options.soundfont))
  kept.begin(out)
  seconds = _seconds(models, options.seconds)
  mixes, others = basis.mixes(out, options, seconds, RATE)
  pieces = remade.chosen(mixes, options.songs, whole)
  compared = remade.chosen(others, options.reference, whole)
  if not len(pieces) or not len(compared):
    raise DataError("there are no held-out pieces with bass, drums and other stems to measure with")
  ears = Ears(out, listeners)
  prompts, real = _heard(pieces, compared, ears, options.seed)
  rows: dict[str, list[tuple[Model, Cell]]] = {}
  for model in models:
    cell = _cell(model, prompts, real, seconds, options, out)
    rows.setdefault(re.sub(r"_\d+$", "", model.name), []).append((model, cell))
  lines = [
    paper.line(name, (name, f"{_size(found[0][0]):,}"), {model.name: cell for model, cell in found})
    for name, found in rows.items()
  ]
  kinds = ablation.baselines(out, real, options.seed)
  lines += [Line(n, (n, ""), cell.scores, detail=cell.detail) for n, cell in kinds.items()]
  said = f"{len(pieces)} {basis.pieces_of(options, seconds)}, compared with {len(compared)} others,"
  counts = {name: [model for model, _ in found] for name, found in rows.items()}
  note = [NOTE, paper.seeds_of(counts), said, f"on {ablation.hardware()}.", ears.note]
  prints = {model.name: model.bundle.fingerprint for model in models}
  about = basis.about(prints, {"all": pieces.places}, seconds, options)
  shown, columns = SHOWN + ears.metrics, ("System", "Parameters")
  title, note = "Systems beside each other", " ".join(filter(None, note))
  sheet = Sheet("compared", title, note, columns, shown, lines, about, timed=True)
  return Measured([sheet], {}, pieces, {None: len(pieces)})


def _seconds(models: Sequence[Model], asked: float | None) -> float:
  """The length of a song that all make; UsageError where one does not make what is asked for."""
  longest = {model.name: model.bundle.config["seconds"] for model in models}
  name = min(longest, key=longest.get)
  if asked and asked > longest[name]:
    raise UsageError(f"seconds: got {asked:g}, and {name} makes {longest[name]:g} at most")
  return asked or longest[name]


def _size(model: Model) -> int:
  """The parameters of the network that makes songs."""
  return parameter_count(model.bundle.params)


def _heard(
  pieces: Sequence[Mix], others: Sequence[Mix], ears: Ears, seed: int
) -> tuple[list[Prompt], Pieces]:
  """What asks for real pieces; and them in parts, noise as loud, and what to compare with."""

  def look(place: int) -> tuple[Prompt, Prompt, SongFeatures, SongFeatures]:
    piece = pieces[place]
    mix = in_parts(piece)
    noise = ears.listen(metrics.noise_like(mix, seed))
    return asking.prompt_of(piece), asking.prompt_of(mix), ears.listen(mix), noise

  looks = corpus.in_threads(look, range(len(pieces)))  # each is made or read once
  looks = bar(looks, "real pieces", len(pieces), "songs")
  asked, prompts, real, noise = map(list, zip(*looks, strict=True))
  places = {prompt.id: place for place, prompt in enumerate(prompts)}
  compared = remade.heard(InParts(others), ears, "other pieces")
  mixes = InParts(pieces)
  return asked, Pieces(prompts, real, noise, compared, ears, lambda name: mixes[places[name]])


def _cell(
  model: Model,
  prompts: Sequence[Prompt],
  real: Pieces,
  seconds: float,
  options: Options,
  out: Path,
) -> Cell:
  """What is measured of a model; its songs are kept as they come."""
  key = {
    "model": model.bundle.fingerprint,
    "table": [kept.code_of(name) for name in (__name__, parts.__name__)],
    "prompts": [[one.id, one.caption, one.bpm, list(one.types)] for one in prompts],
    "seconds": seconds,
    "seed": options.seed,
    "hardware": ablation.hardware(),
  }

  def make(first: int) -> Iterator[Heard]:
    pipe = pipeline_of(model.bundle)
    numbers = range(first, len(prompts))
    for number in bar(numbers, model.name, len(prompts), "songs", first):
      prompt, began = prompts[number], time.perf_counter()
      try:
        made = asked_of(pipe, prompt, seconds, (options.seed + number) % MAX_SEED)
      except DivergedError as error:
        logging.warning("%s: %s is left out: %s", model.name, prompt.id, error)
        yield Heard(SongFeatures("", None, {}), 0.0)
      else:
        took = time.perf_counter() - began  # to make it, not to hear it
        yield Heard(real.ears.listen(in_parts(made), keep=False), took)

  def found() -> list[Heard]:
    songs = kept.songs(out, key, len(prompts), make, real.ears.complete)
    sound = [one for one in songs if one.song.stems]
    if not sound:
      raise DivergedError(f"{model.name}: none of {len(songs)} songs is sound; the log says why")
    return sound

  def measured() -> Cell:
    songs = found()
    # The median, because the first song of a kind is compiled.
    times = bootstrap(statistics.median, [one.seconds for one in songs])
    return Cell(metrics.measure([one.song for one in songs], real.reference), times)

  key_of_cell = key | {"pieces": real.stamp}
  cell = kept.cell(out, key_of_cell, measured)
  return ablation.judged(out, key_of_cell, cell, lambda: [one.song for one in found()], real)


def asked_of(pipe: StemPipeline, prompt: Prompt, seconds: float, seed: int) -> Mix:
  """What a model makes of a piece's prompt, with the stems of its own that make up the piece's."""
  song = pipe.generate(
    prompt.caption,
    pipe.stems_for(prompt.types),
    bpm=asking.tempo_for(pipe, prompt.bpm),
    seed=seed,
    duration=seconds,
  )
  stems = {kind: Stem(kind, audio) for kind, audio in song.stems.items()}
  return Mix(prompt.id, stems, prompt.caption, prompt.bpm, song.rate)

"""Real pieces of which a model makes some stems anew, to the others: what two papers measure.

A piece is cut down to what is given and what is asked for, then heard three times: as it is, with
what a model makes of the stems asked for, and with those of another piece.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from absl import logging

from stemphonic_jax.data.bar import bar
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import DataError, DivergedError, UsageError
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.kept import Heard
from stemphonic_jax.evaluation.listeners.ears import Ears
from stemphonic_jax.evaluation.songs import ablation, asking, corpus, trained
from stemphonic_jax.evaluation.songs.ablation import Run
from stemphonic_jax.evaluation.songs.trained import Model
from stemphonic_jax.evaluation.tables import basis
from stemphonic_jax.evaluation.tables.basis import Options
from stemphonic_jax.generation.context import Context
from stemphonic_jax.generation.editing import given_song
from stemphonic_jax.generation.limits import MAX_SEED
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.generation.song import Song
from stemphonic_jax.generation.systems import pipeline_class, pipeline_of

Choose = Callable[[Mix, int], Mix | None]
Make = Callable[[StemPipeline, Mix, int], Mix]  # from a piece and a seed


@dataclass(frozen=True, eq=False)
class Chosen(Sequence):
  """The pieces that will do, as `choose` cuts them down; made or read when they are asked for."""

  mixes: Sequence[Mix]
  choose: Choose
  places: Sequence[int]

  def __len__(self) -> int:
    return len(self.places)

  def __getitem__(self, number: int) -> Mix:
    place = self.places[number]
    found = self.choose(corpus.ensemble(self.mixes[place]), place)
    assert found is not None
    return found


@dataclass(frozen=True, eq=False)
class Setting:
  """A model, the pieces that it is asked after, others to compare with, and what hears them.

  `table` is the module that makes the songs, on which those that are kept depend.
  """

  table: str
  model: Model
  pieces: Chosen
  others: Chosen
  seconds: float
  options: Options
  ears: Ears
  out: Path

  @functools.cached_property
  def pipe(self) -> StemPipeline:
    """What makes songs with the model, of whatever system it is."""
    return pipeline_of(self.model.bundle)

  @property
  def said(self) -> str:
    """What is measured on, in a sentence."""
    return (
      f"{len(self.pieces)} {basis.pieces_of(self.options, self.seconds)}, on"
      f" {ablation.hardware()}. Model {self.model.bundle.fingerprint[:12]}."
    )

  @property
  def about(self) -> dict[str, Any]:
    """What the JSON of a sheet says beside its numbers."""
    prints = {self.model.name: self.model.bundle.fingerprint}
    return basis.about(prints, {"all": self.pieces.places}, self.seconds, self.options)


def setting(
  table: str,
  path: Path,
  out: Path,
  options: Options,
  ears: Ears,
  choose: Choose,
  what: str,
  seconds: float | None = None,
  runs: Sequence[Run] = (Run(passes=2),),
  roles: bool = False,
) -> Setting:
  """Opens a model and chooses pieces; errors are those of `paper.one_model`.

  DataError where no piece is `what` the table takes. With `seconds` they are so long, however short
  the songs are that the model makes at once. A model has to be able to do `runs` and, but where a
  table is of the `roles` of bass, drums and other, to make stems of any type.
  """
  model = trained.open_any(path)
  ablation.check_model(model, runs)
  makes = pipeline_class(model.bundle.config).stems_for(STEM_TYPES)
  if not roles and makes != list(STEM_TYPES):
    raise UsageError(
      f"{path}: makes {', '.join(makes)}, and this table asks for stems of any type; measure it"
      f" with `stemphonic evaluate --systems {path}`, or --table musicgen-stem"
    )
  if not options.held_out and options.source != "demo":
    options = replace(options, held_out=trained.held_out_of(model, options.source, options.root))
  if options.source == "demo":
    found = trained.corpus_of([model], options.corpus, options.soundfont)
    options = replace(options, **found)
  kept.begin(out)
  longest, rate = trained.length_of([model], None if seconds else options.seconds)
  seconds = seconds or longest
  mixes, others = basis.mixes(out, options, seconds, rate)
  pieces = chosen(mixes, options.songs, choose)
  if not len(pieces):
    raise DataError(f"there are no held-out pieces {what} to measure with; use a larger set")
  compared = chosen(others, options.songs, choose)
  return Setting(table, model, pieces, compared, seconds, options, ears, out)


def chosen(mixes: Sequence[Mix], count: int, choose: Choose) -> Chosen:
  """The first pieces that will do, as many as there are up to `count`."""

  def looks(place: int) -> int | None:
    mix = corpus.ensemble(mixes[place])
    return place if mix is not None and choose(mix, place) is not None else None

  found: list[int] = []
  for place in corpus.in_threads(looks, range(len(mixes))):
    found += [] if place is None else [place]
    if len(found) == count:
      break
  if len(found) < count:
    logging.warning("%d pieces wanted, %d of %d will do", count, len(found), len(mixes))
  return Chosen(mixes, choose, found)


def target(mix: Mix | SongFeatures) -> str:
  """The name of the stem that is to be made."""
  return list(mix.stems)[-1]


@dataclass(frozen=True, eq=False)
class Shuffled(Sequence):
  """Pieces whose last stem is that of another one, by their numbers."""

  pieces: Chosen
  numbers: Sequence[tuple[int, int]]

  def __len__(self) -> int:
    return len(self.numbers)

  def __getitem__(self, place: int) -> Mix:
    one, other = (self.pieces[number] for number in self.numbers[place])
    return replace(one, stems=one.stems | {target(one): other.stems[target(other)]})


def matches(songs: Sequence[SongFeatures]) -> list[tuple[int, int]]:
  """Each piece that has one, with the next whose last stem is of the same type."""

  def matches() -> Iterator[tuple[int, int]]:
    for number, song in enumerate(songs):
      later = [(number + step) % len(songs) for step in range(1, len(songs))]
      same = (other for other in later if target(songs[other]) == target(song))
      yield from [(number, other) for other in (next(same, None),) if other is not None]

  return list(matches())


def heard(pieces: Sequence[Mix], ears: Ears, name: str) -> list[SongFeatures]:
  """What is heard in pieces as they are."""
  looks = corpus.in_threads(lambda i: ears.listen(pieces[i]), range(len(pieces)))
  return list(bar(looks, name, len(pieces), "songs"))


def anew(of: Setting, name: str, make: Make) -> list[SongFeatures | None]:
  """Each piece as the model remakes it, in the way that `name` stands for.

  None of one that is no sound, which the log names. They are kept, as songs of tables are.
  """
  options = of.options
  key = {
    "model": of.model.bundle.fingerprint,
    "run": name,
    "pieces": [of.pieces.places, options.source, options.root, options.held_out],
    "corpus": [options.corpus, options.share, options.soundfont],
    "captions": options.captions,
    "seconds": of.seconds,
    "seed": options.seed,
    "hardware": ablation.hardware(),
    "table": kept.code_of(of.table),
  }

  def songs(first: int) -> Iterator[Heard]:
    numbers = range(first, len(of.pieces))
    for number in bar(numbers, name, len(of.pieces), "songs", first):
      mix = of.pieces[number]
      try:
        made = make(of.pipe, mix, (options.seed + number) % MAX_SEED)
      except DivergedError as error:
        logging.warning("%s is left out: %s", mix.id, error)
        yield Heard(SongFeatures("", None, {}), 0.0)
      else:
        yield Heard(of.ears.listen(made, keep=False), 0.0)

  found = kept.songs(of.out, key, len(of.pieces), songs, of.ears.complete)
  songs_found = [one.song if one.song.stems else None for one in found]
  if not any(songs_found):
    raise DivergedError(f"{of.model.name}: none of {len(found)} songs is sound; the log says why")
  return songs_found


def to_the_others(names: Callable[[Mix], Sequence[str]]) -> Make:
  """What makes the stems anew that `names` gives of a piece, all others being given.

  A system with a stem for several types does not hear those others that are part of what it makes.
  """

  def make(pipe: StemPipeline, mix: Mix, seed: int) -> Mix:
    asked = names(mix)
    others = {name: stem for name, stem in mix.stems.items() if name not in asked}
    stems = pipe.stems_for([mix.stems[name].type for name in asked])
    song = pipe.generate(
      mix.caption,
      stems,
      bpm=asking.tempo_for(pipe, mix.bpm),
      seed=seed,
      context={
        name: stem.audio
        for name, stem in others.items()
        if not set(stems) & set(pipe.stems_for([stem.type]))
      },
      duration=mix.seconds,
    )
    made = {name: Stem(name, song.stems[name]) for name in song.stems if name not in others}
    return replace(mix, stems=others | made)

  return make


def as_song(pipe: StemPipeline, mix: Mix) -> Song:
  """A piece as a song that a model was given."""
  audio = {name: stem.audio for name, stem in mix.stems.items()}
  given = Context(audio, {name: stem.type for name, stem in mix.stems.items()})
  return given_song(pipe, given, mix.caption, asking.tempo_for(pipe, mix.bpm))

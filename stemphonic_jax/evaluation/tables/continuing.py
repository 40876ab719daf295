"""How far a model keeps to a song that goes on and on: its beginning is given, the rest is made.

What is heard are parts of the song, each measured as a song by itself, in the order of time; and
shorter ones around its seams, where one window of the model meets the next, beside as many between
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from stemphonic_jax.audio.metre import COMMON, bar_seconds, said
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.evaluation.features import SongFeatures, cut
from stemphonic_jax.evaluation.kept import Cell
from stemphonic_jax.evaluation.listeners.ears import Ears
from stemphonic_jax.evaluation.measures import metrics
from stemphonic_jax.evaluation.shown.sheet import Line, Sheet
from stemphonic_jax.evaluation.songs import asking
from stemphonic_jax.evaluation.tables import remade
from stemphonic_jax.evaluation.tables.basis import Measured, Options
from stemphonic_jax.generation.filling import windows_of
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.generation.windows import Hole

SECONDS = 96.0  # of a song
PARTS = 6  # in which it is heard; the first of them is given
SEAM = 6.0  # seconds around a seam
SHOWN = ("synchrony", "harmony", "chords", "key", "tempo", "tempo_octave", "identity")
SEAMS = ("synchrony", "harmony", "chords", "key")
NOTE = (
  "The first part of each piece is given, and the song goes on from there, all stems together. Each"
  " part is measured as a song by itself; real is the last part of the pieces as they really go on."
)
SEAM_NOTE = (
  f"{SEAM:g} s of each of these songs: around a place where one window of the model meets the next,"
  " in the middle between two such places, and of the piece itself at the first of these."
)


def measure(path: Path, out: Path, options: Options) -> Measured:
  """The sheets of a model; errors are those of `paper.one_model`."""
  ears, seconds = Ears(out), options.seconds or SECONDS
  what = "of two stems or more"
  of = remade.setting(__name__, path, out, options, ears, lambda mix, _: mix, what, seconds)
  made = remade.anew(of, "go on", going_on)
  real = remade.heard(of.pieces, ears, "real pieces")
  length = of.seconds / PARTS
  others = [cut(song, 0, length) for song in remade.heard(of.others, ears, "other pieces")]

  def line(name: str, songs: Iterable[SongFeatures], own: bool = True) -> Line:
    cell = Cell(metrics.measure(list(songs), others))
    return Line(name, (name,), cell.scores, models={of.model.name: cell} if own else {})

  lines = []
  for number in range(PARTS):
    start = number * length
    name = f"{start:.3g}–{start + length:.3g} s" + ", given" * (not number)
    lines.append(line(name, (cut(song, start, length) for song in made if song), bool(number)))
  lines.append(line("real", (cut(song, start, length) for song in real), own=False))
  at, between = zip(*(places(of.pipe, mix, n) for n, mix in enumerate(of.pieces)), strict=True)
  seams = [
    line("at seams", around(made, at)),
    line("between seams", around(made, between)),
    line("real", around(real, at), own=False),
  ]
  title, note = f"Going on to {of.seconds:g} s", f"{NOTE} {of.said}"
  sheets = [
    Sheet("continuation", title, note, ("Part",), SHOWN, lines, of.about),
    Sheet("seams", "Seams of songs that go on", SEAM_NOTE, ("Part",), SEAMS, seams, of.about),
  ]
  return Measured(sheets, {}, of.pieces, {None: len(of.pieces)})


def going_on(pipe: StemPipeline, mix: Mix, seed: int) -> Mix:
  """The piece, of which only the first part is given."""
  given = mix.crop(0, mix.samples // PARTS)
  song = pipe.extend(remade.as_song(pipe, given), mix.seconds, seed=seed)
  return replace(mix, stems={n: Stem(mix.stems[n].type, audio) for n, audio in song.stems.items()})


def places(pipe: StemPipeline, mix: Mix, number: int) -> tuple[float, float]:
  """Where, in seconds, a window begins in which a model goes on with a piece, and the middle of it.

  Each piece has another window looked at, by its number.
  """
  hop, given = pipe.hop, mix.samples // PARTS
  frames = -(-mix.samples // hop)
  hole = Hole(given // hop, frames, given, mix.samples)
  bar = bar_seconds(asking.tempo_for(pipe, mix.bpm), said(mix.caption) or COMMON)
  _, found = windows_of(pipe, frames, [hole], bar)
  window, seconds = found[number % len(found)], hop / pipe.rate
  first = max(window.first, hole.first)  # where the piece is one window, that has all of it
  return first * seconds, (first + window.last) / 2 * seconds


def around(songs: Sequence[SongFeatures | None], places: Sequence[float]) -> Iterator[SongFeatures]:
  """A short part of each song, around one of its places in seconds."""
  for song, place in zip(songs, places, strict=True):
    if song:
      yield cut(song, max(place - SEAM / 2, 0.0), SEAM)

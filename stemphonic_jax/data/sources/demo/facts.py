"""What is true of a composed piece, in words: the phrases of words.toml that may be said of it."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stemphonic_jax.data.sources.demo.composer import Part, Piece
from stemphonic_jax.data.sources.demo.styles import Effects, Groove
from stemphonic_jax.data.sources.demo.theory import Key
from stemphonic_jax.data.taxonomy import STEM_TYPES

SUNG = {"vocals", "synth-vocals"}
SYNTHETIC = {"synths", "synth-vocals", "SFX"}  # types
ELECTRIC = {
  "synth bass", "sub bass", "fingered bass", "picked bass", "electric piano", "organ", "clavinet",
  "electric guitar", "muted guitar", "distorted guitar",
}  # fmt: skip
SYNTH_DRUMS = {"deep kick", "clap"}
SWUNG, STRAIGHT = 0.2, 0.0  # of a style's swing
SMALL, LARGE = 3, 7  # stems
SNARES = {"snare", "tight snare", "brushed snare", "clap", "rim"}
KICKS = {"kick", "deep kick"}


@dataclass(frozen=True)
class Player:
  """One stem: its type, names for what plays, how it sounds and how it is played."""

  type: str
  plays: str
  names: tuple[str, ...]
  sound: tuple[str, ...]
  playing: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
  """What may be said of a piece. `moods` and `tempi` are groups of words that mean the same."""

  style: str
  key: Key
  bpm: float
  metre: str
  moods: tuple[tuple[str, ...], ...]
  tempi: tuple[tuple[str, ...], ...]
  traits: tuple[str, ...]  # names of the table
  players: tuple[Player, ...]
  absent: tuple[str, ...]  # stem types


@functools.cache
def table(name: str) -> Mapping[str, Any]:
  """A file of words beside this one: "words" or "languages"."""
  return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))


def facts_of(piece: Piece) -> Facts:
  """All that the tables have words for and that holds of the piece."""
  words = table("words")
  return Facts(
    style=piece.style,
    key=piece.key,
    bpm=piece.bpm,
    metre=piece.metre,
    moods=tuple(tuple(row["words"]) for row in words["moods"] if _feels(row, piece)),
    tempi=tuple(
      tuple(row["words"])
      for row in words["tempi"]
      if row["bpm"][0] <= piece.bpm < row["bpm"][1]
    ),
    traits=tuple(_traits(piece)),
    players=tuple(_player(part, piece) for part in piece.parts.values()),
    absent=tuple(_absent(piece)),
  )  # fmt: skip


def _feels(row: Mapping[str, Any], piece: Piece) -> bool:
  return (
    piece.style in row.get("styles", (piece.style,))
    and piece.key.mode == row.get("mode", piece.key.mode)
    and row.get("above", 0) <= piece.bpm < row.get("below", 1000)
  )


def _absent(piece: Piece) -> Iterator[str]:
  """Types that are not there, nor anything that could be taken for them."""
  types = {part.type for part in piece.parts.values()}
  plays = {part.plays.name for part in piece.parts.values()}
  alike = {"vocals": types & SUNG, "percussion": types & {"drums"}}
  alike["synths"] = {name for name in plays if "synth" in name or "electronic" in name}
  yield from (kind for kind in STEM_TYPES if kind not in types and not alike.get(kind))


def _traits(piece: Piece) -> Iterator[str]:
  types = {part.type for part in piece.parts.values()}
  sounds = {note.sound for part in piece.parts.values() for note in part.notes}
  if piece.swing >= SWUNG:
    yield "swung"
  if piece.swing <= STRAIGHT and piece.metre == "4/4":
    yield "straight"
  if "vocals" in types:
    yield "sung"
  if not types & SUNG:
    yield "instrumental"
  if len(piece.parts) <= SMALL:
    yield "small"
  if len(piece.parts) >= LARGE:
    yield "large"
  if not types & SYNTHETIC and not sounds & (ELECTRIC | SYNTH_DRUMS):
    yield "acoustic"
  if types & {"synths", "synth-vocals"} and sounds & (SYNTH_DRUMS | {"synth bass", "sub bass"}):
    yield "electronic"


def _player(part: Part, piece: Piece) -> Player:
  words = table("words")
  if isinstance(part.plays, Groove):
    heard = [words["drums"][name] for name in _groove(part, piece) if name in words["drums"]]
    names = (part.plays.name, *words["types"][part.type][:1])
    return Player(part.type, part.plays.name, names, (), tuple(w for row in heard for w in row))
  row = words["plays"][part.plays.name]
  playing = () if isinstance(part.plays, Effects) else tuple(playing_of(part, piece))
  told = tuple(word for name in playing for word in words["playing"][name])
  return Player(part.type, part.plays.name, tuple(row["names"]), tuple(row["sound"]), told)


def _groove(part: Part, piece: Piece) -> Iterator[str]:
  """What is heard in a groove often enough to be told: drums, and where kicks and snares fall."""
  notes = [note for note in part.notes if note.velocity > 0.3]
  names = [note.sound for note in notes]
  yield from (name for name in dict.fromkeys(names) if names.count(name) >= len(names) / 16)
  if {"high conga", "low conga"} & set(names):
    yield "congas"
  if part.type != "drums" or piece.metre != "4/4":
    return
  beat = 60.0 / piece.bpm
  kicks = {round(n.start / beat) for n in notes if n.sound in KICKS and _on_beat(n.start / beat)}
  snares = [round(n.start / beat) % 4 for n in notes if n.sound in SNARES and n.velocity > 0.6]
  beats = _beats(part, 4)
  struck = sum(name in KICKS for name in names)
  if beats and len(kicks & beats) >= 0.9 * len(beats) and struck < 1.5 * len(beats):
    yield "four on the floor"
  if len(snares) >= len(beats) / 3 and np.isin(snares, (1, 3)).mean() > 0.85:
    yield "backbeat"


def _on_beat(beats: float) -> bool:
  return abs(beats - round(beats)) < 0.1


def _beats(part: Part, beats: int) -> set[int]:
  """The beats of the sections in which a part plays."""
  return {
    beat
    for s in part.sections
    for bar in s.span
    for beat in range(beats * bar, beats * bar + beats)
  }


def playing_of(part: Part, piece: Piece) -> Iterator[str]:
  """How a line is played, as its notes have it: names of the table."""
  beat = 60.0 / piece.bpm
  starts = np.array([note.start for note in part.notes]) / beat
  lengths = np.array([note.length for note in part.notes]) / beat
  sizes = np.array([len(note.pitches) for note in part.notes])
  bars = max(1, sum(section.bars for section in part.sections))
  rate = len(starts) / bars  # notes a bar
  gaps = np.diff(starts)
  per_bar = 2 if piece.metre == "6/8" else int(piece.metre[0])
  even = [np.mean(np.abs(gaps - unit) < 0.12) if len(gaps) else 0.0 for unit in (0.25, 0.5, 1.0)]
  if part.plays.pattern is None and part.type != "basses":
    yield "melody"
  elif part.type == "basses":
    if even[2] > 0.75 and len({note.pitches for note in part.notes[:16]}) > 4:
      yield "walking"
    elif lengths.mean() > 0.6 * per_bar:
      yield "long notes"
  elif sizes.max() == 1:
    if rate >= 4:
      yield "arpeggio"
      if part.plays.name in ("acoustic guitar", "nylon guitar"):
        yield "picked"
  elif all(_is_fifth(note.pitches) for note in part.notes):
    yield "power chords"
  elif sizes.min() > 1:
    if lengths.mean() > 0.6 * per_bar:
      yield "held"
    elif part.plays.name == "acoustic guitar" and rate >= 4:
      yield "strummed"
    else:
      yield "stabs" if lengths.mean() < 0.6 else "chords"
    place = starts % 1.0
    if piece.swing <= 0.15 and np.mean((place > 0.4) & (place < 0.65)) > 0.9:
      yield "offbeat"
  for name, share in zip(("sixteenths", "eighths", "quarters"), even, strict=True):
    if share > 0.85 and piece.metre != "6/8" and rate >= per_bar - 1:
      yield name
  if rate <= 0.75 * per_bar and lengths.mean() < 0.5 * per_bar:
    yield "sparse"
  if rate >= 2.5 * per_bar:
    yield "busy"


def _is_fifth(pitches: Sequence[int]) -> bool:
  return [pitch - pitches[0] for pitch in pitches] == [0, 7, 12]

"""The real pieces that songs are measured with: held out from trainings, composed or on disk.

A real piece is cut out of anywhere in a longer one: crops that all start on a downbeat would let
the requested tempo alone line up the stems. As in the paper, stems count that sound in at least
half of it (Sec. 4.2).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from absl import logging

from stemphonic_jax.audio.activity import frame_activity
from stemphonic_jax.audio.lengths import whole_times
from stemphonic_jax.data.bar import bar
from stemphonic_jax.data.preparing.check import Rules
from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.sources.catalogue import scan
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import DataError
from stemphonic_jax.training.inputs.corpora import SPARE, Windows, checked
from stemphonic_jax.training.inputs.prepare import AUDIBLE_SHARE

Found = TypeVar("Found")
# Numbers of composed pieces that no training reaches: of prompts, and of what they are compared to.
PROMPTS, REFERENCE = 1_000_000, 2_000_000
MOST = 5_000  # pieces of either: what is not found among them is given up
HELD_OUT, MAX_BAD = 64, 0.01  # of mixes on disk, as trainings have it
FRAME = 3584  # samples, in which it is looked where a real stem sounds
THREADS = min(16, os.cpu_count() or 1)


@dataclass(frozen=True)
class Composed(Sequence):
  """Crops of `seconds` out of pieces of the demo corpus, from number `first` on."""

  seconds: float
  rate: int
  seed: int
  first: int
  edition: demo.Edition = demo.FIRST

  def __len__(self) -> int:
    return MOST

  def __getitem__(self, index: int) -> Mix:
    if not 0 <= index < MOST:
      raise IndexError(f"crop {index} of {MOST}")
    number = self.first + index
    seconds = self.seconds + SPARE
    piece = demo.piece(self.seed, number, seconds, self.rate, edition=self.edition)
    samples = round(self.seconds * self.rate)
    start = np.random.default_rng([self.seed, number]).integers(piece.samples - samples + 1)
    return piece.crop(int(start), samples)


@dataclass(frozen=True, eq=False)
class Cut(Sequence):
  """A window out of each of some mixes of a data set, with the caption and tempo of its mix.

  `chosen` are numbers of mixes with those of their windows, of which the first is taken that is an
  `ensemble`: one from each mix, so that stems of two pieces are never of one song.
  """

  windows: Windows
  chosen: Sequence[tuple[int, Sequence[int]]]

  def __len__(self) -> int:
    return len(self.chosen)

  def __getitem__(self, index: int) -> Mix:
    number, places = self.chosen[index]
    row = self.windows.mixes.rows[number]
    for place in places:
      mix = self.windows[place]
      if ensemble(mix):
        break
    return replace(mix, id=f"{mix.id} ({place})", caption=row["caption"], bpm=row["bpm"])


def composed(
  seconds: float, rate: int, seed: int, edition: demo.Edition = demo.FIRST
) -> tuple[Composed, Composed]:
  """Pieces of the demo corpus that no training uses: for prompts, and to compare with."""
  return tuple(Composed(seconds, rate, seed, first, edition) for first in (PROMPTS, REFERENCE))


def on_disk(
  source: str,
  root: str,
  folder: Path,
  seconds: float,
  rate: int,
  seed: int,
  *,
  held_out: int | None = None,
  captions: Path | None = None,
) -> tuple[Cut, Cut]:
  """The same of a data set's test part or, where it has none, of all of it, by mix.

  Of a set that was trained on, `held_out` says how many mixes the training left out, and these are
  taken instead; `captions` too are to be those of the training. No mix is in both halves. The
  report of its check goes to `folder`. Errors are those of `corpora.checked`, and DataError where
  there are fewer than two mixes of that length.
  """
  rules = Rules(rate, FRAME)
  catalogue = scan(source, root)
  to_test = {entry.split == "test" for entry in catalogue.entries}
  whole = held_out is None and len(to_test) == 1  # none of it, or all
  found = checked(
    catalogue, folder, rules, captions=captions, held_out=held_out or HELD_OUT, max_bad=MAX_BAD,
    evaluate=whole,
  )  # fmt: skip
  windows = Windows(found.parts.get("test") or found.parts["held_out"], seconds)
  counts = [whole_times(row["seconds"], seconds, rate) for row in windows.mixes.rows]
  firsts = np.cumsum([0, *counts])
  rng = np.random.default_rng(seed)
  mixes = rng.permutation(np.flatnonzero(counts)).tolist()
  if len(mixes) < 2:
    what = "two mixes" if held_out is None else "two held-out mixes"
    raise DataError(
      f"{root}: needs {what} of {seconds:g} s or more to measure with; measure shorter songs"
      f" (--seconds 8), or add mixes"
    )
  chosen = [(mix, (firsts[mix] + rng.permutation(counts[mix])).tolist()) for mix in mixes]
  return Cut(windows, chosen[::2]), Cut(windows, chosen[1::2])


def held_out(
  mixes: Sequence[Mix], count: int, look: Callable[[Mix], Found], stems: int | None = None
) -> list[Found]:
  """What `look` makes of the first `count` of `mixes` that will do, looked at in threads.

  Each is handed over as `ensemble` returns it; with `stems`, only pieces of that many will do.
  Where there are fewer, a line of log says so.
  """

  def seen(index: int) -> Found | None:
    mix = ensemble(mixes[index])
    will_do = mix is not None and stems in (None, len(mix.stems))
    return look(mix) if will_do else None

  looks = (one for one in in_threads(seen, range(len(mixes))) if one is not None)
  found = list(bar(itertools.islice(looks, count), "pieces", count, "pieces"))
  if len(found) < count:
    what = f"{stems} stems" if stems else "two stems or more"
    logging.warning("%d pieces of %s wanted, %d of %d found", count, what, len(found), len(mixes))
  return found


def ensembles(mixes: Sequence[Mix], count: int) -> Iterator[Mix]:
  """The first `count` of `mixes` that will do, one after the other, as `ensemble` returns them."""
  found = (ensemble(mixes[place]) for place in range(len(mixes)))
  return itertools.islice((mix for mix in found if mix is not None), count)


class Noted(Sequence):
  """Mixes that can be read once more by their ids."""

  def __init__(self, mixes: Sequence[Mix]):
    self._mixes, self._places = mixes, {}

  def __len__(self) -> int:
    return len(self._mixes)

  def __getitem__(self, place: int) -> Mix:
    mix = self._mixes[place]
    self._places[mix.id] = place
    return mix

  def read(self, name: str) -> Mix:
    """The mix of an id that was seen before, as `ensemble` returns it."""
    return ensemble(self._mixes[self._places[name]])


def in_threads(work: Callable[[Any], Found], items: Iterable) -> Iterator[Found]:
  """`work` of each item, a few of which are there at a time."""
  items = iter(items)
  with ThreadPoolExecutor(THREADS) as pool:
    while some := list(itertools.islice(items, THREADS)):
      yield from pool.map(work, some)


def ensemble(mix: Mix) -> Mix | None:
  """The first stem of each type that sounds in half of the mix, by type; None below two of them.

  A model asked twice for one type would in one pass give the same audio twice.
  """
  stems: dict[str, Stem] = {}
  for stem in mix.stems.values():
    sounds = frame_activity(stem.audio, FRAME, mix.rate).mean() >= AUDIBLE_SHARE
    if sounds and stem.type in STEM_TYPES:
      stems.setdefault(stem.type, stem)
  return replace(mix, stems=stems) if len(stems) > 1 else None

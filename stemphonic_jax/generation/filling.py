"""An edit is a generation with more frames known: the one call that all edits are.

A draft is a song whose stems have holes. `fill` makes what is missing of some of them, in as many
passes as the song was made in and, where the model cannot hear all of it at once, stretch by
stretch. An ensemble is told what is known; any other model is shown it at every step (sampler.py),
and hears the other stems as a sub-mix where it has learned to.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32

from stemphonic_jax.audio.activity import lanes_from_ranges
from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.generation.draft import Draft
from stemphonic_jax.generation.outcome import sound_of
from stemphonic_jax.generation.progress import DECODED, SAMPLED, Progress, Tell
from stemphonic_jax.generation.request import Request
from stemphonic_jax.generation.rows import Row
from stemphonic_jax.generation.stem_names import plan
from stemphonic_jax.generation.windows import (
  Hole,
  Stretch,
  blend,
  stretches,
  unknown,
)

if TYPE_CHECKING:
  from stemphonic_jax.generation.pipeline import StemPipeline

BUCKET, WARM = 64, 16  # frames: lengths that are decoded, and what is decoded before a hole


def fill(
  pipe: "StemPipeline",
  draft: Draft,
  request: Request,
  holes: Sequence[Hole],
  *,
  strength: float = 1.0,
  tell: Tell | None = None,
) -> None:
  """Makes what is in the holes of the stems of a request, which may be new to the draft.

  With a `strength` under 1 it begins from what is there, with that share of noise: the less, the
  more stays. DivergedError where what is made is no sound.
  """
  filling = _Filling(pipe, draft, request, holes, strength, tell)
  waiting = list(request.stems)
  for names in filling.passes:
    filling.sample(names, waiting)
    for name in names:
      filling.decode(name)
    waiting = [name for name in waiting if name not in names]


def passes_of(request: Request) -> list[list[str]]:
  """The stems of each pass; of one type and one noise are two only where their words differ."""
  passes = []
  for names in plan(list(request.stems), min(request.passes, len(request.stems))):
    while names:
      kinds = {name: (request.stems[name], request.words.get(name)) for name in names}
      first = {kinds[name]: name for name in reversed(names)}
      now = [n for n in names if n in first.values()] if request.share_noise else names
      passes.append(now)
      names = [name for name in names if name not in now]
  return passes


def path_of(steps: int, strength: float) -> tuple[int, int]:
  """The steps of a path on which t = `strength` nearly lies, and how many come before it.

  Those that are left are no further apart than `steps` of a whole path: where these are 8, a
  strength of 0.1 takes the last of 10. Under 1 at least one is left out.
  """
  taken = math.ceil(steps * strength)
  whole = max(round(taken / strength), taken + (strength < 1))
  return whole, whole - taken


def windows_of(
  pipe: "StemPipeline", frames: int, holes: Sequence[Hole], bar: float | None
) -> tuple[int, list[Stretch]]:
  """The size of the windows in which holes of a song of `frames` are filled, and which they are.

  They begin on a bar of so many seconds, where that is known.
  """
  hop, rate = pipe.hop, pipe.rate
  longest = frames_of(pipe.seconds, rate, hop)
  size = longest if pipe.timed else min(longest, frames)
  if frames <= size:
    return size, [Stretch(0, 0, frames)]
  bar = bar and bar * rate / hop
  return size, [stretch for hole in holes for stretch in stretches(hole, frames, size, bar)]


class _Filling:
  """What stays the same while the holes of a draft are filled."""

  def __init__(
    self,
    pipe: "StemPipeline",
    draft: Draft,
    request: Request,
    holes: Sequence[Hole],
    strength: float,
    tell: Tell | None,
  ):
    self.pipe, self.draft, self.holes = pipe, draft, holes
    steps, self.start = path_of(request.steps, strength)
    self.request = dataclasses.replace(request, steps=steps)
    self.hop, self.ensemble = pipe.hop, pipe.ensemble
    self.frames = -(-draft.samples // self.hop)
    self.size, self.stretches = windows_of(pipe, self.frames, holes, request.bar)
    self.lanes = {
      name: lanes_from_ranges(ranges, self.frames, self.hop, pipe.rate)
      for name, ranges in request.activity.items()
    }
    self.passes = passes_of(request)
    work = SAMPLED * len(self.stretches) + DECODED
    self.progress = Progress(work * len(request.stems), tell)

  def sample(self, names: Sequence[str], waiting: Sequence[str]) -> None:
    """Latents of the stems of one pass; of others those are heard that are not `waiting`."""
    missing = unknown(self.holes, self.frames)
    nothing, whole = np.zeros_like(missing), missing.all() and not self.start
    types = self.draft.types
    others = [name for name in self.draft.audio if name not in waiting]
    rows = [name for name in others if types[name]] if self.ensemble else []
    as_mix = [name for name in others if name not in rows]
    heard = [types[name] for name in as_mix if types[name]]
    for name in (*rows, *names):
      self._set_latents(name, empty=whole and name in names)
    for number, stretch in enumerate(self.stretches):
      there = {name: self._row(name, nothing, stretch) for name in rows}
      mine = {name: self._row(name, missing, stretch) for name in names}
      there |= {n: row for n, row in mine.items() if row.known.any() or self.start}
      lanes = {n: self._window(self.lanes[n], stretch) for n in names if n in self.lanes}
      made = self.pipe.run_pass(
        self.request,
        names,
        self._context(as_mix, stretch),
        lanes,
        heard if self._hears() else [],
        there,
        self.progress,
        start=self.start,
        window=number,
        span=(stretch.begin * self.hop / self.pipe.rate, self.draft.samples / self.pipe.rate),
      )
      place = np.arange(stretch.first, stretch.last)
      place = place[missing[place]]
      made = self.pipe.bundle.statistics.restore(made)
      for name, latents in zip(names, made, strict=True):
        self.draft.latents[name][place] = latents[place - stretch.begin]
      missing[place] = False

  def _hears(self) -> bool:
    """Whether the model has learned to hear a sub-mix."""
    return self.pipe.config["dropout"]["context"] < 1

  def _context(self, names: Sequence[str], stretch: Stretch) -> Float32[np.ndarray, "1 T C"]:
    """Latents of the sub-mix of these stems, in a window."""
    stop = (stretch.begin + self.size) * self.hop
    stems = {n: self.draft.audio[n][stretch.begin * self.hop : stop] for n in names}
    if stems and self._hears():
      return self.pipe.encode_mix(stems, self.size)[None]
    return np.zeros((1, self.size, self.pipe.channels), np.float32)

  def _set_latents(self, name: str, empty: bool) -> None:
    """Sees to it that a stem has latents, which are its own to be written to."""
    latents = self.draft.latents
    if empty:
      latents[name] = np.zeros((self.frames, self.pipe.channels), np.float32)
    elif name in latents:
      latents[name] = latents[name].copy()
    else:
      found = self.pipe.encode_mix({name: self.draft.audio[name]}, self.frames)
      latents[name] = self.pipe.bundle.statistics.restore(found)

  def _row(self, name: str, missing: Bool[np.ndarray, "T"], stretch: Stretch) -> Row:
    """What is there of a stem in a window; nothing after the song's end."""
    latents = self.pipe.bundle.statistics.standardize(self.draft.latents[name])
    latents = self._window(latents, stretch)[None]
    return Row(self.draft.types[name], latents, self._window(~missing, stretch))

  def _window(self, frames: np.ndarray, stretch: Stretch) -> np.ndarray:
    """The frames of a window, with zeros after the song's end."""
    part = frames[stretch.begin : stretch.begin + self.size]
    return np.pad(part, [(0, self.size - len(part))] + [(0, 0)] * (frames.ndim - 1))

  def decode(self, name: str) -> None:
    """Audio of what was made of a stem, put into its holes."""
    latents, silence = self.draft.latents[name], np.zeros((self.draft.samples, 2), np.float32)
    audio = self.draft.audio.get(name, silence)
    for (first, last), holes in self._decoded():
      new = np.zeros((self.frames * self.hop, 2), np.float32)
      new[first * self.hop : last * self.hop] = self.pipe.decode_row(latents[first:last])
      for hole in holes:
        part = slice(hole.start, hole.stop)
        new[part] = sound_of(self.request, 0, name, new[part])
        audio = blend(audio, new, hole, self.pipe.rate)
    self.draft.audio[name] = audio
    self.progress.add(DECODED)

  def _decoded(self) -> list[tuple[tuple[int, int], Sequence[Hole]]]:
    """The frames that are decoded, and the holes that they are for.

    They are all that the model makes at once, or else those around each hole; of few lengths,
    because each is compiled by itself.
    """
    if self.frames <= self.size:
      return [((0, self.frames), self.holes)]
    vae = self.pipe.bundle.vae
    beside = max(vae.halo, WARM if vae.reach is None else vae.reach)
    found = []
    for hole in self.holes:
      first, last = max(0, hole.first - beside), min(self.frames, hole.last + beside)
      length = min(self.frames, -(-(last - first) // BUCKET) * BUCKET)
      first = max(0, min(first, self.frames - length))
      found.append(((first, first + length), [hole]))
    return found

"""Editing a song: every edit is a generation of which more is known, and gives another song.

    again   stems, or ranges of them, made anew while all else stays
    vary    the same, from what is there: the less noise, the more stays
    add     stems to those that are there
    extend  the song at its end or beginning, all stems together
    loop    a range whose end meets its beginning
    follow  stems to audio of any length

`StemPipeline` has them as methods. Each is checked first, which needs no weights: `again.check`
takes a pipeline, or what is known of a model (weights/known.py). Then it is made (making.py). What
is not made anew stays as it is, to the bit. Each step is written down in the song (session.py), so
that it can be heard, taken up or done again.

Options of all are `prompt`, `negative`, `seed`, `steps` and `guidance`: what is left out is as it
was, and the seed the next that was not used. `progress` is called with what is done and of how
much, and what it raises ends the work. UsageError or MismatchError come before anything is made.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from stemphonic_jax.audio.lengths import LONGEST, at_most, samples_of
from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation import values
from stemphonic_jax.generation.carried import moved
from stemphonic_jax.generation.context import Context, fit, given_context, read_context, timed
from stemphonic_jax.generation.draft import Draft, Edit
from stemphonic_jax.generation.edit_request import (
  Activity,
  beside,
  check_model,
  check_read,
  fitting,
  generated,
  makeable,
  named,
  of_stems,
  playing,
  seconds_of,
  typed,
)
from stemphonic_jax.generation.guided import Guidance, check_guidance
from stemphonic_jax.generation.info import info_of
from stemphonic_jax.generation.making import make
from stemphonic_jax.generation.progress import Tell
from stemphonic_jax.generation.request import (
  Request,
  check_metre,
  check_tempo,
  check_weighed,
)
from stemphonic_jax.generation.session import begun
from stemphonic_jax.generation.song import Song
from stemphonic_jax.generation.song_folder import LATENTS
from stemphonic_jax.generation.windows import (
  Hole,
  bar_samples,
  blend,
  check_range,
  holes,
  pairs,
)

if TYPE_CHECKING:
  from stemphonic_jax.generation.pipeline import StemPipeline
  from stemphonic_jax.weights.known import Known

SEAM = 2.0  # seconds before its end that a loop is made anew, at most a bar and a quarter of it
SHORTEST_LOOP = 0.5  # seconds
WEAKEST = 0.01  # strength of a variation

OPTIONS = ("prompt", "negative", "seed", "steps", "guidance")
SAMPLER = ("steps", "guidance", "share_noise")
LASTING = ("steps", "guidance", "negative")  # options that later edits take over


def _method(check: Callable[..., Edit]) -> Callable[..., Song]:
  """An edit as a method: checked, then made."""

  @functools.wraps(check)
  def edit(pipe: "StemPipeline", *asked: Any, progress: Tell | None = None, **options: Any) -> Song:
    return make(pipe, check(pipe, *asked, **options), progress)

  edit.check = check
  return edit


@_method
def again(
  pipe: "StemPipeline | Known",
  song: Song,
  stems: Sequence[str] | None = None,
  range: Any = None,
  *,
  strength: float = 1.0,
  activity: Activity | None = None,
  **options: Any,
) -> Edit:
  """The song with some stems made again: all that were generated, where none is named.

  A stem may be named with words for it, as "guitars: muted electric". `range` is (start, end) in
  seconds, or several of them; without it, stems are made again as a whole. With a `strength` under
  1 what is there is varied. `activity` maps stems to seconds in which they play.
  """
  check_model(pipe, song)
  words = dict.fromkeys(generated(song)) if stems is None else named(song, stems)
  names = list(words)
  strength = values.number("strength", strength)
  if not WEAKEST <= strength <= 1:
    raise UsageError(f"strength: got {strength}, expected {WEAKEST} to 1, which keeps nothing")
  options = fitting(pipe, song, names, options)
  request = of_stems(pipe, song, typed(song, names), **options)
  found = holes(range, song.samples, song.rate, pipe.hop)
  request = playing(pipe, song, activity, request)
  said = {**request.words, **{name: new for name, new in words.items() if new is not None}}
  request = replace(request, words={name: new for name, new in said.items() if new})
  asked = [name if said is None else f"{name}: {said}" for name, said in words.items()]
  span = None if range is None else [(h.start / song.rate, h.stop / song.rate) for h in found]
  do, ask = "again", {"stems": asked, "range": span, "activity": request.activity}
  if strength < 1:
    do, ask = "vary", {**ask, "strength": strength}
  return _edit(pipe, song, do, ask, request, _draft(pipe, song), found, strength=strength)


@_method
def vary(
  pipe: "StemPipeline | Known",
  song: Song,
  strength: float,
  stems: Sequence[str] | None = None,
  range: Any = None,
  **options: Any,
) -> Edit:
  """As `again`, with a `strength` from 0.01 to 1: the less, the more stays of what is there."""
  return again.check(pipe, song, stems, range, strength=strength, **options)


@_method
def add(
  pipe: "StemPipeline | Known",
  song: Song,
  stems: Sequence[str],
  *,
  activity: Activity | None = None,
  **options: Any,
) -> Edit:
  """The song with more stems, of these types, that fit to those that are there.

  `activity` maps stems to seconds in which they play. UsageError where the model has not learned to
  hear others.
  """
  check_model(pipe, song)
  if not pipe.ensemble and pipe.config["dropout"]["context"] >= 1:
    raise UsageError("add: this model was trained without context, it cannot hear other stems")
  options = fitting(pipe, song, (), options)
  request = beside(pipe, song, stems, **options, passes="K")
  passes = min(song.info["sampler"]["passes"], len(request.stems))
  request = replace(request, passes=passes)
  request = playing(pipe, song, activity, request)
  everything = holes(None, song.samples, song.rate, pipe.hop)
  draft = _draft(pipe, song)
  draft.types = {**draft.types, **request.stems}
  ask = {"stems": request.asked, "activity": request.activity}
  return _edit(pipe, song, "add", ask, request, draft, everything)


@_method
def extend(
  pipe: "StemPipeline | Known",
  song: Song,
  seconds: float,
  left: bool = False,
  **options: Any,
) -> Edit:
  """The song going on until it lasts so many `seconds`, or beginning earlier where `left` is set.

  To the left it grows by whole bars, where the tempo is known, so that bars stay on the grid.
  """
  check_model(pipe, song)
  hop, rate, samples = pipe.hop, song.rate, song.samples
  seconds, left = values.number("seconds", seconds), values.flag("left", left)
  if not seconds_of(song) < seconds <= LONGEST:
    raise UsageError(
      f"seconds: got {seconds:g}, expected more than the {at_most(seconds_of(song))} s of the song,"
      f" up to {LONGEST:g} s"
    )
  more = samples_of(seconds, rate) - samples
  bar = bar_samples(song.info["request"], rate)
  if left and bar and more != (bars := round(math.ceil(more / bar - 1e-6) * bar)):
    more = bars
    if samples + more > samples_of(LONGEST, rate):
      raise UsageError(f"seconds: got {seconds:g}, which by whole bars is more than {LONGEST:g} s")
    logging.info("extend: by whole bars, to %.3f s", (samples + more) / rate)
  request = of_stems(pipe, song, makeable(song), **options)
  draft, frames = _draft(pipe, song), -(-(samples + more) // hop)
  around = ((more, 0) if left else (0, more), (0, 0))
  for name, audio in draft.audio.items():
    mode = "symmetric" if name in request.stems else "constant"
    draft.audio[name] = np.pad(audio, around, mode)
  if left:
    hole = Hole(0, -(-more // hop), 0, more)
    draft.latents = {}
  else:
    hole = Hole(samples // hop, frames, samples, samples + more)
    longer = ((0, frames - samples // hop), (0, 0))
    draft.latents = {n: np.pad(z[: samples // hop], longer) for n, z in draft.latents.items()}
  request = replace(request, seconds=(samples + more) / rate)
  kept = moved(song.info["request"]["activity"], left * more / rate, request.seconds)
  ask = {"seconds": seconds, "left": left}
  return _edit(pipe, song, "extend", ask, request, draft, [hole], kept=kept)


@_method
def loop(
  pipe: "StemPipeline | Known",
  song: Song,
  range: Any = None,
  **options: Any,
) -> Edit:
  """A range of the song, or all of it, as a loop: its last moments are made to lead to its first.

  Where the tempo is known, it begins and ends on a bar.
  """
  check_model(pipe, song)
  start, stop = _loop_samples(song, (0, seconds_of(song)) if range is None else range)
  hop, rate, length = pipe.hop, song.rate, stop - start
  bar = bar_samples(song.info["request"], rate) or length
  seam = int(min(SEAM * rate, bar, length // 4))
  half = length // 2
  middle = length - half  # where the end of the loop meets its beginning, turned by half of it
  hole = Hole((middle - seam) // hop, -(-middle // hop), middle - seam, middle)
  request = of_stems(pipe, song, makeable(song), **options)
  draft = _draft(pipe, song)
  draft.latents = {}
  for name, audio in draft.audio.items():
    turned = np.roll(audio[start:stop], -half, axis=0)
    before = np.pad(audio, ((seam // 2, 0), (0, 0)), "symmetric")[start : start + seam // 2]
    joined = turned.copy()
    joined[middle - len(before) : middle] = before
    draft.audio[name] = joined if name in request.stems else blend(joined, turned, hole, rate)
  request = replace(request, seconds=length / rate)
  kept = moved(song.info["request"]["activity"], -start / rate, request.seconds)
  ask = {"range": (start / rate, stop / rate)}
  return _edit(pipe, song, "loop", ask, request, draft, [hole], turned=half, kept=kept)


@_method
def follow(
  pipe: "StemPipeline | Known",
  context: str | Path | Mapping[str, np.ndarray] | np.ndarray,
  prompt: str,
  stems: Sequence[str],
  *,
  bpm: float | None = None,
  metre: str | None = None,
  seed: int = 0,
  **options: Any,
) -> Edit:
  """A song of given audio, of whatever length, and `stems` that follow it from end to end.

  `context` is a mix or stems, as `StemPipeline.variations` takes it; options are those of `add`.
  """
  types = pipe.config.get("types", ())
  read = read_context if isinstance(context, str | Path) else given_context
  given = read(context, pipe.rate, LONGEST, types)
  lasting = {name: options[name] for name in LASTING if options.get(name) is not None}
  if bpm is not None:  # that of a song which is given is its bars', whatever a model hears
    bpm = check_tempo(pipe.config, bpm)
  check_read(pipe)
  song = given_song(pipe, given, prompt, *timed(given, bpm, metre), **lasting)
  return add.check(pipe, song, stems, seed=seed, **options)


def given_song(
  pipe: "StemPipeline | Known",
  given: Context,
  prompt: str,
  bpm: float | None,
  metre: str | None = None,
  *,
  steps: int | None = None,
  guidance: Guidance | None = None,
  negative: str | None = None,
) -> Song:
  """A song of given audio alone; what else is said is for what is to follow it, and for edits."""
  samples = max(map(len, given.audio.values()))
  given = fit(given, samples, pipe.rate, pipe.hop)
  ask = {"prompt": values.text("prompt", prompt), "bpm": bpm and values.number("bpm", bpm)}
  ask["metre"] = check_metre(metre, ask["prompt"])
  if negative is not None:
    ask["negative"] = values.text("negative", negative)
  own, asked = pipe.config["sample"], {}
  if steps is not None:
    asked["steps"] = values.whole("steps", steps)
  if guidance is not None:
    pipe.check_weights(guidance)
    asked["guidance"] = check_guidance(own["guidance"], guidance)
  sampler = {name: own[name] for name in SAMPLER} | asked
  counts = {"seed": 0, "passes": 1, "variations": 1}
  request = Request(stems={}, seconds=samples / pipe.rate, **ask, **counts, **sampler)
  info = begun(info_of(pipe, request, given, 0, (), {}), "given", ask | asked, given.audio)
  return Song(given.audio, pipe.rate, pipe.hop, {}, {}, info)


EDITS = {  # what is needed of what is asked of each, and what may be left out
  "again": ((), ("stems", "range", "activity")),
  "vary": (("strength",), ("stems", "range", "activity")),
  "add": (("stems",), ("activity",)),
  "extend": (("seconds",), ("left",)),
  "loop": ((), ("range",)),
  "remove": (("stems",), ()),
  "use": (("stem", "step"), ()),
}
OF_SONGS = ("remove", "use")  # for which no model is needed
CHECKS = {edit.__name__: edit.check for edit in (again, vary, add, extend, loop)}


def edit(
  pipe: "StemPipeline", song: Song, do: str, *, progress: Tell | None = None, **ask: Any
) -> Song:
  """An edit by its name and what is asked, as a step of song.json has it; UsageError for others."""
  _check_names(do, ask)
  if do not in OF_SONGS:
    return getattr(pipe, do)(song, progress=progress, **ask)
  return getattr(song, do)(**ask)


def check(pipe: "StemPipeline | Known", song: Song, do: str, **ask: Any) -> Edit:
  """The same before it is made, of an edit for which a model is needed."""
  _check_names(do, ask)
  return CHECKS[do](pipe, song, **ask)


def _check_names(do: str, ask: Mapping[str, Any]) -> None:
  if do not in EDITS:
    raise UsageError(f"no edit is called {str(do)[:40]!r}; expected one of {', '.join(EDITS)}")
  needed, rest = EDITS[do]
  allowed = (*needed, *rest, *(() if do in OF_SONGS else OPTIONS))
  if others := [name for name in ask if name not in allowed]:
    raise UsageError(f"{do}: got {others[0][:40]!r}, expected {', '.join(allowed)}")
  if missing := [name for name in needed if ask.get(name) is None]:
    raise UsageError(f"{do}: {missing[0]} is missing")


def _loop_samples(song: Song, asked: Any) -> tuple[int, int]:
  """Where a loop starts and stops: on bars where the tempo is known."""
  rate, bar = song.rate, bar_samples(song.info["request"], song.rate)
  ranges = pairs(asked)
  if len(ranges) > 1:
    raise UsageError(f"range: got {len(ranges)} of them, expected one, which is to be the loop")
  start, stop = check_range(*ranges[0], song.samples, rate)
  if bar:
    bars, whole = round((stop - start) / bar), int(song.samples / bar + 1e-6)
    if not min(bars, whole):
      lasts = f"{(stop - start) / rate:.2f} s, and a bar {bar / rate:.2f} s"
      raise UsageError(f"loop: the range lasts {lasts}; name a bar at least")
    last = min(round(start / bar) + bars, whole)
    first = max(0, last - bars)
    before, (start, stop) = (start, stop), (round(first * bar), round(last * bar))
    if (start, stop) != before:
      logging.info("loop: on bars, %.3f-%.3f s", start / rate, stop / rate)
  if stop - start < SHORTEST_LOOP * rate:
    lasts = f"{(stop - start) / rate:.2f} s"
    raise UsageError(f"loop: lasts {lasts}, expected {SHORTEST_LOOP:g} s at least")
  return start, stop


def _draft(pipe: "StemPipeline | Known", song: Song) -> Draft:
  """The song as it is, to be given holes."""
  frames = -(-song.samples // pipe.hop)
  types = {name: stem["type"] for name, stem in song.info["stems"].items()}
  latents = {n: z for n, z in song.latents.items() if pipe.fits(z, types[n], frames)}
  if others := [name for name in song.latents if name not in latents]:
    said = "%s: what it has of %s is not of this model; stems are encoded anew"
    logging.warning(said, (song.folder or Path()) / LATENTS, ", ".join(others))
  return Draft(dict(song.stems), types, latents)


def _edit(
  pipe: "StemPipeline | Known",
  song: Song,
  do: str,
  ask: Mapping[str, Any],
  request: Request,
  draft: Draft,
  found: Sequence[Hole],
  **more: Any,
) -> Edit:
  """An edit that is checked but for weights of guidance; UsageError where these are idle."""
  if request.guidance != song.info["sampler"]["guidance"]:  # what it has need not fit to an edit
    others = {n: audio for n, audio in draft.audio.items() if n not in request.stems}
    types = {name: draft.types[name] for name in others if draft.types[name]}
    check_weighed(pipe.config, request, Context(others, types))
  ask = {**ask, **{name: getattr(request, name) for name in OPTIONS}}
  ask["negative"] = request.negative or ""
  return Edit(song, do, ask, request, draft, found, **more)

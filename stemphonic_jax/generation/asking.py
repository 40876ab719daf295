"""Asking a model for songs: the same of every system, which makes what was asked by its `songs`.

What is asked is an order first, checked as a whole without weights: `order` takes a pipeline, or
what is known of a model (weights/known.py).
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemphonic_jax.audio.lengths import SHORTEST, samples_of
from stemphonic_jax.errors import TooLongError
from stemphonic_jax.generation.context import Context, fit, given_context, read_context, timed
from stemphonic_jax.generation.progress import DECODED, SAMPLED, Progress, Tell, one_after_another
from stemphonic_jax.generation.request import (
  Request,
  check_request,
  check_weighed,
  hears_tempo,
)
from stemphonic_jax.generation.song import Song

if TYPE_CHECKING:
  from stemphonic_jax.generation.pipeline import StemPipeline
  from stemphonic_jax.weights.known import Known


@dataclass(frozen=True, eq=False)
class Order:
  """What songs are to be made of: the request, and given audio at the length of the songs."""

  request: Request
  given: Context
  samples: int


def generate(
  pipe: "StemPipeline", prompt: str, stems: Sequence[str] | Mapping[str, str], **options: Any
) -> Song:
  """One song with the stems asked for; `options` are those of `variations` but `count`."""
  return pipe.variations(prompt, stems, count=1, **options)[0]


def order(
  pipe: "StemPipeline | Known",
  prompt: str,
  stems: Sequence[str] | Mapping[str, str],
  *,
  count: int,
  bpm: float | None = None,
  metre: str | None = None,
  seed: int = 0,
  context: str | Path | Mapping[str, np.ndarray] | np.ndarray | Context | None = None,
  activity: Mapping[str, Sequence[tuple[float, float]]] | None = None,
  duration: float | None = None,
  passes: int | str | None = None,
  steps: int | None = None,
  guidance: float | Mapping[str, float] | None = None,
  negative: str | None = None,
  guidance_in_turn: bool = False,
  share_noise: bool | None = None,
  first: int = 0,
  allow: Callable[[Collection[str]], None] | None = None,
) -> Order:
  """`count` songs from one request and as many noises, made together.

  `stems` are types such as "drums", or "guitars: muted electric" with words for that stem alone, or
  they map types to words; `context` is given audio (a file, a folder of stems, or arrays at the
  model's rate) that the new stems fit to and that stays as it is; `activity` maps a stem to seconds
  in which it plays; `metre` is that of bars, as "3/4", by default what the prompt says, or 4/4, and
  of a saved song that is the context its own, as its `bpm` is;
  `passes` is a number or "K", by default all stems at once, or what the system does; `guidance` is
  a number or weights, as {"words": 3, "context": 1.5}, and leads away from what is `negative`, with
  less memory where it is `guidance_in_turn`; `first` is the number of the first variation, to make
  that one alone. What is None is the model's own, but for `duration`, which then is that of the
  context, where there is one. What a system cannot do it refuses.
  `allow` is called with the names of a song's stems before the work, which it may refuse;
  `progress` from time to time with what is done and of how much, and what it raises ends it.
  Raises UsageError, DataError or MissingError before anything is generated, and DivergedError where
  what is generated is no sound. What is silent though it was to sound, the log says.
  """
  options = pipe.adapted(
    {
      "bpm": bpm,
      "activity": activity,
      "passes": passes,
      "steps": steps,
      "guidance": guidance,
      "negative": negative,
      "in_turn": guidance_in_turn,
      "share_noise": share_noise,
    }
  )
  pipe.check_weights(guidance)
  given = _read(pipe, context)
  bpm, metre = timed(given, options["bpm"], metre, hears_tempo(pipe.config))
  if given and duration is None:
    longest = max(map(len, given.audio.values())) / pipe.rate
    duration = max(SHORTEST, min(longest, pipe.seconds))
  request = check_request(
    pipe.config,
    pipe.hop,
    prompt=prompt,
    stems=stems,
    seed=seed,
    seconds=duration,
    variations=count,
    context=None if given is None else list(given.audio),
    first=first,
    metre=metre,
    **{**options, "bpm": bpm},
  )
  check_weighed(pipe.config, request, given)
  if allow:
    allow([*(given.audio if given else ()), *request.stems])
  samples = samples_of(request.seconds, pipe.rate)
  given = fit(given, samples, pipe.rate, pipe.hop) if given else Context({}, {})
  return Order(request, given, samples)


@functools.wraps(order)
def variations(
  pipe: "StemPipeline", *asked: Any, progress: Tell | None = None, **options: Any
) -> list[Song]:
  """As its `order` says; StemPipeline has it as a method."""
  return made(pipe, order(pipe, *asked, **options), progress)


def made(pipe: "StemPipeline", asked: Order, progress: Tell | None = None) -> list[Song]:
  """The songs of an order; DivergedError where what is made is no sound."""
  request = asked.request
  rows = len(request.stems) * request.variations
  work = Progress((SAMPLED + DECODED) * rows, one_after_another(progress))
  return pipe.songs(request, asked.given, asked.samples, work)


def _read(pipe: "StemPipeline | Known", context: Any) -> Context | None:
  if context is None or isinstance(context, Context):
    return context
  longest = pipe.seconds + (pipe.hop - 1) / pipe.rate  # less than a frame is cut off
  read = read_context if isinstance(context, str | Path) else given_context
  try:
    return read(context, pipe.rate, longest, pipe.config.get("types", ()))
  except TooLongError as error:
    raise TooLongError(f"{error}, or follow it from end to end: `stemphonic follow`") from None

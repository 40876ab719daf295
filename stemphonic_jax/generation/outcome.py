"""What a model made is looked at before anybody hears it: is it sound, is it silent?"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from absl import logging
from jaxtyping import Bool, Float32

from stemphonic_jax.audio.activity import lanes_from_ranges
from stemphonic_jax.audio.levels import dbfs, saturate
from stemphonic_jax.errors import DivergedError
from stemphonic_jax.generation.draft import Draft
from stemphonic_jax.generation.progress import Tell
from stemphonic_jax.generation.request import Request
from stemphonic_jax.generation.windows import Hole, unknown

if TYPE_CHECKING:
  from stemphonic_jax.generation.pipeline import StemPipeline

LOUDEST = 10.0  # full scale is 1; of 1 040 stems that a sound model made, one reached 3.5
SILENT_DBFS = -45.0  # below which a stem is silent that was to sound; others are at some -25
SHOWN = 60  # letters of a prompt


def sound_of(
  request: Request, variation: int, name: str, audio: Float32[np.ndarray, "samples 2"]
) -> Float32[np.ndarray, "samples 2"]:
  """What a model made of a stem, within ±1 as recordings are: strokes beyond give in, as on tape.

  DivergedError where samples are not finite, or far beyond what audio is; it names the request and
  its seed, with which it can be made again.
  """
  peak = float(max(audio.max(), -audio.min()))  # NaN where any sample is
  if peak <= LOUDEST:
    return saturate(audio)
  what = f"samples up to {peak:.2g}, expected within ±1" if np.isfinite(peak) else "NaN or infinity"
  raise DivergedError(
    f"the model made {what}: stem {name!r} of {_of(request, variation)}; nothing is saved; try"
    f" another prompt, another --seed or less --guidance"
  )


def silent_stems(
  pipe: "StemPipeline",
  draft: Draft,
  request: Request,
  holes: Sequence[Hole],
  *,
  variation: int = 0,
  again: bool = True,
  tell: Tell | None = None,
) -> list[str]:
  """The stems of a request that are silent in the holes of a draft, which the log says.

  Those that were made as a whole are made once more before that where the model hears activity: to
  all that is there, and to sound where they were asked to or, where nothing was said, all along.
  """
  missing = unknown(holes, -(-draft.samples // pipe.hop))
  asked = dict.fromkeys(request.stems, missing) | {
    name: missing & lanes_from_ranges(ranges, len(missing), pipe.hop, pipe.rate).astype(bool)
    for name, ranges in request.activity.items()
  }

  def silent() -> list[str]:
    return [name for name in request.stems if is_silent(draft.audio[name], pipe.hop, asked[name])]

  names = silent()
  if names and again and missing.all() and pipe.config["dropout"].get("activity", 1) < 1:
    logging.info("silent, so made once more, to sound: %s", ", ".join(names))
    always = ((0.0, request.seconds),)
    once = replace(
      request,
      stems={name: request.stems[name] for name in names},
      activity={name: request.activity.get(name, always) for name in names},
      first=request.first + variation,
      variations=1,
    )
    ordered = {name: draft.audio[name] for name in sorted(draft.audio)}  # a sum rounds by order
    remade = Draft(ordered, draft.types, draft.latents)
    pipe.fill(remade, once, holes, tell=tell)
    draft.audio |= remade.audio
    names = silent()
  for name in names:
    logging.warning(
      "stem %r was to sound and is silent: %s; another seed may help", name, _of(request, variation)
    )
  return names


def is_silent(
  audio: Float32[np.ndarray, "samples 2"], hop: int, asked: Bool[np.ndarray, "T"]
) -> bool:
  """Whether a stem is silent in all of the frames in which it was `asked` to sound.

  Where there are none it is not.
  """
  heard = np.repeat(asked, hop)[: len(audio)]
  return bool(heard.any()) and dbfs(audio[heard]) < SILENT_DBFS


def _of(request: Request, variation: int) -> str:
  words = " ".join(request.prompt.split())
  words = words if len(words) <= SHOWN else f"{words[:SHOWN]}…"
  number = request.first + variation
  which = f", variation {number + 1}" if request.variations > 1 or number else ""
  return f"{words!r}, seed {request.seed}{which}"

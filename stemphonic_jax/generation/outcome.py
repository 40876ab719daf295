"""What a model made is looked at before anybody hears it: is it sound, is it silent?"""

import numpy as np
from absl import logging
from jaxtyping import Float32, Int8

from stemphonic_jax.audio.activity import frame_activity
from stemphonic_jax.audio.files import LOUDEST
from stemphonic_jax.errors import DivergedError
from stemphonic_jax.generation.request import Request

SHOWN = 60  # letters of a prompt


def refuse_absurd(
  request: Request, variation: int, name: str, audio: Float32[np.ndarray, "samples 2"]
) -> None:
  """DivergedError where a stem's samples are not finite, or far beyond what audio is.

  It names the request and its seed, with which it can be made again.
  """
  peak = float(max(audio.max(), -audio.min()))  # NaN where any sample is
  if peak <= LOUDEST:
    return
  what = f"samples up to {peak:.2g}, expected within ±1" if np.isfinite(peak) else "NaN or infinity"
  raise DivergedError(
    f"the model made {what}: stem {name!r} of {_of(request, variation)}; nothing is saved; try"
    f" another prompt, another --seed or less --guidance"
  )


def is_silent(
  audio: Float32[np.ndarray, "samples 2"],
  hop: int,
  rate: int,
  asked: Int8[np.ndarray, "T"] | None,
) -> bool:
  """Whether a stem is silent wherever it was `asked` to sound: all along, if no lane was given.

  One that was asked to be silent all along is not.
  """
  found = frame_activity(audio, hop, rate)
  asked = np.ones_like(found) if asked is None else asked
  return bool(asked.any() and not (found & asked).any())


def say_silent(request: Request, variation: int, name: str) -> None:
  """A line of log for a stem that is silent; song.json says it too."""
  logging.warning(
    "stem %r was to sound and is silent: %s; another seed may help", name, _of(request, variation)
  )


def _of(request: Request, variation: int) -> str:
  words = " ".join(request.prompt.split())
  words = words if len(words) <= SHOWN else f"{words[:SHOWN]}…"
  number = f", variation {variation + 1}" if request.variations > 1 else ""
  return f"{words!r}, seed {request.seed}{number}"

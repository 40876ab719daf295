"""A song made again, step by step, as it was written down."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stemphonic_jax.audio.metre import COMMON
from stemphonic_jax.errors import DataError
from stemphonic_jax.generation.context import Context
from stemphonic_jax.generation.edit_request import check_model
from stemphonic_jax.generation.editing import edit, given_song
from stemphonic_jax.generation.progress import Tell
from stemphonic_jax.generation.saved import found
from stemphonic_jax.generation.song import Song

if TYPE_CHECKING:
  from stemphonic_jax.generation.pipeline import StemPipeline


def replay(pipe: "StemPipeline", song: Song, progress: Tell | None = None) -> Song:
  """All steps of a song once more, also those that are not heard; the same to the bit on a machine.

  Audio that was given or found is taken from the song. `progress` counts the steps.
  MismatchError where another model made it, DataError for a step that nobody knows.
  """
  check_model(pipe, song)
  steps, made = song.info["steps"], None
  for number, step in enumerate(steps):
    if progress:
      progress(number, len(steps))
    before = None if step["from"] is None else made.at(step["from"])
    made = _redone(pipe, song, before, number, step)
  if progress:
    progress(len(steps), len(steps))
  return made.at(song.info["now"])


def differences(song: Song, other: Song) -> list[tuple[int, str]]:
  """The takes, by step and stem, of which two songs of the same steps do not have the same."""
  pairs = zip(song.info["steps"], other.info["steps"], strict=True)
  return [
    (number, name)
    for number, (step, redone) in enumerate(pairs)
    for name in step["made"]
    if step["made"][name].get("sha256") != redone["made"][name].get("sha256")
  ]


def _redone(
  pipe: "StemPipeline", song: Song, before: Song | None, number: int, step: Mapping[str, Any]
) -> Song:
  do, ask = step["do"], dict(step["ask"])
  if do in ("generate", "given"):
    ask.setdefault("metre", COMMON)  # as all were before songs had one
  try:
    match do:
      case "generate":
        given = _given(song, number, ask.pop("context"))
        context = given if given.audio else None
        if ask.get("share_noise") == pipe.config["sample"]["share_noise"]:
          ask["share_noise"] = None  # its own, which systems without a choice refuse to be told
        return pipe.variations(**ask, count=1, context=context)[0]
      case "given":
        given = _given(song, number, step["made"])
        return given_song(pipe, given, **ask)
      case "found":
        given = _given(song, number, step["made"])
        types = {name: take["type"] for name, take in step["made"].items()}
        return found(before, given.audio, types, ask["removed"])
      case _:
        return edit(pipe, before, do, **ask)
  except (LookupError, TypeError, ValueError, AttributeError) as error:
    raise DataError(f"step {number} ({do}): cannot be done again ({error})") from None


def _given(song: Song, number: int, names: Sequence[str]) -> Context:
  """What a step was given."""
  made = song.info["steps"][number]["made"]
  audio = {name: song.take(name, number).audio for name in names}
  return Context(audio, {name: made[name]["type"] for name in names if made[name]["type"]})

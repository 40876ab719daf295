"""The request of an edit: what is not asked for is as the song has it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from absl import logging

from stemphonic_jax.audio.metre import COMMON
from stemphonic_jax.errors import MismatchError, UsageError
from stemphonic_jax.generation.guided import REST, Guidance, unguided
from stemphonic_jax.generation.limits import MAX_SEED, MAX_WORDS, check_text
from stemphonic_jax.generation.request import (
  Request,
  check_activity,
  check_request,
  hears_tempo,
)
from stemphonic_jax.generation.session import Info
from stemphonic_jax.generation.song import Song, check_names, listed

if TYPE_CHECKING:
  from stemphonic_jax.generation.pipeline import StemPipeline
  from stemphonic_jax.weights.known import Known

# Guidance of the other stems in an edit of an ensemble. Of 24 pieces with eight seconds of a stem
# repaired, harmony was 0.93 and chords were 0.90; 0.88 and 0.82 with a weight of 1.
OTHERS = 2.5

Activity = Mapping[str, Sequence[tuple[float, float]]]


def check_model(pipe: "StemPipeline | Known", song: Song) -> None:
  """MismatchError where another model made the song: latents and noise would not be the same."""
  if song.info["model"] != pipe.fingerprint:
    raise MismatchError(
      f"another model made this song ({song.info['model'][:12]}, not"
      f" {pipe.fingerprint[:12]}); name that one with --model, or play along with the song:"
      f" stemphonic follow"
    )
  if song.rate != pipe.rate:
    raise MismatchError(
      f"song.json: sample_rate is {song.rate}, and the model that made this song makes"
      f" {pipe.rate} Hz; write that into it again, or play along with the song: stemphonic follow"
    )


def check_read(pipe: "StemPipeline | Known") -> None:
  """Says so where a prompt is asked for, and the model reads none."""
  if pipe.config["dropout"]["text"] >= 1:
    logging.info("this model reads no text: a prompt is a title, and changes no sound")


def generated(song: Song) -> list[str]:
  """The stems that a model made."""
  names = [name for name, stem in song.info["stems"].items() if not stem["given"]]
  if not names:
    raise UsageError(
      f"no stem of this song was generated; name those to make: {', '.join(song.stems)}"
    )
  return names


def named(song: Song, stems: Sequence[str] | Mapping[str, str]) -> dict[str, str | None]:
  """Stems of a song by name, each with the words that are asked for it, None for those it has."""
  if isinstance(stems, Mapping):
    stems = [f"{name}: {words or ''}" for name, words in stems.items()]
  found: dict[str, str | None] = {}
  for stem in listed(stems):
    name, colon, said = stem.partition(":")
    if stem in song.stems or not colon:
      name, new = stem, None
    else:
      name, new = name.strip(), " ".join(said.split())
      check_text(f"stem {name!r}: what is said of it", new, MAX_WORDS)
    if found.setdefault(name, new) != new:
      raise UsageError(f"stem {name!r}: is named twice, with other words; name it once")
  check_names(song, list(found))
  return found


def typed(song: Song, names: Sequence[str]) -> dict[str, str]:
  """Stems with their types; UsageError for one of no type that a model makes."""
  types = {name: song.info["stems"][name]["type"] for name in names}
  if unknown_ := [name for name in names if not types[name]]:
    raise UsageError(f"stem {unknown_[0]!r}: is of no known type, so it cannot be made again")
  return types


def makeable(song: Song) -> dict[str, str]:
  """The stems that go on; the others are silent where a song is longer, which is said."""
  types = {name: stem["type"] for name, stem in song.info["stems"].items()}
  others = [name for name, kind in types.items() if not kind]
  if others:
    logging.warning("%s: of no known type, so nothing is made of it", ", ".join(others))
  return typed(song, [name for name in types if name not in others] or others)


def seconds_of(song: Song) -> float:
  """How long a song is."""
  return song.samples / song.rate


def next_seed(info: Info) -> int:
  """A seed that was not asked for yet: with one that was, the same might come out again."""
  asked = [step["ask"].get("seed") or 0 for step in info["steps"]]
  return (max(asked) + 1) % (MAX_SEED + 1)


def beside(
  pipe: "StemPipeline | Known",
  song: Song,
  stems: Sequence[str],
  *,
  prompt: str | None = None,
  negative: str | None = None,
  seed: int | None = None,
  steps: int | None = None,
  guidance: Guidance | None = None,
  passes: int | str = 1,
) -> Request:
  """A request that takes from the song what is None, for stems beside those that are there.

  The seed is the next that was not used; an empty text leads away from nothing.
  """
  asked, sampler = song.info["request"], song.info["sampler"]
  guidance = sampler["guidance"] if guidance is None else guidance
  pipe.check_weights(guidance)
  if prompt not in (None, asked["prompt"]):
    check_read(pipe)
  if negative is None and asked.get("negative") and unguided(pipe.config, guidance):
    logging.info("what the song avoids has no effect here: words have a guidance of 1")
    negative = ""
  request = check_request(
    pipe.config,
    pipe.hop,
    prompt=asked["prompt"] if prompt is None else prompt,
    negative=(asked.get("negative") if negative is None else negative) or None,
    stems=stems,
    bpm=asked["bpm"] if hears_tempo(pipe.config) else None,  # of the song, its bars have it
    metre=asked.get("metre", COMMON),
    seed=next_seed(song.info) if seed is None else seed,
    seconds=None,
    passes=passes,
    variations=1,
    steps=sampler["steps"] if steps is None else steps,
    guidance=guidance,
    in_turn=sampler.get("guidance_in_turn", False),
    share_noise=sampler["share_noise"],
    activity=None,
    context=list(song.stems) if passes == "K" else None,
  )
  return replace(request, seconds=seconds_of(song))


def fitting(
  pipe: "StemPipeline | Known", song: Song, made: Collection[str], options: Mapping[str, Any]
) -> Mapping[str, Any]:
  """Options with more weight for the stems that stay, where an ensemble hears them."""
  guidance, stems = song.info["sampler"]["guidance"], song.info["stems"]
  stay = [name for name, stem in stems.items() if stem["type"] and name not in made]
  plain = not isinstance(guidance, Mapping) and guidance != 1
  if options.get("guidance") is not None or not (pipe.ensemble and stay and plain):
    return options
  return {**options, "guidance": {REST: guidance, "others": OTHERS}}


def of_stems(
  pipe: "StemPipeline | Known", song: Song, types: Mapping[str, str], **options: Any
) -> Request:
  """The same for stems of the song itself, by their types."""
  request = beside(pipe, song, [next(iter(types.values()))], **options)
  words = song.info["request"].get("words", {})
  words = {name: said for name, said in words.items() if name in types}
  passes = song.info["sampler"]["passes"]
  return replace(request, stems=dict(types), passes=passes, words=words)


def playing(
  pipe: "StemPipeline | Known", song: Song, activity: Activity | None, request: Request
) -> Request:
  """The request with the activity that is asked for or, of stems that have one, with theirs."""
  config, hop = pipe.config, pipe.hop
  asked = check_activity(config, hop, activity or {}, request.stems, seconds_of(song))
  lanes = {**song.info["request"]["activity"], **asked}
  return replace(request, activity={n: lanes[n] for n in request.stems if n in lanes})

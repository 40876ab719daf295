"""What is asked of a model, checked as a whole before anything is computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from absl import logging

from stemphonic_jax.audio.lengths import SHORTEST, at_most, cut_to, within
from stemphonic_jax.audio.metre import COMMON, METRES, bar_seconds, said
from stemphonic_jax.data.stems import BPM_RANGE
from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation import values
from stemphonic_jax.generation.context import Context
from stemphonic_jax.generation.guided import WEIGHED, Guidance, check_guidance, weights_of
from stemphonic_jax.generation.limits import (
  MAX_PROMPT,
  MAX_SEED,
  MAX_STEPS,
  MAX_VARIATIONS,
  check_text,
)
from stemphonic_jax.generation.stem_names import check_twins, name_stems, type_of

Ranges = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Request:
  """One generation. `stems` maps each stem's unique name to its type, in order of generation.

  `activity` gives, for some of the names, the seconds in which the stem plays; `passes` cuts the
  stems into that many passes, each conditioned on the sub-mix of the passes before it. `words` say,
  for some of the names, how that stem alone is to sound.
  """

  prompt: str
  stems: Mapping[str, str]
  bpm: float | None
  seed: int
  seconds: float
  passes: int
  variations: int
  steps: int
  guidance: Guidance  # one weight, or those of some conditions and of the rest
  share_noise: bool
  activity: Mapping[str, Ranges] = field(default_factory=dict)
  words: Mapping[str, str] = field(default_factory=dict)
  negative: str | None = None
  in_turn: bool = False
  first: int = 0  # the number of the first variation, which its noise depends on
  metre: str = COMMON

  @property
  def bar(self) -> float | None:
    """Seconds of a bar; None where no tempo is asked for."""
    return bar_seconds(self.bpm, self.metre)

  @property
  def asked(self) -> list[str]:
    """The stems as `check_request` takes them: ["guitars: muted electric", "drums"]."""
    return [
      f"{kind}: {self.words[n]}" if n in self.words else kind for n, kind in self.stems.items()
    ]

  def ask(self, variation: int, context: Sequence[str]) -> dict[str, Any]:
    """What makes one of its variations again, as `StemPipeline.variations` takes it."""
    return {
      "prompt": self.prompt,
      "stems": self.asked,
      "bpm": self.bpm,
      "metre": self.metre,
      "seed": self.seed,
      "first": self.first + variation,
      "duration": self.seconds,
      "context": list(context),
      "activity": self.activity,
      "passes": self.passes,
      "steps": self.steps,
      "guidance": self.guidance,
      "negative": self.negative,
      "guidance_in_turn": self.in_turn,
      "share_noise": self.share_noise,
    }


def check_request(
  model: Mapping[str, Any],
  hop: int,
  *,
  prompt: str,
  stems: Sequence[str] | Mapping[str, str],
  bpm: float | None,
  seed: int,
  seconds: float | None,
  passes: int | str | None,
  variations: int,
  steps: int | None,
  guidance: Guidance | None,
  share_noise: bool | None,
  activity: Mapping[str, Sequence[tuple[float, float]]] | None,
  context: Sequence[str] | None,
  negative: str | None = None,
  in_turn: bool = False,
  first: int = 0,
  metre: str | None = None,
  twins: str = "",
) -> Request:
  """Fills what is left open from the model's config and checks all; UsageError for the first fault.

  `hop` is the number of samples in a latent frame, `context` holds the names of the stems given as
  context, None where none is given. Of `stems` each is a type, or "type: words"; or they map types
  to words. `twins` says what to do about two stems alike, where a system has a way of its own. What
  comes out is plain Python, which JSON can hold.
  """
  sampler = model["sample"]
  prompt, seed = values.text("prompt", prompt), values.whole("seed", seed)
  variations = values.whole("variations", variations)
  steps = values.whole("steps", sampler["steps"] if steps is None else steps)
  guidance = check_guidance(sampler["guidance"], guidance)
  share_noise = sampler["share_noise"] if share_noise is None else share_noise
  share_noise = values.flag("share_noise", share_noise)
  if not prompt.strip():
    raise UsageError("the prompt is empty; describe the music in a few words")
  check_text("the prompt", prompt, MAX_PROMPT)
  if negative is not None:
    negative = _negative(model, values.text("negative", negative), guidance)
  if bpm is not None:
    bpm = check_tempo(model, bpm)
  _within("seed", seed, 0, MAX_SEED)
  seconds = _duration(model, hop, seconds)
  _within("variations", variations, 1, MAX_VARIATIONS)
  first = values.whole("first", first)
  _within("first", first, 0, MAX_VARIATIONS - variations)
  _within("steps", steps, 1, MAX_STEPS)
  named, words = name_stems(model, stems, taken=context or ())
  if context is not None:
    _require(model, "context")
  passes = _passes(passes, len(named))
  _within("passes", passes, 1, len(named), f"for {len(named)} stems")
  if passes > 1:  # of which the later ones hear the earlier
    _require(model, "context", "make all stems in one pass")
  if share_noise:
    check_twins(named, words, passes, twins)
  return Request(
    prompt=prompt,
    stems=named,
    bpm=bpm,
    seed=seed,
    seconds=seconds,
    passes=passes,
    variations=variations,
    steps=steps,
    guidance=guidance,
    share_noise=share_noise,
    activity=check_activity(model, hop, {} if activity is None else activity, named, seconds),
    words=words,
    negative=negative,
    in_turn=values.flag("guidance_in_turn", in_turn),
    first=first,
    metre=check_metre(metre, prompt),
  )


def hears_tempo(model: Mapping[str, Any]) -> bool:
  """Whether a model was trained with the tempo of songs."""
  return model["dropout"]["bpm"] < 1


def check_tempo(model: Mapping[str, Any], bpm: Any) -> float:
  """The tempo that is asked for; UsageError for one that is none, or that it does not hear."""
  reads = model["dropout"]["text"] < 1
  _require(model, "bpm", "write the tempo into the prompt instead" if reads else "leave it out")
  bpm = values.number("bpm", bpm)
  _within("bpm", bpm, *BPM_RANGE)
  return bpm


def check_metre(metre: Any, prompt: str) -> str:
  """The metre that is asked for, or else that which the words of the prompt name, or 4/4."""
  if metre is None:
    found = said(prompt) or COMMON
    if found != COMMON:
      logging.info("metre: %s, as the prompt says", found)
    return found
  found = values.text("metre", metre).replace(" ", "")
  if found not in METRES:
    raise UsageError(f"metre: got {found[:20]!r}, expected one of {', '.join(METRES)}")
  return found


def check_weighed(model: Mapping[str, Any], request: Request, given: Context | None) -> None:
  """UsageError where guidance weighs a condition that the model or the request has not.

  The context is what is heard as a sub-mix: in an ensemble given stems of known type are others.
  """
  if not isinstance(request.guidance, Mapping):
    return
  audio, types = (given.audio, given.types) if given else ({}, {})
  ensemble = bool(model.get("dit", {}).get("ensemble"))
  there = {
    "stem_words": bool(request.words),
    "tempo": request.bpm is not None,
    "context": len(audio) > len(types) if ensemble else bool(audio) or request.passes > 1,
    "activity": bool(request.activity),
    "others": len(request.stems) + len(types) > 1,
  }
  for name in request.guidance:
    if name == "others" and not ensemble:
      raise UsageError(
        "guidance of others: stems of this model do not hear each other; leave it out"
      )
    if model["dropout"].get(WEIGHED.get(name), 0) >= 1:
      raise UsageError(f"guidance of {name}: this model was trained without it; leave it out")
    if not there.get(name, True):
      what = {"stem_words": "words for one stem", "others": "other stems"}.get(name, name)
      hint = "; stems of known types are weighed as others" if name == "context" and types else ""
      raise UsageError(f"guidance of {name}: the request has no {what}; leave it out{hint}")


def _negative(model: Mapping[str, Any], text: str, guidance: Guidance) -> str:
  if not text.strip():
    raise UsageError("negative: is empty; say what is to be avoided, or leave it out")
  check_text("negative", text, MAX_PROMPT)
  if model["dropout"]["text"] >= 1:
    raise UsageError("negative: this model was trained without text; leave it out")
  if weights_of(guidance)["text"] == 1:
    raise UsageError("negative: has no effect with a guidance of 1; ask for more, as --guidance 3")
  return text


def _duration(model: Mapping[str, Any], hop: int, seconds: float | None) -> float:
  """The seconds asked for; what is less than a latent frame beyond the model's longest is cut."""
  longest, rate = model["seconds"], model["sample_rate"]
  asked = longest if seconds is None else values.number("duration", seconds)
  found = cut_to(asked, longest, rate, hop)
  if not within(found, SHORTEST, longest, rate):
    raise UsageError(
      f"duration: got {asked}, expected {SHORTEST} to {at_most(longest)} s, the longest this model"
      f" makes"
    )
  if found != asked:
    logging.info("duration: %g s cut to %.6g s, the longest this model makes", asked, found)
  return found


def _passes(passes: Any, stems: int) -> int:
  if passes is None:
    return 1
  if isinstance(passes, str):
    if passes.upper() != "K":
      raise UsageError(f"passes: got {passes!r}, expected a number or K for one stem at a time")
    return stems
  return values.whole("passes", passes)


def check_activity(
  model: Mapping[str, Any],
  hop: int,
  activity: Mapping[str, Sequence[tuple[float, float]]],
  named: Mapping[str, str],
  seconds: float,
) -> dict[str, Ranges]:
  """The seconds in which stems play, by name; UsageError for what is not within the `seconds`."""
  if not isinstance(activity, Mapping):
    raise UsageError("activity: expected ranges by stem, as {'drums': [(0, 4), (8, 12)]}")
  checked: dict[str, Ranges] = {}
  rate = model["sample_rate"]
  for word, ranges in activity.items():
    word = values.text("activity", word)
    _require(model, "activity")
    name = word if word in named else _asked(named, word, type_of(model, word))
    pairs = _pairs(name, ranges)
    pairs = [(start, cut_to(end, seconds, rate, hop)) for start, end in pairs]
    for start, end in pairs:
      if not (0 <= start < end and within(end, 0, seconds, rate)):
        raise UsageError(
          f"activity {name}={start:g}-{end:g}: expected start < end within 0-{at_most(seconds)} s"
        )
    checked[name] = (*checked.get(name, ()), *pairs)
  return checked


def _asked(named: Mapping[str, str], word: str, kind: str) -> str:
  """The stem that is named like its type, or the only one of that; UsageError where neither is."""
  if kind in named:
    return kind
  alike = [name for name, of in named.items() if of == kind]
  if len(alike) != 1:
    what = "of which there are several" if alike else "which is not asked for"
    raise UsageError(f"activity for {word!r}, {what}; stems: {', '.join(alike or named)}")
  return alike[0]


def _pairs(name: str, ranges: Any) -> list[tuple[float, float]]:
  try:
    pairs = [(start, end) for start, end in ranges]
  except (TypeError, ValueError):
    raise UsageError(
      f"activity {name}: expected a list of (start, end) in seconds, as [(0, 4), (8, 12)]"
    ) from None
  return [tuple(values.number(f"activity {name}", edge) for edge in pair) for pair in pairs]


def _require(model: Mapping[str, Any], condition: str, instead: str = "leave it out") -> None:
  if model["dropout"][condition] >= 1:
    raise UsageError(f"{condition}: this model was trained without it; {instead}")


def _within(name: str, value: float, low: float, high: float, note: str = "") -> None:
  if not low <= value <= high:  # nor is NaN
    what = f"expected {low} to {high}{note and ' ' + note}"
    raise UsageError(f"{name}: got {value}, {what}")

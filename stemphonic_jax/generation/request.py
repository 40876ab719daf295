"""What is asked of a model, checked as a whole before anything is computed."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stemphonic_jax.data.stems import BPM_RANGE
from stemphonic_jax.data.taxonomy import MIX, parse_type
from stemphonic_jax.errors import UsageError

MAX_STEMS = 16
MAX_VARIATIONS = 64
MAX_PROMPT = 4_000  # characters; a text encoder reads far fewer
MAX_STEPS = 1_000
MAX_GUIDANCE = 20.0
MAX_SEED = 2**32 - 1

Ranges = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Request:
  """One generation. `stems` maps each stem's unique name to its type, in order of generation.

  `activity` gives, for some of the names, the seconds in which the stem plays; `passes` cuts the
  stems into that many passes, each conditioned on the sub-mix of the passes before it.
  """

  prompt: str
  stems: Mapping[str, str]
  bpm: float | None
  seed: int
  seconds: float
  passes: int
  variations: int
  steps: int
  guidance: float
  share_noise: bool
  activity: Mapping[str, Ranges] = field(default_factory=dict)


def check_request(
  model: Mapping[str, Any],
  *,
  prompt: str,
  stems: Sequence[str],
  bpm: float | None,
  seed: int,
  seconds: float | None,
  passes: int | str,
  variations: int,
  steps: int | None,
  guidance: float | None,
  share_noise: bool | None,
  activity: Mapping[str, Sequence[tuple[float, float]]] | None,
  context: Sequence[str] | None,
) -> Request:
  """Fills what is left open from the model's config and checks all; UsageError for the first fault.

  `context` holds the names of the stems given as context, None where none is given.
  """
  sampler = model["sample"]
  steps = sampler["steps"] if steps is None else steps
  guidance = sampler["guidance"] if guidance is None else guidance
  seconds = model["seconds"] if seconds is None else seconds
  if not prompt.strip():
    raise UsageError("the prompt is empty; describe the music in a few words")
  if any("\ud800" <= letter <= "\udfff" for letter in prompt):
    raise UsageError("the prompt is not text: it holds bytes that are not UTF-8")
  if len(prompt) > MAX_PROMPT:
    raise UsageError(f"the prompt has {len(prompt)} characters, expected at most {MAX_PROMPT}")
  if bpm is not None:
    _require(model, "bpm", "write the tempo into the prompt instead")
    _within("bpm", bpm, *BPM_RANGE)
  _within("seed", seed, 0, MAX_SEED)
  _within("duration", seconds, 0.1, model["seconds"], "s, the longest this model makes")
  _within("variations", variations, 1, MAX_VARIATIONS)
  _within("steps", steps, 1, MAX_STEPS)
  _within("guidance", guidance, 0, MAX_GUIDANCE)
  named = _name_stems(model, stems, taken=context or ())
  if context is not None:
    _require(model, "context")
  if passes == "K":
    passes = len(named)
  if not isinstance(passes, int):
    raise UsageError(f"passes: got {passes!r}, expected a number or K for one stem at a time")
  _within("passes", passes, 1, len(named), f"for {len(named)} stems")
  if passes > 1:  # of which the later ones hear the earlier
    _require(model, "context", "make all stems in one pass")
  share_noise = sampler["share_noise"] if share_noise is None else share_noise
  if share_noise:
    _check_twins(named, passes)
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
    activity=_check_activity(model, activity or {}, named, seconds),
  )


def plan(names: Sequence[str], passes: int) -> list[list[str]]:
  """Cuts stems into passes of nearly equal size, the larger ones first (Sec. 4.3, footnote 1).

  One pass makes all at once; two make ceil(K/2) and then the rest; K make one stem at a time.
  """
  size, larger = divmod(len(names), passes)
  cuts = [0]
  for i in range(passes):
    cuts.append(cuts[-1] + size + (i < larger))
  return [list(names[a:b]) for a, b in itertools.pairwise(cuts)]


def unique_name(stem_type: str, taken: Sequence[str]) -> str:
  """ "guitars", or "guitars 2" where that is taken, and so on."""
  name, number = stem_type, 1
  while name in taken:
    number += 1
    name = f"{stem_type} {number}"
  return name


def _type_of(model: Mapping[str, Any], word: str) -> str:
  """The stem type of a word: one of the eleven, or a free type that the model was trained on."""
  return word if word in model.get("types", ()) else parse_type(word)


def _name_stems(
  model: Mapping[str, Any], stems: Sequence[str], taken: Sequence[str]
) -> dict[str, str]:
  whole_mixes = model["whole_mixes"]
  if not stems:
    raise UsageError("no stems asked for; name at least one, as in --stems drums,basses")
  if len(stems) > MAX_STEMS:
    raise UsageError(f"{len(stems)} stems asked for, expected at most {MAX_STEMS}")
  named: dict[str, str] = {}
  for word in stems:
    if whole_mixes != (word == MIX):
      raise UsageError(
        f"stem {word!r}: this model was trained on whole mixes and makes only {MIX!r}"
        if whole_mixes
        else f"stem {word!r}: this model makes stems; name them, as in --stems drums,basses"
      )
    stem_type = MIX if whole_mixes else _type_of(model, word)
    # "mix" itself is the name of what all stems of a song add up to.
    name = "music" if whole_mixes else stem_type
    named[unique_name(name, [*taken, *named])] = stem_type
  return named


def _check_twins(named: Mapping[str, str], passes: int) -> None:
  """Equal prompt and equal noise give equal audio, so one pass cannot hold one type twice."""
  for names in plan(list(named), passes):
    types = [named[name] for name in names]
    if twins := [t for t in types if types.count(t) > 1]:
      raise UsageError(
        f"stems: {twins[0]!r} twice in one pass with shared noise would be the same audio twice;"
        f" ask for more passes (--passes K) or for different types"
      )


def _check_activity(
  model: Mapping[str, Any],
  activity: Mapping[str, Sequence[tuple[float, float]]],
  named: Mapping[str, str],
  seconds: float,
) -> dict[str, Ranges]:
  checked: dict[str, Ranges] = {}
  for word, ranges in activity.items():
    _require(model, "activity")
    name = word if word in named else _type_of(model, word)
    if name not in named:
      raise UsageError(f"activity for {word!r}, which is not asked for; stems: {', '.join(named)}")
    for start, end in ranges:
      if not 0 <= start < end <= seconds:
        raise UsageError(
          f"activity {name}={start:g}-{end:g}: expected start < end within 0-{seconds:g} s"
        )
    checked[name] = checked.get(name, ()) + tuple((float(a), float(b)) for a, b in ranges)
  return checked


def _require(model: Mapping[str, Any], condition: str, instead: str = "leave it out") -> None:
  if model["dropout"][condition] >= 1:
    raise UsageError(f"{condition}: this model was trained without it; {instead}")


def _within(name: str, value: float, low: float, high: float, note: str = "") -> None:
  if not low <= value <= high:  # nor is NaN
    what = f"expected {low} to {round(high, 4)}{note and ' ' + note}"
    raise UsageError(f"{name}: got {value}, {what}")

"""The stems that are asked for: each has a name of its own, a type, and may have words.

They are made in passes; two that are alike in one pass would be the same audio twice.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stemphonic_jax.data.taxonomy import MIX, guess_type, knows, parse_type
from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation import values
from stemphonic_jax.generation.limits import MAX_STEMS, MAX_WORDS, check_text


def name_stems(
  model: Mapping[str, Any], stems: Any, taken: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
  """Types by unique name, and words by name where there are any.

  `stems` are a list of "type" or "type: words", or map types to words; names that are `taken` get a
  number. UsageError for none or too many, and for what the model does not make.
  """
  whole_mixes = model["whole_mixes"]
  stems = _listed(stems)
  if not stems:
    raise UsageError("no stems asked for; name at least one, as in --stems drums,basses")
  if len(stems) > MAX_STEMS:
    raise UsageError(f"{len(stems)} stems asked for, expected at most {MAX_STEMS}")
  named: dict[str, str] = {}
  words: dict[str, str] = {}
  for stem in stems:
    word, said = _split(model, stem)
    if whole_mixes != (word == MIX):
      raise UsageError(
        f"stem {word!r}: this model was trained on whole mixes and makes only {MIX!r}"
        if whole_mixes
        else f"stem {word!r}: this model makes stems; name them, as in --stems drums,basses"
      )
    if whole_mixes and said:
      raise UsageError(f"stem {stem!r}: a mix has no words of its own; write them into the prompt")
    try:
      stem_type = MIX if whole_mixes else _type_asked(model, word)
    except UsageError as error:
      hint = "; where words hold commas, put semicolons between stems" if words else ""
      raise UsageError(f"{error}{hint}") from None
    # "mix" itself is the name of what all stems of a song add up to.
    name = unique_name("music" if whole_mixes else _file_name(stem_type), [*taken, *named])
    named[name] = stem_type
    if said:
      words[name] = said
  return named, words


def unique_name(stem_type: str, taken: Sequence[str]) -> str:
  """ "guitars", or "guitars 2" where that is taken, and so on.

  Capitals make no difference: Drums.wav and drums.wav are one file on many systems.
  """
  name, number, names = stem_type, 1, {word.lower() for word in taken}
  while name.lower() in names:
    number += 1
    name = f"{stem_type} {number}"
  return name


def check_twins(
  named: Mapping[str, str], words: Mapping[str, str], passes: int, instead: str
) -> None:
  """UsageError for a stem that is twice in one pass: equal prompt and noise give equal audio.

  `instead` says what to do about it, where a system has a way of its own.
  """
  for names in plan(list(named), passes):
    stems = [(named[name], words.get(name)) for name in names]
    if twins := [kind for kind, said in stems if stems.count((kind, said)) > 1]:
      if instead:
        raise UsageError(f"stems: {twins[0]!r} twice; {instead}")
      raise UsageError(
        f"stems: {twins[0]!r} twice in one pass with shared noise would be the same audio twice;"
        f" give one words of its own ({twins[0]}: WORDS), or ask for more passes (--passes K)"
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


def type_of(model: Mapping[str, Any], word: str) -> str:
  """The stem type of a word: one of the eleven, or a free type that the model was trained on."""
  return word if word in model.get("types", ()) else parse_type(word)


def _type_asked(model: Mapping[str, Any], word: str) -> str:
  """The same of a stem that is asked for, which may have a number, as tracks have: "gtr 2"."""
  free = word in model.get("types", ())
  return guess_type(word) if knows(word) and not free else type_of(model, word)


def _listed(stems: Any) -> list[str]:
  """Stems as a list of "type" or "type: words", whatever they are given as."""
  example = "['drums', 'guitars: muted electric']"
  if isinstance(stems, str):
    raise UsageError(f"stems: got the text {stems!r}, expected a list, as {example}")
  if isinstance(stems, Mapping):
    pairs = [(values.text("stem", kind), words or "") for kind, words in stems.items()]
    stems = [f"{kind}: {values.text(f'words of {kind}', words)}" for kind, words in pairs]
  try:
    return [values.text("stem", word) for word in stems]
  except TypeError:
    raise UsageError(f"stems: got {stems!r}, expected a list, as {example}") from None


def _split(model: Mapping[str, Any], stem: str) -> tuple[str, str]:
  """What is asked for with "guitars: muted electric": the type, and words for it, "" for none."""
  free = [kind for kind in model.get("types", ()) if f"{stem}:".startswith(f"{kind}:")]
  kind = max(free, key=len, default=stem.partition(":")[0])
  words = " ".join(stem[len(kind) + 1 :].split())
  check_text(f"stem {kind!r}: what is said of it", words, MAX_WORDS)
  return kind.strip() or stem, words


def _file_name(stem_type: str) -> str:
  """A stem's name, which its file has too: a free type may be anything, as "bass/guitar"."""
  return " ".join(re.split(r"[/\\\0\s]+", stem_type)).strip(" .") or "stem"

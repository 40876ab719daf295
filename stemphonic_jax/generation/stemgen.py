"""Songs by StemGen: stem by stem, each to the sum of what is there (Parker et al. 2024).

    pipe = StemPipeline.load("runs/stemgen_small")
    song = pipe.generate("a title", stems=["drums", "basses"], context="loop.wav")

Its types are all that it is told; text, tempo and activity it does not hear. The first stem of a
song without a context is made under the null context.
"""

import functools
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Bool, Int32

from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation.code_pipeline import CodePipeline
from stemphonic_jax.generation.draft import Draft
from stemphonic_jax.generation.filling import windows_of
from stemphonic_jax.generation.guided import REST, Guidance
from stemphonic_jax.generation.progress import DECODED, SAMPLED, Progress
from stemphonic_jax.generation.request import Request
from stemphonic_jax.generation.windows import Hole
from stemphonic_jax.models.dit import for_this_machine
from stemphonic_jax.models.stemgen import StemGen
from stemphonic_jax.tokens.iterative import decode, steps_from, views
from stemphonic_jax.weights.code_bundle import CodeBundle
from stemphonic_jax.weights.networks import categories
from stemphonic_jax.weights.tensors import materialize

# Options of a request that say something to other systems, each with what to do instead.
DEAF = {
  "bpm": "; leave it out, a context gives the tempo",
  "activity": "; leave it out, make the stem again in ranges, or cut it",
  "negative": ", for it reads no text; leave it out",
}
WEIGHED = ("context", REST)  # of guidance by condition


class StemGenPipeline(CodePipeline):
  """Generates songs with a StemGen."""

  def __init__(self, bundle: CodeBundle):
    super().__init__(bundle)
    (self._codec,) = self.codecs.values()
    self._params = materialize(bundle.params, jnp.asarray)
    self._categories = categories(bundle.config["types"])
    self._decode = _program(for_this_machine(bundle.network))

  def adapted(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Always one stem after the other; what it does not hear is refused."""
    for name, instead in DEAF.items():
      if options[name] not in (None, {}):
        raise UsageError(f"{name}: StemGen hears none{instead}")
    if options["in_turn"]:
      raise UsageError(
        "guidance_in_turn: StemGen looks at all at once; leave --guidance-in-turn out"
      )
    if options["share_noise"] is not None:
      raise UsageError(
        "share_noise: StemGen draws each stem by itself, from the seed and its name; leave"
        " --own-noise out"
      )
    return options if options["passes"] is not None else {**options, "passes": "K"}

  def check_weights(self, guidance: Any) -> None:
    """Context and type are what it weighs."""
    named = guidance if isinstance(guidance, Mapping) else {}
    if other := [name for name in named if name not in WEIGHED]:
      raise UsageError(
        f"guidance of {str(other[0])[:40]}: StemGen weighs its context and the type of a stem; say"
        f" context=2,rest=3, where rest is the type's"
      )

  def check_edit(self, request: Request, strength: float, there: Collection[str]) -> None:
    """Codes are made anew or stay: nothing lies between."""
    if strength < 1:
      raise UsageError("vary: StemGen keeps a code or makes it anew; make stems or ranges again")
    self._check(request)

  def _check(self, request: Request) -> None:
    if request.words:
      raise UsageError(
        f"words for {next(iter(request.words))!r}: StemGen reads no text, it is told the type of a"
        f" stem; leave them out"
      )

  def songs(self, request: Request, *rest: Any) -> list[Any]:
    """As in `CodePipeline`; the prompt is no more than a title."""
    self._check(request)
    if request.passes != len(request.stems):
      raise UsageError(
        f"passes: got {request.passes}, and StemGen makes {len(request.stems)} stems in as many,"
        f" one after the other; leave it out"
      )
    logging.info("StemGen reads no text: the prompt is the title of the song")
    return super().songs(request, *rest)

  def work(
    self, draft: Draft, request: Request, found: Sequence[Hole], variation: int, progress: Progress
  ) -> None:
    """Stem by stem, and in what is longer than the model knows, window by window."""
    waiting = list(request.stems)
    for name, kind in request.stems.items():
      missing = self.missing(draft, found)
      codes = self.codes_there(draft, self._codec, name, missing)
      there = [audio for other, audio in draft.audio.items() if other not in waiting]
      size, stretches = windows_of(self, len(missing), found, request.bar)
      for number, stretch in enumerate(stretches):
        window = slice(stretch.begin, stretch.begin + size)
        span = slice(stretch.begin * self.hop, (stretch.begin + size) * self.hop)
        given = ~missing[window]
        key = _key(request.seed, request.first + variation, name, number)
        context = self.heard(self._codec, [audio[span] for audio in there]) if there else None
        made = self._made(request, kind, key, context, codes[window], given)
        place = np.arange(stretch.first, stretch.last)
        place = place[missing[place]]
        codes[place] = made[place - stretch.begin]
        missing[place] = False
      progress.add(SAMPLED)
      draft.latents[name] = codes
      self.put(draft, request, found, name, self._codec.decode(codes.T), variation)
      progress.add(DECODED)
      waiting.remove(name)

  def _made(
    self,
    request: Request,
    kind: str,
    key: jax.Array,
    context: Int32[np.ndarray, "K T"] | None,
    codes: Int32[np.ndarray, "T K"],
    given: Bool[np.ndarray, "T"],
  ) -> Int32[np.ndarray, "T K"]:
    """Codes of one stem in one window."""
    sample = self.config["sample"]
    found = views(*_weights(request.guidance, context is not None))
    rows = codes.T[None].astype(np.int32)
    made = self._decode(
      self._params,
      key[None],
      np.zeros_like(rows) if context is None else context[None].astype(np.int32),
      np.array([context is not None]),
      np.array([self._categories.index(kind)], np.int32),
      rows,
      np.broadcast_to(given, rows.shape),
      np.float32([*found.values()]),
      np.float32(sample["weights"]),
      np.float32(sample["temperature"]),
      shown=tuple(found),
      steps=steps_from(request.steps, self.channels),
      top_k=sample["top_k"],
    )
    return np.asarray(made[0]).T


def _weights(guidance: Guidance, context: bool) -> tuple[float, float]:
  """The weights of context and type; where no context is given, it weighs nothing."""
  named = guidance if isinstance(guidance, Mapping) else {REST: guidance}
  weight = named.get("context", named[REST])
  return (weight if context else 0.0), named[REST]


def _key(seed: int, variation: int, name: str, window: int) -> jax.Array:
  """The draws of a stem follow from its name, whatever the others are."""
  key = jax.random.key(seed)
  for part in (variation, zlib.crc32(name.encode()), window):
    key = jax.random.fold_in(key, part)
  return key


@functools.lru_cache(maxsize=4)
def _program(network: StemGen) -> Callable:
  """What is compiled for a stem: the same for all models of one form."""
  return jax.jit(functools.partial(decode, network), static_argnames=("shown", "steps", "top_k"))

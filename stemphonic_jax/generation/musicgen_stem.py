"""Songs of bass, drums and other by a MusicGen-Stem (Rouard et al. 2025) that was trained here.

A song is K streams of codes, of which some are there and the others to be made, and so is a song
that is edited:

    request → which streams stay → codes of these → prefix → scan → codes [K, T] → decode → Song

Streams that stay are forced, and are heard twice: as they are up to each frame, and in short as a
whole (tokens/editing.py). Stems that are neither given nor asked for are silence that stays. What
is longer than the network knows is made in windows, each after the last two fifths of the one
before.
"""

import functools
import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Bool, Int32

from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.data.batching.pipeline import EncodeText
from stemphonic_jax.data.batching.prompts import song_prompt
from stemphonic_jax.data.taxonomy import role_of
from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation.code_pipeline import CodePipeline, are_codes
from stemphonic_jax.generation.context import Context
from stemphonic_jax.generation.draft import Draft
from stemphonic_jax.generation.progress import DECODED, SAMPLED, Progress
from stemphonic_jax.generation.request import Request
from stemphonic_jax.generation.song import Song
from stemphonic_jax.generation.windows import Hole
from stemphonic_jax.models.dit import for_this_machine
from stemphonic_jax.models.musicgen import MusicGen, for_decoding
from stemphonic_jax.tokens.decoding import decode
from stemphonic_jax.tokens.editing import prefix_frames, song_frames, with_prefix
from stemphonic_jax.weights.code_bundle import CodeBundle
from stemphonic_jax.weights.embedder import Embedder
from stemphonic_jax.weights.networks import delays_of, streams_of
from stemphonic_jax.weights.signed import MUSICGEN_STEM
from stemphonic_jax.weights.tensors import materialize

SYSTEM = MUSICGEN_STEM
TYPES = {"bass": "basses", "drums": "drums", "other": "other"}  # of what it makes, by role
STEP = 50  # frames: lengths that are compiled are multiples of it
KEPT = 2 / 5  # of a window, which the one before has made


class MusicGenStem(CodePipeline):
  """Generates songs with a MusicGen-Stem."""

  def __init__(self, bundle: CodeBundle, encode_text: EncodeText | None = None):
    """`encode_text` stands in for the model's own text encoder, which then is not loaded."""
    super().__init__(bundle)
    self._given_text = encode_text
    models = {name: codec.model for name, codec in bundle.codecs.items()}
    self._streams = {name: list(own) for name, own in streams_of(models).items()}
    self._model = for_this_machine(bundle.network)
    self._params = for_decoding(materialize(bundle.params, jnp.asarray), self._model.dtype)
    self._longest = frames_of(self.seconds, self.rate, self.hop)  # without a prefix, and with one
    whole = self.config["editing"]["whole"]
    self._longest_edit = self._longest if whole else song_frames(self._longest)
    self._decode = _program(self._model, delays_of(models))

  def adapted(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Always one pass, with one guidance; what this system does not do is refused."""
    passes = options["passes"]
    one = passes in (None, 1, "1") and not isinstance(passes, bool)
    _refuse("passes", not one, "it makes all stems in one; leave it out")
    if options["steps"] is not None:
      self._check_steps(options["steps"])
    noise = options["share_noise"] is not None
    _refuse("share_noise", noise, "it begins from no noise; leave --own-noise out")
    in_turn = bool(options["in_turn"])
    _refuse("guidance_in_turn", in_turn, "it reads once; leave --guidance-in-turn out")
    _refuse("negative", options["negative"] is not None, "leave it out")
    return {**options, "twins": f"{SYSTEM} makes one of each; name it once"}

  def _check_steps(self, steps: Any) -> None:
    own = self.config["sample"]["steps"]
    _refuse("steps", steps != own, f"it makes a frame at each; leave it out, or say {own}")

  def check_weights(self, guidance: Any) -> None:
    """The text is all that it weighs."""
    named = isinstance(guidance, Mapping)
    _refuse("guidance by condition", named, "give one number, for its text")

  def check_edit(self, request: Request, strength: float, there: Collection[str]) -> None:
    """Codes are made anew or stay: nothing lies between."""
    _refuse("a strength under 1", strength < 1, "it keeps codes or makes them; make stems again")
    _refuse("negative", bool(request.negative), "leave it out")
    self._check_steps(request.steps)
    made = TYPES.values()
    if others := [n for n, kind in request.stems.items() if n in there and kind not in made]:
      names = ",".join(others)
      raise UsageError(
        f"{', '.join(others)}: {SYSTEM} makes {', '.join(made)}, so what was given as something"
        f" else cannot go on or be made again; take it out first, `stemphonic remove SONG --stems"
        f" {names}`, or follow audio as long as the song is to be"
      )
    self._roles(request)

  def songs(self, request: Request, given: Context, *rest: Any) -> list[Song]:
    """As in `CodePipeline`; what it cannot make or hear is refused before."""
    asked = self._roles(request)
    if given.audio:
      self._heard(given.types, given.audio, asked)
    return super().songs(request, given, *rest)

  @staticmethod
  def stems_for(types: Sequence[str]) -> list[str]:
    """Those of bass, drums and other that these types are part of."""
    roles = {role_of(kind) for kind in types}
    return [made for role, made in TYPES.items() if role in roles]

  def fits(self, latents: np.ndarray, kind: str | None, frames: int) -> bool:
    """Whether these are codes of this model, for a stem of a type and so many frames."""
    role = next((role for role, made in TYPES.items() if made == kind), None)
    return role is not None and are_codes(latents, self.codecs[role], frames)

  def work(
    self, draft: Draft, request: Request, found: Sequence[Hole], variation: int, progress: Progress
  ) -> None:
    """All stems of a request at once, to those that are there, which are forced."""
    asked, missing = self._roles(request), self.missing(draft, found)
    others = {name: audio for name, audio in draft.audio.items() if name not in asked}
    heard = self._heard(draft.types, others, asked) if others else {}
    if deaf := [name for name in others if name not in itertools.chain(*heard.values())]:
      logging.warning("%s: not heard, neither bass, drums nor other", ", ".join(deaf))
    if not heard and any(hole.stop < draft.samples for hole in found):
      raise UsageError(
        f"{SYSTEM} writes from left to right, so of all stems at once it cannot make a part of a"
        f" song, nor a loop, nor what comes before; extend it, or make single stems again"
      )
    codes = self._silence(len(missing))
    nothing = np.zeros_like(missing)
    for role, names in heard.items():
      own, codec = self._streams[role], self.codecs[role]
      if len(names) == 1:
        codes[own] = self.codes_there(draft, codec, names[0], nothing).T
      else:
        codes[own] = self.heard(codec, [others[name] for name in names])[:, : len(missing)]
    known = np.ones(codes.shape, bool)
    for name, role in asked.items():
      own = self._streams[role]
      codes[own] = self.codes_there(draft, self.codecs[role], name, missing).T
      known[own] = ~missing
    made = self._write(request, variation, codes, known)
    progress.add(SAMPLED * len(asked))
    for name, role in asked.items():
      own = made[self._streams[role]]
      draft.latents[name] = own.T.astype(np.uint16)
      self.put(draft, request, found, name, self.codecs[role].decode(own), variation)
      progress.add(DECODED)

  def _roles(self, request: Request) -> dict[str, str]:
    """The role of each stem that is asked for; UsageError for one that it does not make."""
    _refuse("words for one stem", bool(request.words), "write them into the prompt")
    made = {kind: role for role, kind in TYPES.items()}
    for name, kind in request.stems.items():
      if kind not in made:
        part = role_of(kind)
        hint = f"; {kind} are part of {TYPES[part]!r}" if part else ""
        raise UsageError(f"stem {name!r}: {SYSTEM} makes {', '.join(made)}{hint}")
    for name, kind in request.stems.items():
      first = next(other for other, of in request.stems.items() if of == kind)
      if first != name:
        raise UsageError(
          f"stems {first!r} and {name!r}: {SYSTEM} makes one of each; name one, or take the other"
          f" out with `stemphonic remove`"
        )
    return {name: made[kind] for name, kind in request.stems.items()}

  def _heard(
    self,
    types: Mapping[str, str | None],
    audio: Mapping[str, np.ndarray],
    asked: Mapping[str, str],
  ) -> dict[str, list[str]]:
    """Stems that stay by the role they are heard as; UsageError where none can be."""
    found: dict[str, list[str]] = {}
    for name in audio:
      kind = types.get(name)
      if role := kind and role_of(kind):
        found.setdefault(role, []).append(name)
    if not found:
      raise UsageError(
        f"context: {SYSTEM} hears bass, drums and other, each by itself, and none is given;"
        f" separate the mix, and name its stems"
      )
    if twice := [role for role in asked.values() if role in found]:
      listed = ", ".join(found[twice[0]])
      raise UsageError(
        f"stem {TYPES[twice[0]]!r}: is there already ({listed}) and stays; {SYSTEM} has one of it"
      )
    return found

  def _silence(self, frames: int) -> Int32[np.ndarray, "K T"]:
    """Streams of a song in which nothing sounds."""
    column = np.concatenate([codec.silence for codec in self.codecs.values()])
    return np.repeat(column[:, None].astype(np.int32), frames, 1)

  def _write(
    self,
    request: Request,
    variation: int,
    codes: Int32[np.ndarray, "K T"],
    known: Bool[np.ndarray, "K T"],
  ) -> Int32[np.ndarray, "K T"]:
    """All codes of a song: those that are known as they are, the others made, window by window."""
    frames, codes, known = codes.shape[-1], codes.copy(), known.copy()
    staying = known.all(1)
    size = self._longest_edit if staying.any() else self._longest
    key = jax.random.fold_in(jax.random.key(request.seed), request.first + variation)
    text, mask = self._encode_text([song_prompt(request.prompt, request.bpm)])
    stride = size - int(size * KEPT)
    starts = range(0, max(1, frames - size + stride), stride) if frames > size else (0,)
    for number, start in enumerate(starts):
      window = slice(start, min(start + size, frames))
      if known[:, window].all():
        continue
      own = jax.random.fold_in(key, number)[None]
      options = (request.guidance, self.config["sample"])
      made = self._window(own, text, mask, codes[:, window], known[:, window], staying, *options)
      codes[:, window], known[:, window] = made, True
    return codes

  def _window(
    self,
    key: jax.Array,
    text: np.ndarray,
    mask: np.ndarray,
    codes: Int32[np.ndarray, "K T"],
    known: Bool[np.ndarray, "K T"],
    staying: Bool[np.ndarray, "K"],
    guidance: float,
    sample: Mapping[str, Any],
  ) -> Int32[np.ndarray, "K T"]:
    """The codes of one window, after a prefix where some streams stay."""
    frames, special = codes.shape[-1], self._model.special
    room = math.ceil(frames / STEP) * STEP - frames
    given = np.pad(codes, ((0, 0), (0, room)))
    is_given = np.pad(known, ((0, 0), (0, room)))
    # What all streams have at the beginning is read at once.
    beginning = int(np.argmin(np.append(known.all(0), False))) // STEP * STEP
    if staying.any():
      whole = self._silence(max(self._longest_edit, frames))
      whole[:, :frames] = codes
      prefix = prefix_frames(whole.shape[-1])
      short = np.asarray(
        with_prefix(jnp.asarray(whole)[None], jnp.asarray(~staying)[None], special)
      )
      given = np.concatenate([short[0, :, :prefix], given], 1)
      is_given = np.pad(is_given, ((0, 0), (prefix, 0)), constant_values=True)
      beginning = prefix
    made = self._decode(
      self._params, key, text, mask, jnp.asarray(given)[None], jnp.asarray(is_given)[None],
      jnp.float32(guidance), jnp.float32(sample["temperature"]),
      guided=guidance != 1, top_k=sample["top_k"], beginning=beginning,
    )  # fmt: skip
    return np.asarray(made)[0, :, given.shape[1] - frames - room :][:, :frames]

  @functools.cached_property
  def _encode_text(self) -> EncodeText:
    """Texts to ids, or to the embeddings of a frozen encoder, which is loaded at first use."""
    bundle, length = self.bundle, self.config["text"]["length"]
    if self._given_text:
      return self._given_text
    if bundle.text_encoder:
      return Embedder(bundle.text_encoder, bundle.tokenizer, length)
    return functools.partial(bundle.tokenizer.encode, length=length)


def _refuse(what: str, asked: bool, instead: str) -> None:
  """UsageError where something is asked for that this system does not do."""
  if asked:
    raise UsageError(f"{what}: {SYSTEM} does not do that; {instead}")


@functools.lru_cache(maxsize=4)
def _program(model: MusicGen, delays: tuple[int, ...]) -> Callable:
  """What is compiled for a window: the same for all models of one form."""
  return jax.jit(
    functools.partial(decode, model, delays=delays),
    static_argnames=("guided", "top_k", "beginning"),
  )

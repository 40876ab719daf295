"""Songs by systems that generate codes: the same requests, songs and edits as of any model.

A song is a draft with one hole, all of it, and an edit is one with others. What a system does is in
one method: to fill the holes of a draft.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32

from stemphonic_jax.generation import asking, editing, replaying
from stemphonic_jax.generation.context import Context
from stemphonic_jax.generation.draft import Draft
from stemphonic_jax.generation.info import info_of
from stemphonic_jax.generation.outcome import silent_stems, sound_of
from stemphonic_jax.generation.progress import DECODED, SAMPLED, Clock, Progress, Tell
from stemphonic_jax.generation.request import Request
from stemphonic_jax.generation.session import begun
from stemphonic_jax.generation.song import Song
from stemphonic_jax.generation.windows import Hole, blend, holes, unknown
from stemphonic_jax.weights.code_bundle import CodeBundle
from stemphonic_jax.weights.codec import Codec


class CodePipeline(ABC):
  """Generates songs with one model. Equal requests give equal audio, to the bit on one machine.

  It has the face of `pipeline.StemPipeline`. Stems are in stereo with equal sides, and their
  latents in a song are codes, [T, K].
  """

  ensemble = timed = False

  def __init__(self, bundle: CodeBundle):
    self.bundle, self.config, self.fingerprint = bundle, bundle.config, bundle.fingerprint
    self.rate: int = self.config["sample_rate"]
    self.seconds: float = self.config["seconds"]
    self.codecs = {name: Codec(weights) for name, weights in bundle.codecs.items()}
    first = next(iter(self.codecs.values()))
    self.hop, self.channels = first.hop, first.levels

  generate, variations = asking.generate, asking.variations
  again, vary, add = editing.again, editing.vary, editing.add
  extend, loop, follow, edit = editing.extend, editing.loop, editing.follow, editing.edit
  replay = replaying.replay

  @abstractmethod
  def adapted(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options of a request as this system takes them; UsageError for what it cannot do."""

  @abstractmethod
  def check_weights(self, guidance: Any) -> None:
    """UsageError for guidance of conditions that this system does not weigh by themselves."""

  @abstractmethod
  def check_edit(self, request: Request, strength: float, there: Collection[str]) -> None:
    """UsageError for an edit, of a song with these stems, that this system cannot do."""

  @abstractmethod
  def work(
    self, draft: Draft, request: Request, found: Sequence[Hole], variation: int, progress: Progress
  ) -> None:
    """Makes what is in the holes of the stems of a request: their codes, and by `put` their audio.

    `variation` is one of those of the request, which begin with its `first`. Of each stem
    `progress` counts SAMPLED and DECODED. DivergedError where it is no sound.
    """

  def fill(
    self,
    draft: Draft,
    request: Request,
    found: Sequence[Hole],
    *,
    strength: float = 1.0,
    tell: Tell | None = None,
  ) -> None:
    """As `filling.fill`, for edits."""
    self.check_edit(request, strength, draft.audio)
    progress = Progress((SAMPLED + DECODED) * len(request.stems), tell)
    self.work(draft, request, found, 0, progress)

  @staticmethod
  def stems_for(types: Sequence[str]) -> list[str]:
    """The stems of its own that this system makes a song of these types with."""
    return list(types)

  def fits(self, latents: np.ndarray, kind: str | None, frames: int) -> bool:
    """Whether these are codes of this model, for a stem of a type and so many frames."""
    return are_codes(latents, next(iter(self.codecs.values())), frames)

  def songs(self, request: Request, given: Context, samples: int, progress: Progress) -> list[Song]:
    """The songs of a request, one after the other."""
    found = []
    for v in range(request.variations):
      clock = Clock()
      types = {name: given.types.get(name) for name in given.audio} | dict(request.stems)
      nothing = {name: np.zeros((samples, 2), np.float32) for name in request.stems}
      draft = Draft({**given.audio, **nothing}, types, {})
      whole = holes(None, samples, self.rate, self.hop)
      self.work(draft, request, whole, v, progress)
      clock.lap("sample")
      silent = silent_stems(self, draft, request, whole, variation=v)
      info = info_of(self, request, given, v, silent, clock.seconds)
      info = begun(info, "generate", request.ask(v, [*given.audio]), draft.audio)
      latents = {name: draft.latents[name] for name in request.stems}
      found.append(Song(draft.audio, self.rate, self.hop, latents, {}, info))
    return found

  def put(
    self,
    draft: Draft,
    request: Request,
    found: Sequence[Hole],
    name: str,
    wave: Float32[np.ndarray, "N"],
    variation: int,
  ) -> None:
    """New audio of a stem into its holes."""
    new = np.stack([wave, wave], 1)
    audio = draft.audio.get(name, np.zeros((draft.samples, 2), np.float32))
    for hole in found:
      new[hole.start : hole.stop] = sound_of(request, variation, name, new[hole.start : hole.stop])
      audio = blend(audio, new, hole, self.rate)
    draft.audio[name] = audio

  def codes_there(
    self, draft: Draft, codec: Codec, name: str, missing: Bool[np.ndarray, "T"]
  ) -> Int32[np.ndarray, "T K"]:
    """Codes of a stem of a draft, which are the caller's own: those it has, or of its audio."""
    if missing.all():
      return np.zeros((len(missing), codec.levels), np.int32)
    if name in draft.latents:
      return np.array(draft.latents[name], np.int32)
    return self.heard(codec, [draft.audio[name]]).T[: len(missing)].astype(np.int32)

  def heard(self, codec: Codec, stems: Sequence[np.ndarray]) -> Int32[np.ndarray, "K T"]:
    """Codes of the sum of some stems, one channel of it."""
    mix = functools.reduce(np.add, stems)
    return codec.encode(mix.mean(1, dtype=np.float32), codec.rate)

  def missing(self, draft: Draft, found: Sequence[Hole]) -> Bool[np.ndarray, "T"]:
    """Which columns of a draft are in a hole."""
    return unknown(found, -(-draft.samples // self.hop))


def are_codes(latents: np.ndarray, codec: Codec, frames: int) -> bool:
  """Whether these are codes of a codec, of so many frames: whole numbers, of its entries."""
  if latents.shape != (frames, codec.levels) or latents.dtype.kind not in "iu":
    return False
  return bool(((latents >= 0) & (latents < codec.entries)).all())

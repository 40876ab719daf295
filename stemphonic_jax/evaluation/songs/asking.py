"""What a model makes of the prompts of real pieces.

It is told of them nothing but text, types and tempo, as in the paper (Sec. 4.3), unless it is asked
to play along, or by activity.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Float32, Int8

from stemphonic_jax.audio.activity import active_ranges, frame_activity, lanes_from_ranges
from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.errors import DivergedError
from stemphonic_jax.evaluation.songs.corpus import FRAME
from stemphonic_jax.generation.limits import MAX_SEED
from stemphonic_jax.generation.pipeline import WINDOW, StemPipeline
from stemphonic_jax.generation.request import hears_tempo
from stemphonic_jax.generation.song import Song
from stemphonic_jax.generation.stem_names import plan
from stemphonic_jax.models.vae import decode_chunked, encode_chunked
from stemphonic_jax.weights.bundle import Bundle
from stemphonic_jax.weights.tensors import materialize


@dataclass(frozen=True)
class Prompt:
  """What a model is told of a piece; `active` are the seconds in which each real stem sounds."""

  id: str
  caption: str
  bpm: float | None
  active: Mapping[str, Sequence[tuple[float, float]]]

  @property
  def types(self) -> tuple[str, ...]:
    return tuple(self.active)


def prompt_of(mix: Mix) -> Prompt:
  """The prompt that asks for a mix as `ensemble` returns it."""
  active = {}
  for name, stem in mix.stems.items():
    ranges = active_ranges(frame_activity(stem.audio, FRAME, mix.rate), FRAME, mix.rate)
    active[name] = [(start, min(end, mix.seconds)) for start, end in ranges]
  return Prompt(mix.id, mix.caption, mix.bpm, active)


def asked_lanes(
  prompt: Prompt, seconds: float, rate: int, hop: int
) -> dict[str, Int8[np.ndarray, "T"]]:
  """Activity of each stem that a prompt asks for, in a model's frames of `hop` samples."""
  frames = frames_of(seconds, rate, hop)
  lanes = functools.partial(lanes_from_ranges, frames=frames, hop=hop, rate=rate)
  return {name: lanes(ranges) for name, ranges in prompt.active.items()}


@dataclass(frozen=True, eq=False)
class Made:
  """A generated song, None where it is no sound, and what it took in seconds by stage."""

  mix: Mix | None
  seconds: Mapping[str, float]


def generate(
  pipe: StemPipeline,
  prompts: Sequence[Prompt],
  *,
  passes: int | str = 1,
  share_noise: bool = True,
  activity: bool = False,
  seconds: float | None = None,
  seed: int = 0,
  timed: bool = False,
) -> Iterator[Made]:
  """A song for each prompt, from seed `seed` + its number; activity is that of the real stems.

  Where they are `timed`, a first song of its kind, which compiles, is made again: times are those
  of a warm process.
  """
  warm = set()
  for number, prompt in enumerate(prompts):
    count = len(prompt.types) if passes == "K" else min(int(passes), len(prompt.types))
    ask = functools.partial(
      pipe.generate,
      prompt.caption,
      prompt.types,
      bpm=tempo_for(pipe, prompt.bpm),
      seed=(seed + number) % MAX_SEED,
      activity=prompt.active if activity else None,
      duration=seconds,
      passes=count,
      share_noise=share_noise,
    )
    try:
      song = ask()
    except DivergedError as error:
      logging.warning("%s is left out: %s", prompt.id, error)
      yield Made(None, {})
      continue
    kind = tuple(map(len, plan(prompt.types, count)))
    if jax.default_backend() == "cpu":  # which makes each stem by itself with one program
      kind = len(kind) > 1
    if timed and kind not in warm:
      warm.add(kind)
      song = ask()
    yield Made(_mix_of(song, prompt), song.info["timings"])


def accompany(pipe: StemPipeline, mixes: Iterable[Mix], seed: int = 0) -> Iterator[tuple[Mix, Mix]]:
  """Half of the stems of each real mix, drawn, are given, and the others are generated to them.

  Yields one given stem beside one asked for, as that is in the real mix and as it was made; a mix
  to which the model makes no sound is left out, and the log says so.
  """
  for number, mix in enumerate(mixes):
    types = np.random.default_rng([seed, number]).permutation(list(mix.stems)).tolist()
    given, asked = types[: (len(types) + 1) // 2], types[(len(types) + 1) // 2 :]
    try:
      song = pipe.generate(
        mix.caption,
        asked,
        bpm=tempo_for(pipe, mix.bpm),
        seed=(seed + number) % MAX_SEED,
        context={name: mix.stems[name].audio for name in given},
        duration=mix.seconds,
      )
    except DivergedError as error:
      logging.warning("%s is left out: %s", mix.id, error)
      continue
    pair = {name: mix.stems[name] for name in (given[0], asked[0])}
    made = Stem(asked[0], song.stems[asked[0]])
    yield replace(mix, stems=pair), replace(mix, stems=pair | {asked[0]: made})


def autoencoded(bundle: Bundle) -> Callable[[Mix], Mix]:
  """What sends each stem of a mix through the model's autoencoder: the best that it could make."""
  vae, params = bundle.vae, materialize(bundle.vae_params, jnp.asarray)
  encode, decode = (
    functools.partial(jax.jit(functools.partial(_apply, vae, method)), params)
    for method in ("encode", "decode")
  )
  chunks = {"hop": vae.hop, "window": WINDOW}

  def there_and_back(audio: Float32[np.ndarray, "N 2"]) -> Float32[np.ndarray, "N 2"]:
    latents = encode_chunked(encode, jnp.asarray(audio[None]), halo=vae.halo, **chunks).mean
    return np.asarray(decode_chunked(decode, latents, reach=vae.reach, **chunks)[0])[: len(audio)]

  def through(mix: Mix) -> Mix:
    stems = {n: replace(s, audio=there_and_back(s.audio)) for n, s in mix.stems.items()}
    return replace(mix, stems=stems)

  return through


def _apply(vae: Any, method: str, params: Any, x: jax.Array) -> Any:
  return vae.apply({"params": params}, x, method=method)


def tempo_for(pipe: StemPipeline, bpm: float | None) -> float | None:
  """The tempo, for a model that listens to it."""
  return bpm if hears_tempo(pipe.config) else None


def _mix_of(song: Song, prompt: Prompt) -> Mix:
  stems = {name: Stem(name, audio) for name, audio in song.stems.items()}
  return Mix(prompt.id, stems, prompt.caption, prompt.bpm, song.rate)

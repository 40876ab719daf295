"""Music by a public MusicGen, or stems by a MusicGen-Stem, from text and a beginning.

    model = MusicGen(open_folder(Path("musicgen-small")))  # weights/musicgen_folder.py
    (music,) = model.generate(["a slow blues, brushed drums"], seconds=20)
    music["mix"]                     # [samples, channels] at model.rate

A prompt is read by itself, as audiocraft reads one alone: its padding takes no part. What is longer
than the 30 s that the models know is made in pieces of 18 s, each after the last 12 s before it.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Float32, Int32

from stemphonic_jax.errors import DataError, UsageError
from stemphonic_jax.generation.limits import MAX_SEED
from stemphonic_jax.models.musicgen import for_decoding
from stemphonic_jax.tokens.decoding import decode
from stemphonic_jax.weights.codec import Codec
from stemphonic_jax.weights.musicgen_parts import MusicGenParts
from stemphonic_jax.weights.tensors import materialize

WINDOW, STRIDE = 30.0, 18.0  # seconds that the network has learned, and by which it goes on
TOKENS, STEP = 256, 32  # of a text at most, and of which its padded length is a multiple
LONGEST = 600.0  # seconds

Music = dict[str, Float32[np.ndarray, "N C"]]


def _loaded(part: str, params: Any) -> Any:
  """Tensors on the device; DataError where they hold no numbers, of which codes would come too."""

  def place(array: np.ndarray) -> jax.Array:
    if not np.isfinite(array).all():
      raise DataError(f"{part}: its weights hold NaN or infinity; copy the files again")
    return jax.device_put(array)  # jnp.asarray compiles a program for each shape

  return materialize(params, place)


class MusicGen:
  """A model in memory; `rate` is in samples per second, `parts` are the names of what it makes."""

  def __init__(self, parts: MusicGenParts):
    network = parts.network
    self._model = network.model.clone(masks_text=True)
    self._delays, self._stereo = network.delays, network.stereo
    self._params = jax.jit(for_decoding)(_loaded("network", network.params))
    self._codecs = {name: Codec(weights) for name, weights in parts.codecs.items()}
    self._tokenizer, self._text = parts.tokenizer, parts.text.build()
    self._text_params = _loaded("text encoder", parts.text.params)
    self._embed = jax.jit(self._text.apply)
    self._decode = jax.jit(
      functools.partial(decode, self._model, delays=self._delays),
      static_argnames=("guided", "top_k", "beginning"),
    )
    self.rate, self.parts = parts.rate, tuple(self._codecs)
    self._hop = next(iter(self._codecs.values())).hop

  def generate(
    self,
    prompts: Sequence[str],
    seconds: float = 15.0,
    *,
    guidance: float = 3.0,
    top_k: int = 250,
    temperature: float = 1.0,
    seed: int = 0,
    beginning: Mapping[str, np.ndarray] | np.ndarray | None = None,
  ) -> list[Music]:
    """Music of each prompt: samples [N, C] by part, which is "mix", or "bass", "drums", "other".

    An empty prompt is no text. With a `beginning`, samples at `rate` of each part, it is part of
    the `seconds`, and comes back as the codec gives it; what is less than a column at its end is
    made anew. `top_k` of 1 takes the likeliest code at each step, 0 draws from all. UsageError for
    what cannot be.
    """
    self._check(prompts, seconds, guidance, top_k, temperature, seed)
    frames = math.ceil(round(seconds * self.rate) / self._hop)
    begun = self._encode(beginning)
    if begun.shape[-1] >= frames:
      raise UsageError(
        f"beginning: {begun.shape[-1] * self._hop / self.rate:g} s, expected less than the"
        f" {seconds:g} s that are asked for"
      )
    codes = np.repeat(begun[None], len(prompts), 0)
    text, mask = self._read(prompts)
    sampling = {"guided": guidance != 1, "top_k": top_k}
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(len(prompts)))
    window, before = (round(s * self.rate / self._hop) for s in (WINDOW, WINDOW - STRIDE))
    while (made := codes.shape[-1]) < frames:
      kept = made if made < window else before
      room = min(frames - made, window - kept)
      given = np.pad(codes[..., made - kept :], ((0, 0), (0, 0), (0, room)))
      is_given = np.broadcast_to(np.arange(kept + room) < kept, given.shape)
      own = jax.vmap(jax.random.fold_in, (0, None))(keys, made)
      numbers = jnp.float32(guidance), jnp.float32(temperature)
      found = self._decode(
        self._params, own, text, mask, jnp.asarray(given), jnp.asarray(is_given), *numbers,
        beginning=kept, **sampling,
      )  # fmt: skip
      codes = np.concatenate([codes, np.asarray(found)[..., kept:]], -1)
    samples = round(seconds * self.rate)
    return [self._sound(row, samples) for row in codes]

  def _check(
    self,
    prompts: Sequence[str],
    seconds: float,
    guidance: float,
    top_k: int,
    temperature: float,
    seed: int,
  ) -> None:
    if isinstance(prompts, str) or not prompts or not all(isinstance(p, str) for p in prompts):
      raise UsageError(f"prompts: got {str(prompts)[:60]!r}, expected a list of texts")
    if not 0 < seconds <= LONGEST:
      raise UsageError(f"seconds: got {seconds}, expected more than 0, at most {LONGEST:g}")
    if not math.isfinite(guidance) or not 0 <= guidance <= 20:
      raise UsageError(f"guidance: got {guidance}, expected 0 to 20; 1 is none")
    if type(top_k) is not int or top_k < 0:
      raise UsageError(f"top_k: got {top_k}, expected a whole number; 0 is all codes")
    if not 0 < temperature <= 10:
      raise UsageError(f"temperature: got {temperature}, expected more than 0, at most 10")
    if type(seed) is not int or not 0 <= seed <= MAX_SEED:
      raise UsageError(f"seed: got {str(seed)[:60]}, expected a whole number, 0 to {MAX_SEED}")

  def _read(self, prompts: Sequence[str]) -> tuple[jax.Array, jax.Array]:
    """Embeddings of the texts, and which of them are no padding."""
    tokens, mask = self._tokenizer.encode(prompts, TOKENS)
    length = -(-int(mask.sum(1).max()) // STEP) * STEP
    mask = mask[:, :length] & np.array([bool(p.strip()) for p in prompts])[:, None]
    embedded = self._embed({"params": self._text_params}, tokens[:, :length], mask)
    return embedded, jnp.asarray(mask)

  def _encode(
    self, beginning: Mapping[str, np.ndarray] | np.ndarray | None
  ) -> Int32[np.ndarray, "K T"]:
    """The columns of a beginning; none where there is none."""
    if beginning is None:
      return np.zeros((self._model.streams, 0), np.int32)
    if not isinstance(beginning, Mapping):
      beginning = {self.parts[0]: beginning} if len(self.parts) == 1 else {}
    if set(beginning) != set(self.parts):
      raise UsageError(f"beginning: expected samples of {', '.join(self.parts)}, each by its name")
    whole = {}
    for name in self.parts:
      audio = np.asarray(beginning[name], np.float32)
      right = audio.ndim in (1, 2) and audio.shape[1:] in ((), (1,), (2,))
      if not right or len(audio) < self._hop or not np.isfinite(audio).all():
        raise UsageError(
          f"beginning: {name}: got shape {audio.shape}, expected finite samples [N] or [N, 1 or 2],"
          f" at least {self._hop}"
        )
      # The codec would fill up a column that is only begun with silence.
      whole[name] = audio.reshape(len(audio), -1)[: len(audio) // self._hop * self._hop]
    if len({len(audio) for audio in whole.values()}) > 1:
      raise UsageError("beginning: its parts differ in length")
    rows = []
    for name, codec in self._codecs.items():
      audio = whole[name]
      if not self._stereo:
        rows.append(codec.encode(audio.mean(1), codec.rate))
        continue
      sides = np.broadcast_to(audio, (len(audio), 2)) if audio.shape[1] == 1 else audio[:, :2]
      pair = [codec.encode(np.ascontiguousarray(side), codec.rate) for side in sides.T]
      rows.append(np.stack(pair, 1).reshape(self._model.streams, -1))
    return np.concatenate(rows).astype(np.int32)

  def _sound(self, codes: Int32[np.ndarray, "K T"], samples: int) -> Music:
    """The samples of the columns, by part."""
    music, first = {}, 0
    for name, codec in self._codecs.items():
      if self._stereo:
        channels = [codec.decode(codes[side::2]) for side in range(2)]
      else:
        channels = [codec.decode(codes[first : first + codec.levels])]
      first += codec.levels
      music[name] = np.stack([channel[:samples] for channel in channels], 1)
      if not np.isfinite(music[name]).all():
        raise UsageError(f"{name}: came out as no number; the weights are damaged, or overflow")
      if not np.abs(music[name]).max() > 1e-4:
        logging.warning("%s: is silent; ask with another seed, or in other words", name)
    return music

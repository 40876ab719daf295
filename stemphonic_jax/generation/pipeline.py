"""StemPipeline: a trained model, asked for songs.

    pipe = StemPipeline.load("demo")
    song = pipe.generate("Relaxing country rock", stems=["drums", "basses", "guitars"], bpm=96)
    song.save("runs/song")

    request → conditions → scan → latents [R, T, C] → decode → Song

R = stems of the pass x variations. All rows of a variation start from one noise (Sec. 3.2), and
each pass after the first hears the sub-mix of what is there: given audio and the passes before it.
An ensemble (models/stems.py) hears stems that are there one by one: each is a row that is known.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int8, Int32

from stemphonic_jax.audio import levels
from stemphonic_jax.audio.activity import lanes_from_ranges
from stemphonic_jax.audio.lengths import frames_of
from stemphonic_jax.data.batching.pipeline import EncodeText
from stemphonic_jax.generation import asking, editing, replaying, stepwise, wording
from stemphonic_jax.generation.context import Context
from stemphonic_jax.generation.draft import Draft
from stemphonic_jax.generation.filling import fill
from stemphonic_jax.generation.guided import weighed
from stemphonic_jax.generation.info import guided_steps, info_of
from stemphonic_jax.generation.outcome import silent_stems, sound_of
from stemphonic_jax.generation.progress import DECODED, SAMPLED, Clock, Progress
from stemphonic_jax.generation.request import Request
from stemphonic_jax.generation.rows import (
  Row,
  for_each_row,
  guided,
  known_frames,
  noise_groups,
  run_rows,
)
from stemphonic_jax.generation.session import begun
from stemphonic_jax.generation.song import Song
from stemphonic_jax.generation.stem_names import plan
from stemphonic_jax.generation.systems import open_pipeline
from stemphonic_jax.generation.windows import holes
from stemphonic_jax.guidance import PLAIN
from stemphonic_jax.models.conditioning import NOT_GIVEN, Conditions
from stemphonic_jax.models.dit import DiT, for_sampling, for_this_machine
from stemphonic_jax.models.vae import decode_chunked, encode_chunked
from stemphonic_jax.sampler import one_pass
from stemphonic_jax.weights.architecture import VAE, parameter_count
from stemphonic_jax.weights.bundle import Bundle
from stemphonic_jax.weights.embedder import Embedder
from stemphonic_jax.weights.hub import find_model
from stemphonic_jax.weights.tensors import materialize

LARGE = 5_000_000  # parameters from which on a CPU gains more per step than compiling costs
WINDOW = 128  # latent frames coded at once, where an autoencoder can: 10 s at 12.3 Hz


class StemPipeline:
  """Generates songs with one model. Equal requests give equal audio, to the bit on one machine."""

  def __init__(self, bundle: Bundle, encode_text: EncodeText | None = None):
    """`encode_text` stands in for the model's own text encoder, which then is not loaded."""
    self.bundle = bundle
    self._given_text = encode_text
    self.rate: int = bundle.config["sample_rate"]
    self.seconds: float = bundle.config["seconds"]
    self._dit = dit = for_this_machine(bundle.dit)
    self._dit_params = materialize(bundle.dit_params, jnp.asarray)
    if jax.default_backend() == "cpu" and parameter_count(self._dit_params) > LARGE:
      self._dit_params = for_sampling(self._dit_params, dit.dtype)
    self._vae_params = materialize(bundle.vae_params, jnp.asarray)
    self._sample, self._encode, self._decode = _programs(dit, bundle.vae)

  @classmethod
  def load(cls, model: str | Path) -> "StemPipeline":
    """Loads the demo model, a model folder, the workdir of a training, or hf://owner/name.

    A model of another system is opened by what makes songs with that (systems.py), and has these
    methods too.
    """
    return open_pipeline(find_model(model))

  @staticmethod
  def stems_for(types: Sequence[str]) -> list[str]:
    """The stems that a song of these types is asked for with: any."""
    return list(types)

  @property
  def config(self) -> Mapping[str, Any]:
    """What the model's config.json says."""
    return self.bundle.config

  @property
  def fingerprint(self) -> str:
    """What the model is known by."""
    return self.bundle.fingerprint

  @property
  def hop(self) -> int:
    """Samples of a latent frame."""
    return self.bundle.vae.hop

  @property
  def channels(self) -> int:
    """Numbers of a latent frame."""
    return self.bundle.vae.latent

  @property
  def ensemble(self) -> bool:
    """Whether stems hear each other while they are made."""
    return self.bundle.dit.ensemble

  @property
  def timed(self) -> bool:
    """Whether the model is told how much of its longest window is music."""
    return self.bundle.dit.timing

  generate, variations = asking.generate, asking.variations
  fill = fill
  again, vary, add = editing.again, editing.vary, editing.add
  extend, loop, follow, edit = editing.extend, editing.loop, editing.follow, editing.edit
  replay = replaying.replay

  def fits(self, latents: np.ndarray, kind: str | None, frames: int) -> bool:
    """Whether these are latents of this model, for a stem of a type and so many frames."""
    return latents.shape == (frames, self.channels)

  def adapted(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options of a request as this system takes them: all as they are."""
    return options

  def check_weights(self, guidance: Any) -> None:
    """Any condition may be weighed by itself; what a model has not learned is said elsewhere."""

  def songs(self, request: Request, given: Context, samples: int, progress: Progress) -> list[Song]:
    """Runs the passes of a request for all variations at once."""
    clock = Clock()
    hop = self.bundle.vae.hop
    needed = frames_of(request.seconds, self.rate, hop)
    frames = frames_of(self._window(request), self.rate, hop)
    lanes = {
      name: lanes_from_ranges(ranges, frames, hop, self.rate)
      for name, ranges in request.activity.items()
    }
    audio = [dict(given.audio) for _ in range(request.variations)]
    latents: list[dict[str, np.ndarray]] = [{} for _ in range(request.variations)]
    rows = self._rows_there(given, frames)
    heard = [kind for name, kind in given.types.items() if name not in rows]  # as a sub-mix
    for names in plan(list(request.stems), request.passes):
      context = np.zeros((request.variations, frames, self.bundle.vae.latent), np.float32)
      for v, stems in enumerate(audio):
        if as_mix := {name: sound for name, sound in stems.items() if name not in rows}:
          context[v] = self.encode_mix(as_mix, frames)
      clock.lap("encode")
      made = self.run_pass(request, names, context, lanes, heard, rows, progress)
      if self.bundle.dit.ensemble:
        by_stem = made.reshape(request.variations, len(names), *made.shape[1:]).swapaxes(0, 1)
        whole = np.ones(frames, bool)
        for name, z in zip(names, by_stem, strict=True):
          rows[name] = Row(request.stems[name], z, whole)
      made = self.bundle.statistics.restore(made)
      clock.lap("sample")
      decoded = for_each_row(self.decode_row, made[:, : needed + self.bundle.vae.halo])
      for row, (z, sound) in enumerate(zip(made, decoded, strict=True)):
        v, k = divmod(row, len(names))
        latents[v][names[k]] = z[:needed]
        audio[v][names[k]] = sound_of(request, v, names[k], sound[:samples])
        progress.add(DECODED)
      clock.lap("decode")
      if not self.bundle.dit.ensemble:
        heard += [request.stems[name] for name in names]
    lanes = {name: lane[:needed] for name, lane in lanes.items()}
    songs = []
    for v, stems in enumerate(audio):
      types = {name: given.types.get(name) for name in given.audio} | dict(request.stems)
      draft = Draft(stems, types, latents[v])
      everything = holes(None, samples, self.rate, hop)
      silent = silent_stems(self, draft, request, everything, variation=v, tell=progress.tell)
      clock.lap("look")
      info = info_of(self, request, given, v, silent, clock.seconds)
      info = begun(info, "generate", request.ask(v, [*given.audio]), stems)
      own = {name: latents[v][name] for name in request.stems}  # not those of given stems
      songs.append(Song(stems, self.rate, hop, own, lanes, info))
    return songs

  def _rows_there(self, given: Context, frames: int) -> dict[str, Row]:
    """Given stems that an ensemble hears one by one: those of a known type."""
    if not self.bundle.dit.ensemble:
      return {}
    whole = np.ones(frames, bool)
    return {
      name: Row(kind, self.encode_mix({name: given.audio[name]}, frames)[None], whole)
      for name, kind in given.types.items()
    }

  def run_pass(
    self,
    request: Request,
    names: Sequence[str],
    context: Float32[np.ndarray, "V T C"],
    lanes: Mapping[str, Int8[np.ndarray, "T"]],
    heard: Sequence[str],
    there: Mapping[str, Row],
    progress: Progress,
    *,
    start: int = 0,
    window: int = 0,
    span: tuple[float, float] | None = None,
  ) -> Float32[np.ndarray, "R T C"]:
    """Standardised latents of one pass: the stems of variation 0, then those of variation 1, …

    Stems that are `there` are rows beside them, in an ensemble, or give frames of the stems that
    are made. Rows that hear each other are in the order of their names, whatever order they were
    asked for in, so that a sum over them rounds the same. `start` is the step that is the first,
    `window` the number of a stretch of a longer song, which has a noise of its own, and `span` the
    seconds at which that begins and the song ends.
    """
    (count, frames, _), ensemble = context.shape, self.bundle.dit.ensemble
    members = sorted({*there, *names}) if ensemble else list(names)
    types = [there[name].type if name in there else request.stems[name] for name in members]
    words = [request.words.get(name, "") for name in members]
    ask = functools.partial(wording.prompt, self.bundle.config, request.prompt, heard)
    text, mask = self._texts(map(ask, types, words), count)
    avoided = request.negative and wording.negative(self.bundle.config, request.negative)
    seconds = np.float32([span or (0, request.seconds)] * (count * len(members)))
    unset = np.full(frames, NOT_GIVEN, np.int8)
    rows = Conditions(
      text=text,
      text_mask=mask,
      bpm=np.full(count * len(members), request.bpm or np.nan, np.float32),
      context=np.repeat(context, len(members), axis=0),
      activity=np.tile(np.stack([lanes.get(name, unset) for name in members]), (count, 1)),
      seconds=seconds if self.bundle.dit.timing else None,
      negative=self._texts([avoided] * len(members), count) if avoided else None,
      bare=self._texts(map(ask, types), count) if weighed(request.guidance, words) else None,
    )
    if ensemble:
      rows = rows.replace(group=np.repeat(np.arange(count, dtype=np.int32), len(members)))
    if ensemble or there:
      known, clean = known_frames(members, there, context.shape)
      rows = rows.replace(known=known, clean=clean)
    turns = self._turns(types, count)
    key = jax.random.key(request.seed)
    guidance, seen = guided(request.guidance, rows, request.in_turn)
    share = self.config["sample"].get("noise_share", 1.0)
    order = self.config["sample"].get("order", 1)
    run = functools.partial(
      self._counted,
      progress,
      len(names) / len(members),
      self._dit_params,
      jax.random.fold_in(key, window) if window else key,
      guidance,
      steps=request.steps,
      interval=guided_steps(self.config, request) if seen else None,
      **({} if seen in (None, PLAIN) else {"views": seen, "in_turn": request.in_turn}),
      **({"start": start} if start else {}),
      **({"share": share} if share < 1 else {}),
      **({"order": order} if order > 1 else {}),
    )
    arguments = (noise_groups(request, members, share), turns, rows)
    together = len(members) if ensemble else 1
    made = [row for part in run_rows(run, arguments, together, progress.poll) for row in part]
    asked = [v * len(members) + members.index(name) for v in range(count) for name in names]
    return np.stack([made[row] for row in asked])

  def _counted(
    self,
    progress: Progress,
    asked: float,
    params: Any,
    key: jax.Array,
    guidance: Any,
    group: Int32[np.ndarray, "R ..."],
    *inputs: Any,
    **options: Any,
  ) -> jax.Array:
    """A part of a pass; where somebody listens, piece by piece. `asked` is what counts."""
    if not progress.wanted:
      return self._sample(params, key, guidance, group, *inputs, **options)
    counted, done = round(SAMPLED * len(group) * asked), 0

    def look(part: float) -> None:
      nonlocal done
      more = int(counted * part) - done
      done += more
      progress.add(more)

    return stepwise.one_pass(self._dit, look, params, key, guidance, group, *inputs, **options)

  def _turns(self, types: Sequence[str], count: int) -> Float32[np.ndarray, "R C C"] | None:
    """What turns the noise of each row, a type that is not aligned by nothing; None if none is."""
    if not self.bundle.turns:
      return None
    same = np.eye(self.bundle.vae.latent, dtype=np.float32)
    return np.tile(np.stack([self.bundle.turns.get(kind, same) for kind in types]), (count, 1, 1))

  def _window(self, request: Request) -> float:
    """Seconds that the latents span: all the model knows, where it is told how many are music."""
    return self.seconds if self.bundle.dit.timing else request.seconds

  def _texts(self, prompts: Iterable[str], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Prompts as the network takes them, and masks, `count` times over."""
    text, mask = self._encode_text(list(prompts))
    return np.tile(text, (count,) + (1,) * (text.ndim - 1)), np.tile(mask, (count, 1))

  @functools.cached_property
  def _encode_text(self) -> EncodeText:
    """Prompts to ids, or to the embeddings of a frozen encoder, which is loaded at first use."""
    bundle, length = self.bundle, self.bundle.config["text"]["length"]
    if self._given_text:
      return self._given_text
    if bundle.text_encoder:
      return Embedder(bundle.text_encoder, bundle.tokenizer, length)
    return functools.partial(bundle.tokenizer.encode, length=length)

  def encode_mix(self, stems: Mapping[str, np.ndarray], frames: int) -> Float32[np.ndarray, "T C"]:
    """Stems summed as waveforms, then encoded (Sec. 3.1), as the DiT sees it."""
    vae = self.bundle.vae
    encode = functools.partial(self._encode, self._vae_params)
    mix = levels.mix(stems)
    audio = jnp.asarray(np.pad(mix, ((0, frames * vae.hop - len(mix)), (0, 0)))[None])
    posterior = encode_chunked(encode, audio, hop=vae.hop, halo=vae.halo, window=WINDOW)
    return self.bundle.statistics.standardize(np.asarray(posterior.mean[0]))

  def decode_row(self, latents: Float32[np.ndarray, "T C"]) -> Float32[np.ndarray, "N 2"]:
    """Audio of one stem by itself, so that memory does not grow with the number of stems."""
    vae = self.bundle.vae
    decode = functools.partial(self._decode, self._vae_params)
    rows = jnp.asarray(latents[None])
    audio = decode_chunked(decode, rows, hop=vae.hop, reach=vae.reach, window=WINDOW)
    return np.asarray(audio[0])


@functools.lru_cache(maxsize=4)
def _programs(dit: DiT, vae: VAE) -> tuple[Callable, Callable, Callable]:
  """What is compiled for a pass, to encode and to decode: the same for all models of one form."""
  return (
    jax.jit(
      functools.partial(one_pass, dit),
      static_argnames=("steps", "interval", "views", "in_turn", "start", "share", "order"),
    ),
    jax.jit(lambda params, x: vae.apply({"params": params}, x, method="encode")),
    jax.jit(lambda params, z: vae.apply({"params": params}, z, method="decode")),
  )

"""From mixes to segments: cut, find activity, sum sub-mixes, encode.

The encoder comes in as a function, so that this module knows nothing of networks.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Float32

from stemphonic_jax.audio.activity import frame_activity
from stemphonic_jax.data import grouping, prompts
from stemphonic_jax.data.records import MIX, Records, Segment
from stemphonic_jax.data.stems import Mix, Stem

Encode = Callable[[Float32[np.ndarray, "n samples 2"]], Float32[np.ndarray, "n T C"]]


def segments(
  mixes: Iterable[Mix],
  encode: Encode,
  *,
  seconds: float,
  hop: int,
  submixes: int,
  whole_mixes: bool,
  seed: int,
) -> Iterator[Segment]:
  """One segment of `seconds` of each mix, cut at a random place (never all on a downbeat).

  `encode` maps waveforms to latent means; `submixes` is the most sub-mixes stored of a segment;
  with `whole_mixes` the mix itself becomes the only stem, for pre-training.
  """
  for index, mix in enumerate(mixes):
    rng = np.random.default_rng([seed, index])
    samples = round(seconds * mix.rate)
    cut = mix.crop(int(rng.integers(mix.samples - samples + 1)), samples)
    yield segment(_as_one(cut) if whole_mixes else cut, encode, hop, submixes, rng)


def segment(mix: Mix, encode: Encode, hop: int, submixes: int, rng: np.random.Generator) -> Segment:
  """Encodes a mix whole: its stems, and sub-mixes summed as waveforms first (Sec. 3.1)."""
  names = list(mix.stems)
  activity = np.stack([frame_activity(stem.audio, hop) for stem in mix.stems.values()])
  masks = grouping.subsets_to_store(rng, activity.any(axis=1), submixes)
  waveforms = [stem.audio for stem in mix.stems.values()]
  for mask in masks:
    waveforms.append(mix.audio(np.array(names)[grouping.stems_of(mask, len(names))]))
  latents = encode(np.stack(waveforms)).astype(np.float16)
  return Segment(
    id=mix.id,
    names=tuple(names),
    types=tuple(stem.type for stem in mix.stems.values()),
    caption=mix.caption,
    bpm=float("nan") if mix.bpm is None else mix.bpm,
    latents=latents[: len(names)],
    activity=activity,
    submixes=dict(zip(masks, latents[len(names) :], strict=True)),
  )


def training_texts(records: Records) -> Iterator[str]:
  """Prompts to train a tokenizer on: each stem's, alone and given the others."""
  for position in range(len(records)):
    found = records[position]
    yield prompts.mix_prompt(found.caption)
    for stem_type in found.types:
      others = [other for other in found.types if other != stem_type]
      yield prompts.stem_prompt(stem_type, found.caption)
      yield prompts.stem_prompt(stem_type, found.caption, others)


def _as_one(mix: Mix) -> Mix:
  return Mix(mix.id, {MIX: Stem(MIX, mix.audio())}, mix.caption, mix.bpm, mix.rate)

"""From mixes to segments: cut, find activity, sum sub-mixes, encode.

The encoder comes in as a function, so that this module knows nothing of networks.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, UInt16

from stemphonic_jax.audio.activity import frame_activity
from stemphonic_jax.data.batching import grouping, prompts
from stemphonic_jax.data.batching.records import Records, Segment, Waveforms
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.data.taxonomy import MIX
from stemphonic_jax.errors import UsageError

# Posterior means and deviations, or codes and None; takes waveforms one by one, because six stems
# have 56 sub-mixes.
Encode = Callable[
  [Iterable[Float32[np.ndarray, "samples 2"]]],
  tuple[Float32[np.ndarray, "n T C"], Float32[np.ndarray, "n T C"]]
  | tuple[UInt16[np.ndarray, "n T C"], None],
]
TAIL = 0.5  # a rest of a mix is worth a segment of its own from this share of one on


@dataclass(frozen=True)
class Cut:
  """How mixes become segments: of `seconds`, latent frames of `hop` samples.

  `submixes` is the most sub-mixes that can be drawn of a segment. They are stored encoded
  (`submix` "cached"), or waveforms are, for a trainer to encode ("online"). A `posterior` "sample"
  stores deviations, so that training draws latents, "mean" takes their means. With `whole_mixes`
  the mix itself becomes the only stem, for pre-training; stems that sound in less than the share
  `min_activity` of a segment are left out of it. `every` cuts a mix from end to end, else one
  segment comes from a random place (never all on a downbeat). UsageError for what none can be.
  """

  seconds: float
  hop: int
  submixes: int = 0
  whole_mixes: bool = False
  every: bool = True
  min_activity: float = 0.0
  submix: str = "cached"
  posterior: str = "mean"

  def __post_init__(self):
    for name, words in {"submix": ("cached", "online"), "posterior": ("mean", "sample")}.items():
      if getattr(self, name) not in words:
        raise UsageError(f"{name} {getattr(self, name)!r}, expected {' or '.join(words)}")
    if self.submixes < 0:
      raise UsageError(f"submixes: got {self.submixes}, expected a number from 0 on")


def shards(
  mixes: Sequence[Mix], encode: Encode, cut: Cut, *, size: int, seed: int
) -> list[Callable[[], Iterator[Segment]]]:
  """The segments of every `size` mixes as a function, for data/preparing/shards.py.

  `mixes` may read what it is asked for when it is asked; `encode` maps waveforms to posteriors.
  What is random about a mix follows from `seed` and its position.
  """

  def make(first: int) -> Iterator[Segment]:
    for index in range(first, min(first + size, len(mixes))):
      yield from segments(mixes[index], encode, cut, np.random.default_rng([seed, index]))

  return [functools.partial(make, first) for first in range(0, len(mixes), size)]


def segments(mix: Mix, encode: Encode, cut: Cut, rng: np.random.Generator) -> Iterator[Segment]:
  """The segments of one mix; a mix shorter than one is padded with silence."""
  samples, length = round(cut.seconds * mix.rate), mix.samples
  mix = mix.pad(samples)
  starts = windows(mix.samples, samples) if cut.every else [rng.integers(mix.samples - samples + 1)]
  for start in starts:
    piece = mix.crop(int(start), samples)
    piece = replace(_as_one(piece) if cut.whole_mixes else piece, id=f"{mix.id}@{int(start)}")
    if found := segment(piece, encode, cut, rng):
      yield replace(found, seconds=length / mix.rate) if length < samples else found


def windows(samples: int, length: int) -> list[int]:
  """First samples of segments side by side; a last one ends with the mix if enough is left."""
  starts = list(range(0, samples - length + 1, length))
  rest = samples - starts[-1] - length
  return [*starts, samples - length] if rest >= TAIL * length else starts


def segment(mix: Mix, encode: Encode, cut: Cut, rng: np.random.Generator) -> Segment | None:
  """Encodes a mix whole: its stems and, summed as waveforms first, its sub-mixes (Sec. 3.1).

  Stems are rounded to 16 bits before, so that a sub-mix has the same latents whether it is encoded
  now or by a trainer, from stored waveforms. None where no stem sounds enough.
  """
  lanes = {name: frame_activity(stem.audio, cut.hop, mix.rate) for name, stem in mix.stems.items()}
  names = [name for name, lane in lanes.items() if lane.mean() >= cut.min_activity]
  if not any(lanes[name].any() for name in names):
    return None
  activity = np.stack([lanes[name] for name in names])
  masks = grouping.subsets_to_store(rng, activity.any(axis=1), cut.submixes)
  stems = [mix.stems[name] for name in names]
  waveforms = Waveforms.of([stem.audio for stem in stems], masks)
  online = cut.submix == "online"
  sets = [*(1 << k for k in range(len(names))), *(() if online else masks)]
  means, deviations = encode(map(waveforms.submix, sets))
  means = means if deviations is None else means.astype(np.float16)
  return Segment(
    id=mix.id,
    names=tuple(names),
    types=tuple(stem.type for stem in stems),
    caption=mix.caption,
    bpm=float("nan") if mix.bpm is None else mix.bpm,
    latents=means[: len(names)],
    activity=activity,
    submixes={} if online else dict(zip(masks, means[len(names) :], strict=True)),
    deviations=deviations[: len(names)].astype(np.float16) if cut.posterior == "sample" else None,
    waveforms=waveforms if online and masks else None,
    captions=mix.captions,
    words=tuple(stem.words for stem in stems) if any(stem.words for stem in stems) else (),
  )


def training_texts(records: Records) -> Iterator[str]:
  """Prompts to train a tokenizer on: each stem's, alone and given the others."""
  for position in range(len(records)):
    found = records[position]
    captions = (found.caption, *found.captions)
    for caption in captions:
      yield prompts.mix_prompt(caption)
    for k, stem_type in enumerate(found.types):
      others = [other for other in found.types if other != stem_type]
      words = found.words[k] if found.words else ""
      yield prompts.stem_prompt(stem_type, captions[k % len(captions)])
      yield prompts.stem_prompt(stem_type, captions[-1 - k % len(captions)], others, words)


def _as_one(mix: Mix) -> Mix:
  return replace(mix, stems={MIX: Stem(MIX, mix.audio())})

"""Bass, drums and other as streams of codes, and the text of a song: what MusicGen-Stem reads.

In a record, [3, T, levels], a part with fewer levels than another is filled up with zeros.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from stemphonic_jax.data.batching.prompts import song_prompt
from stemphonic_jax.data.batching.records import Records, Segment
from stemphonic_jax.data.preparing.segments import Encode
from stemphonic_jax.training.inputs.codes import codes_of
from stemphonic_jax.weights.codec import Codec


def encoder(codecs: Mapping[str, Codec]) -> Encode:
  """What maps the waveforms of the parts, in the order of their codecs, to codes."""
  most = max(codec.levels for codec in codecs.values())

  def encode(waveforms: Iterable[np.ndarray]) -> tuple[np.ndarray, None]:
    pairs = zip(codecs.values(), waveforms, strict=True)
    found = [codes_of(codec, audio) for codec, audio in pairs]
    filled = [np.pad(codes, ((0, 0), (0, most - codes.shape[1]))) for codes in found]
    return np.stack(filled), None

  return encode


def texts_of(segment: Segment) -> Iterator[str]:
  """Every text that a segment can be trained with."""
  for caption in (segment.caption, *segment.captions):
    yield from dict.fromkeys((song_prompt(caption), song_prompt(caption, segment.bpm)))


def training_texts(records: Records) -> Iterator[str]:
  """Texts to train a tokenizer on."""
  for position in range(len(records)):
    yield from texts_of(records[position])

"""What a MusicGen is made of, apart from how it is read: who generates with it reads no files."""

from dataclasses import dataclass
from typing import Any

from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.models.musicgen import MusicGen
from stemphonic_jax.weights.codec import CodecWeights
from stemphonic_jax.weights.t5 import TextWeights


@dataclass(frozen=True, eq=False)
class MusicGenWeights:
  """The network, its tensors, the delays of its streams, and whether these are two channels."""

  model: MusicGen
  params: Any
  delays: tuple[int, ...]
  stereo: bool = False


@dataclass(frozen=True, eq=False)
class MusicGenParts:
  """All that generates; `codecs` are in the order of the network's streams."""

  network: MusicGenWeights
  text: TextWeights
  tokenizer: Tokenizer
  codecs: dict[str, CodecWeights]
  rate: int

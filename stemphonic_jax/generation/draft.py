"""An edit before it is made: a draft, which is a song whose stems have holes, and what is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from stemphonic_jax.generation.request import Request
from stemphonic_jax.generation.song import Song
from stemphonic_jax.generation.windows import Hole


@dataclass(eq=False)
class Draft:
  """Stems of one length in the making: audio, types, and latents where there are any.

  What is in a hole is what new audio fades from and to.
  """

  audio: dict[str, Float32[np.ndarray, "samples 2"]]
  types: Mapping[str, str | None]
  latents: dict[str, Float32[np.ndarray, "T C"]]

  @property
  def samples(self) -> int:
    """The length of every stem."""
    return len(next(iter(self.audio.values())))


@dataclass(frozen=True, eq=False)
class Edit:
  """What is to be made of a song: the step `do` with what was asked, checked, and a draft for it.

  A draft that is `turned` was turned left by so many samples, and is turned back. When stems play
  that were not asked for now is `kept`, and goes on in what a song is longer. With a `strength`
  under 1 it begins from what is there.
  """

  song: Song
  do: str
  ask: Mapping[str, Any]
  request: Request
  draft: Draft
  holes: Sequence[Hole]
  strength: float = 1.0
  turned: int = 0
  kept: Mapping[str, Sequence[tuple[float, float]]] | None = None

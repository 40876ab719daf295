"""Networks that hear: what they have in common, which is `embed(audio, rate) -> [n, d]`.

One file each: vggish.py, clap.py. They run on whatever devices there are, always so many rows at
once, so that each compiles one program, in float32 wherever it runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Float, Float32, Shaped

Audio = Float[np.ndarray, "B N C"] | Sequence[Float[np.ndarray, "N C"]]


class Judge(Protocol):
  """What measures take: see `VGGishJudge` and `ClapJudge`.

  `key` is all that an embedding depends on besides the audio, fit for JSON; `note` says the same to
  a reader, in a line.
  """

  name: str
  size: int
  key: Mapping[str, Any]
  note: str

  def embed(self, audio: Audio, rate: int) -> Float32[np.ndarray, "n d"]:
    """Embeddings of the windows of some clips, in their order."""

  def embed_each(self, audio: Audio, rate: int) -> list[Float32[np.ndarray, "n d"]]:
    """The same for each clip by itself."""


def mono(clip: Float[np.ndarray, "N *C"]) -> Float32[np.ndarray, "N"]:
  """The mean of the channels of a clip."""
  clip = np.asarray(clip, np.float32)
  return clip if clip.ndim == 1 else clip.mean(axis=1)


def in_batches(
  function: Callable[..., jax.Array], count: int, *inputs: Shaped[np.ndarray, "n ..."]
) -> Float32[np.ndarray, "n d"]:
  """The function of rows of the inputs, `count` at a time, the last of them filled with zeros."""
  found = []
  for start in range(0, len(inputs[0]), count):
    cut = [rows[start : start + count] for rows in inputs]
    missing = count - len(cut[0])
    padded = [np.pad(rows, ((0, missing), *((0, 0),) * (rows.ndim - 1))) for rows in cut]
    with jax.default_matmul_precision("float32"):  # which accelerators take for less
      found.append(np.asarray(function(*padded))[: len(cut[0])])
  return np.concatenate(found)


def parts(
  rows: Float32[np.ndarray, "n d"], of: Sequence[Shaped[np.ndarray, "m ..."]]
) -> list[Float32[np.ndarray, "m d"]]:
  """The rows that belong to each of some arrays, which have as many together."""
  ends = np.cumsum([0, *map(len, of)])
  return [rows[start:end] for start, end in itertools.pairwise(ends)]

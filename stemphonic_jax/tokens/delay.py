"""The delay pattern of MusicGen: K streams of codes as columns that a network predicts in turn.

Column 0 is special in every stream. Column n holds in stream k the code of frame n − 1 − delay_k,
and is special where there is no such frame. With delays 0, 1, 2, 3 a network that predicts a whole
column at once has seen the coarser codes of a frame when it predicts the finer ones (Copet et al.
2023, Sec. 2.2). Streams of different stems are in sync: MusicGen-Stem delays the residual streams
of `other` alone.

Letters: K streams, T frames, N = T + 1 + max(delays) columns.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

MUSICGEN = (0, 1, 2, 3)
# Bass, drums, and four streams of `other`, of the paper's model; and of the one with two of bass.
MUSICGEN_STEM = (0, 0, 0, 1, 2, 3)
MUSICGEN_STEM_7 = (0, 1, 0, 0, 1, 2, 3)


def columns(frames: int, delays: Sequence[int]) -> int:
  """Number of columns of so many frames: 10 for 6 frames and delays up to 3."""
  return frames + 1 + max(delays)


def is_code(frames: int, delays: Sequence[int]) -> Bool[np.ndarray, "K N"]:
  """Which places of the columns hold a code; the others are special."""
  frame = _frame(frames, delays)
  return (frame >= 0) & (frame < frames)


def delay(
  codes: Shaped[Array, "*B K T"], delays: Sequence[int], special: int
) -> Shaped[Array, "*B K N"]:
  """The columns of the codes, `special` where they hold none; ValueError unless delays are K.

  What is known of each code, as whether it is given, is delayed as the codes are.
  """
  frames = codes.shape[-1]
  _check(codes.shape[-2], delays)
  frame = np.clip(_frame(frames, delays), 0, frames - 1)
  found = jnp.take_along_axis(codes, _like(codes, frame), -1)
  return jnp.where(is_code(frames, delays), found, special)


def undelay(found: Int[Array, "*B K N"], delays: Sequence[int]) -> Int[Array, "*B K T"]:
  """The codes in the columns: the inverse of `delay`."""
  _check(found.shape[-2], delays)
  frames = found.shape[-1] - 1 - max(delays)
  column = np.arange(frames) + 1 + np.array(delays)[:, None]
  return jnp.take_along_axis(found, _like(found, column), -1)


def training_pair(
  codes: Int[Array, "B K T"],
  delays: Sequence[int],
  special: int,
  scored: Bool[Array, "*R T"] | None = None,
) -> tuple[Int[Array, "B K T"], Int[Array, "B K T"], Bool[Array, "*R K T"]]:
  """What the network reads, what it is to predict there, and which of that counts.

  As in audiocraft, only the first T columns are read: stream k is scored on T − delay_k frames, and
  the last frames of delayed streams are never learned. With `scored`, only codes of those frames
  count, which may be others in each row.
  """
  frames = codes.shape[-1]
  delayed = delay(codes, delays, special)[..., : frames + 1]
  frame = _frame(frames, delays)[:, 1 : frames + 1]
  counts = jnp.asarray(frame >= 0)
  if scored is not None:
    counts = counts & scored[..., np.maximum(frame, 0)]
  return delayed[..., :-1], delayed[..., 1:], counts


def _frame(frames: int, delays: Sequence[int]) -> Int[np.ndarray, "K N"]:
  """The frame in each place of the columns; there is none below 0, nor from `frames` on."""
  return np.arange(columns(frames, delays)) - 1 - np.array(delays)[:, None]


def _like(x: Array, index: np.ndarray) -> np.ndarray:
  return np.broadcast_to(index, (*x.shape[:-1], index.shape[-1]))


def _check(streams: int, delays: Sequence[int]) -> None:
  if len(delays) != streams or min(delays) < 0:
    raise ValueError(
      f"delays: got {tuple(delays)} for {streams} streams, expected one of at least 0 for each"
    )

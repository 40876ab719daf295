"""Editing with MusicGen-Stem: the song in short as a prefix, without the stems to be made anew.

    every 5th frame of the song | a frame that is special | the song                 (Sec. III-C)

Streams of stems that are made anew are special in the prefix. In training that is one half of the
batches: of 30 s, 1500 frames, 1250 are left, so that with their prefix of 250 they are 1501, and
the last 1250 are scored, in all streams. To edit, streams that stay may be given in the song itself
too, and come back bit-equal, or be made again from the prefix, as variations.

Letters: B rows, K streams, T frames of the song, F = ceil(T / 5) + 1 + T frames with the prefix.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

STRIDE = 5  # 50 Hz to 10 Hz
MOST = 2  # stems that are made anew


def song_frames(frames: int) -> int:
  """Frames of the song that fit into so many together with their prefix: 1250 of 1500."""
  return frames * STRIDE // (STRIDE + 1)


def prefix_frames(frames: int) -> int:
  """Frames before those of the song: 251 before 1250."""
  return -(frames // -STRIDE) + 1


def with_prefix(
  codes: Int[Array, "B K T"], anew: Bool[Array, "B K"], special: int
) -> Int[Array, "B K F"]:
  """The song after its prefix, in which streams that are made `anew` are special."""
  short = jnp.where(anew[..., None], special, codes[..., ::STRIDE])
  border = jnp.full((*codes.shape[:-1], 1), special, codes.dtype)
  return jnp.concatenate([short, border, codes], -1)


def scored(frames: int) -> Bool[Array, "F"]:
  """Which frames of `with_prefix` count in training: the song's."""
  prefix = prefix_frames(frames)
  return jnp.arange(prefix + frames) >= prefix


def request(
  codes: Int[Array, "B K T"], anew: Bool[Array, "B K"], special: int, forced: bool = True
) -> tuple[Int[Array, "B K F"], Bool[Array, "B K F"], int]:
  """What `decode` takes for an edit: codes, which of them are given, and the frames of the prefix.

  Streams that stay are given as they are where they are `forced`, and made again otherwise.
  """
  given = with_prefix(codes, anew, special)
  prefix = prefix_frames(codes.shape[-1])
  before = jnp.arange(given.shape[-1]) < prefix
  return given, before | (~anew[..., None] & forced), prefix


def draw_anew(
  key: Key[Array, ""], row: Int[Array, "B"], stems: Sequence[Sequence[int]]
) -> Bool[Array, "B K"]:
  """Which streams of each row are to be made anew in training, by the row's id.

  One or two stems, as likely; never all of them. Of a stem with several streams the finest ones,
  any number of them up to all: that of which {4}, {4, 3}, {4, 3, 2} or {4, 3, 2, 1} are masked in
  the paper, which does not say how often each; audiocraft's branch masks all.
  """
  streams = sum(map(len, stems))

  def draw(row: Array) -> Array:
    order, number, depth = jax.random.split(jax.random.fold_in(key, row), 3)
    most = min(MOST, len(stems) - 1)
    count = jax.random.randint(number, (), 1, most + 1)
    chosen = jax.random.permutation(order, len(stems)) < count
    anew = jnp.zeros(streams, bool)
    for i, members in enumerate(stems):
      finest = jax.random.randint(jax.random.fold_in(depth, i), (), 1, len(members) + 1)
      places = jnp.arange(len(members)) >= len(members) - finest
      anew = anew.at[jnp.array(members)].set(chosen[i] & places)
    return anew

  return jax.vmap(draw)(row)

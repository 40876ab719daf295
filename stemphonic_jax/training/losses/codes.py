"""What MusicGen-Stem minimises: the cross-entropy of codes, of songs from text and of edits.

Rows are edits with a given probability (tokens/editing.py), each by itself, where the public code
tosses one coin for a batch. Of an edit the song may be shorter than the segment, and is cut out of
it anywhere. A row counts as any other, and so does a stream of it.

Letters: B rows, K streams, T frames of a segment.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from stemphonic_jax.flow import named_key
from stemphonic_jax.models.musicgen import MusicGen
from stemphonic_jax.tokens import delay, editing
from stemphonic_jax.tokens.loss import cross_entropy
from stemphonic_jax.training.run.state import Loss, Sums
from stemphonic_jax.weights.architecture import CODEC
from stemphonic_jax.weights.networks import delays_of, streams_of


def columns(frames: int, song: int, edits: float) -> int:
  """Frames that a row takes, whether it is an edit of a song of `song` frames or not."""
  return max(frames, editing.prefix_frames(song) + song) if edits else frames


def loss_of(
  config: ConfigDict, model: MusicGen, codecs: Mapping[str, CODEC], frames: int
) -> tuple[Loss, int]:
  """The loss of a config for segments of so many frames, and the columns of a row.

  The song of an edit is as long as the segment or, with its prefix, as long as that.
  """
  e = config.editing
  song = frames if e.whole else editing.song_frames(frames)
  streams, delays = streams_of(codecs), delays_of(codecs)
  options = dict(song=song, edits=e.share, text_dropout=config.dropout.text)
  return musicgen_loss(model, streams, delays, **options), columns(frames, song, e.share)


def musicgen_loss(
  model: MusicGen,
  streams: Mapping[str, Sequence[int]],
  delays: Sequence[int],
  *,
  song: int,
  edits: float = 0.5,
  text_dropout: float = 0.3,
) -> Loss:
  """The loss of a batch of data/batching/songs.py.

  `streams` are those of each stem, `song` the frames of a song that is edited. Beside the loss come
  those of each stem, of songs from text and of edits.
  """

  def loss(params: Any, batch: Mapping[str, jax.Array], key: jax.Array) -> tuple[jax.Array, Sums]:
    codes, row, frames = batch["codes"], batch["row"], batch["frames"]
    length = columns(codes.shape[-1], song, edits)

    def drawn(name: str) -> jax.Array:
      own = jax.vmap(jax.random.fold_in, (None, 0))(named_key(key, name), row)
      return jax.vmap(jax.random.uniform)(own)

    def filled(x: jax.Array) -> jax.Array:
      more = ((0, 0), (0, 0), (0, length - x.shape[-1]))
      return jnp.pad(x, more, constant_values=model.special)

    place, seen = jnp.arange(length), filled(codes)
    scored = place < frames[:, None]
    is_edit = drawn("edit") < edits
    if edits:
      start = jnp.floor(drawn("start") * (jnp.maximum(frames - song, 0) + 1)).astype(jnp.int32)
      cut = jax.vmap(lambda x, i: jax.lax.dynamic_slice_in_dim(x, i, song, -1))(codes, start)
      anew = editing.draw_anew(named_key(key, "anew"), row, list(streams.values()))
      edit = filled(editing.with_prefix(cut, anew, model.special))
      after = place - editing.prefix_frames(song)
      of_song = (after >= 0) & (after < jnp.minimum(frames - start, song)[:, None])
      seen = jnp.where(is_edit[:, None, None], edit, seen)
      scored = jnp.where(is_edit[:, None], of_song, scored)
    read, wanted, counts = delay.training_pair(seen, delays, model.special, scored)
    told = batch["mask"] & (drawn("text") >= text_dropout)[:, None]
    logits = model.apply({"params": params}, read, batch["text"], told)
    each = cross_entropy(jnp.moveaxis(logits, 1, 2), wanted, counts)  # [B, K]
    of_row = each.mean(1)
    sums = {
      f"loss_{name}": (each[:, jnp.array(own)].sum(), jnp.float32(len(row) * len(own)))
      for name, own in streams.items()
    }
    sums |= {
      f"loss_{name}": (jnp.sum(of_row * rows), jnp.sum(rows).astype(jnp.float32))
      for name, rows in {"from_text": ~is_edit, "edit": is_edit}.items()
    }
    return of_row.mean(), sums

  return loss

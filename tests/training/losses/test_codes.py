"""What MusicGen-Stem minimises, with a network that says what is right and where."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.tokens import delay
from stemphonic_jax.tokens.editing import prefix_frames
from stemphonic_jax.training.losses.codes import columns, musicgen_loss

STREAMS = {"bass": (0,), "drums": (1,), "other": (2, 3, 4, 5)}
T, V = 20, 4


class Says:
  """A network that is certain of code 0 in columns `right`, and of another one elsewhere."""

  special = V

  def __init__(self, right):
    self.right = right

  def apply(self, variables, codes, text, mask):
    B, K, N = codes.shape
    said = jnp.where(self.right(jnp.arange(N)), 0, 1)
    logits = 50.0 * jax.nn.one_hot(said, V)
    return jnp.broadcast_to(logits[None, :, None], (B, N, K, V))


def batch(rows=8, frames=T):
  return {
    "codes": jnp.zeros((rows, 6, T), jnp.int32),
    "frames": jnp.full(rows, frames, jnp.int32),
    "text": jnp.zeros((rows, 3), jnp.int32),
    "mask": jnp.ones((rows, 3), bool),
    "row": jnp.arange(rows),
  }


def value(right, edits, frames=T, song=T):
  loss = musicgen_loss(Says(right), STREAMS, delay.MUSICGEN_STEM, song=song, edits=edits)
  found, sums = jax.jit(loss)({}, batch(frames=frames), jax.random.key(0))
  return float(found), {name: float(a / b) if b else np.nan for name, (a, b) in sums.items()}


def test_an_edit_is_scored_right_of_its_prefix_and_nowhere_else():
  prefix = prefix_frames(T)
  assert value(lambda n: n >= prefix, 1.0)[0] == pytest.approx(0, abs=1e-6)
  assert value(lambda n: n > prefix, 1.0)[0] > 1
  assert columns(T, T, 1.0) == prefix + T


def test_silence_that_was_added_is_not_scored():
  # The last of five frames is in column 8 of the stream that is delayed most.
  assert value(lambda n: n < 8, 0.0, frames=5)[0] == pytest.approx(0, abs=1e-6)
  assert value(lambda n: n < 7, 0.0, frames=5)[0] > 0.1
  # An edit of ten frames of which five are music; the prefix is three.
  assert value(lambda n: n < 3 + 8, 1.0, frames=5, song=10)[0] == pytest.approx(0, abs=1e-6)


def test_half_of_the_rows_are_edits_and_rows_do_not_depend_on_each_other():
  _, sums = value(lambda n: n < 0, 0.5)
  assert min(sums[f"loss_{name}"] for name in ("edit", "from_text", "bass", "other")) > 1
  loss = musicgen_loss(Says(lambda n: n % 2 == 0), STREAMS, delay.MUSICGEN_STEM, song=16, edits=0.5)
  whole, key = batch(), jax.random.key(1)
  run = jax.jit(functools.partial(loss, {}))
  halves = [{name: x[i : i + 4] for name, x in whole.items()} for i in (0, 4)]
  parts = [float(run(half, key)[0]) for half in halves]
  assert float(run(whole, key)[0]) == pytest.approx(sum(parts) / 2, rel=1e-5)

"""The prefix of an edit has the paper's numbers, and hides what is to be made anew."""

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.tokens import delay, editing

S = 99
STEMS = ((0,), (1,), (2, 3, 4, 5))


def test_thirty_seconds_are_1501_frames_of_which_1250_are_scored():
  frames = editing.song_frames(1500)
  codes = jnp.zeros((1, 6, frames), jnp.int32)
  whole = editing.with_prefix(codes, jnp.zeros((1, 6), bool), S)
  assert (frames, editing.prefix_frames(frames), whole.shape[-1]) == (1250, 251, 1501)
  scored = editing.scored(frames)
  assert scored.shape == (1501,)
  assert np.asarray(scored).sum() == 1250
  _, _, counts = delay.training_pair(whole, delay.MUSICGEN_STEM, S, scored)
  np.testing.assert_array_equal(np.asarray(counts).sum(1), [1250, 1250, 1250, 1249, 1248, 1247])


def test_every_fifth_frame_comes_first_without_the_streams_that_are_made_anew():
  codes = jnp.asarray(np.arange(12)[None, None] + np.array([[[0], [20]]]))
  whole = np.asarray(editing.with_prefix(codes, jnp.array([[False, True]]), S))
  np.testing.assert_array_equal(whole[0, 0], [0, 5, 10, S, *range(12)])
  np.testing.assert_array_equal(whole[0, 1], [S, S, S, S, *range(20, 32)])


def test_streams_that_stay_are_given_or_made_again():
  codes, anew = jnp.zeros((1, 2, 12), jnp.int32), jnp.array([[False, True]])
  for forced in (True, False):
    _, given, prefix = editing.request(codes, anew, S, forced)
    given = np.asarray(given)
    assert given[..., :prefix].all()
    assert not given[0, 1, prefix:].any()
    assert (given[0, 0, prefix:] == forced).all()


def test_one_or_two_stems_are_drawn_and_of_several_streams_the_finest():
  draw = jax.jit(lambda row: editing.draw_anew(jax.random.key(0), row, STEMS))
  drawn = np.asarray(draw(jnp.arange(2000)))
  other = drawn[:, 2:]
  stems = drawn[:, :2].sum(1) + other.any(1)
  assert set(np.unique(stems)) == {1, 2}
  assert abs(np.mean(stems == 2) - 0.5) < 0.05
  assert (np.diff(other.astype(int), axis=1) >= 0).all(), "no coarser stream alone"
  counts = np.bincount(other.sum(1), minlength=5)[1:]
  assert (np.abs(counts / counts.sum() - 0.25) < 0.05).all()
  np.testing.assert_array_equal(draw(jnp.arange(2000)[::-1]), drawn[::-1])

import numpy as np
import pytest

from stemphonic_jax.evaluation.measures.lags import correlation, in_time, track

FRAMES = 300
WAYS = {"reach": 40, "near": 1, "apart": 4, "least": 20}


def tracks(*signals, sounding=None):
  heard = sounding or [np.ones(len(x), bool) for x in signals]
  return [track(x, on, FRAMES + 60) for x, on in zip(signals, heard, strict=True)]


def test_correlation_is_that_of_the_frames_in_which_both_sound():
  rng = np.random.default_rng(0)
  x, y = rng.standard_normal((2, FRAMES, 3)).astype(np.float32)
  on = rng.random((2, FRAMES)) < 0.7
  lags = np.array([-7, 0, 5])
  got = correlation(*tracks(x, y, sounding=list(on)), lags, least=1)
  x, y = x - x[on[0]].mean(axis=0), y - y[on[1]].mean(axis=0)
  for value, lag in zip(got, lags, strict=True):
    here = np.arange(max(0, -lag), FRAMES - max(0, lag))
    here = here[on[0][here] & on[1][here + lag]]
    a, b = x[here], y[here + lag]
    assert value == pytest.approx((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-4)


def test_where_both_sound_too_little_nothing_is_measured():
  x = np.random.default_rng(0).standard_normal((FRAMES, 1)).astype(np.float32)
  first = np.arange(FRAMES) < FRAMES // 2
  a, b = tracks(x, x, sounding=[first, ~first])
  assert np.isnan(correlation(a, b, np.array([0]), least=20))[0]
  assert np.isnan(in_time(a, b, **WAYS))


def test_only_a_common_start_is_in_time():
  """Equal rhythms are at chance as soon as one of them starts somewhere else."""
  rng = np.random.default_rng(0)
  beat = np.tile(np.eye(20)[[0]].repeat(1, 0), FRAMES // 20).reshape(-1, 1).astype(np.float32)
  hiss = [0.1 * rng.standard_normal((FRAMES, 1)).astype(np.float32) for _ in range(2)]
  assert in_time(*tracks(beat + hiss[0], beat + hiss[1]), **WAYS) > 0.8
  late = [
    in_time(*tracks(beat + hiss[0], np.roll(beat, k, 0) + hiss[1]), **WAYS) for k in range(20)
  ]
  assert np.median(late) == pytest.approx(0.0, abs=0.1)

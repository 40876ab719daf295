"""CLAP as a judge: fixed windows, the field's front end, scores; numbers are in tests/parity."""

import numpy as np
import pytest

from stemphonic_jax.errors import MismatchError, UsageError
from stemphonic_jax.evaluation.judges import clap
from tests.weights import judges

RATE = 48_000


def noise(seconds, rate=RATE, channels=2, seed=0):
  shape = (round(seconds * rate), channels)
  return 0.1 * np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
  return clap.open_judge(judges.save_clap(tmp_path_factory.mktemp("clap") / "small"))


def test_spectrograms_are_those_of_laion():
  """Literal numbers are torchlibrosa's."""
  t = np.arange(10 * RATE) / RATE
  found = clap._spectrogram(0.5 * np.cos(2 * np.pi * (100 * t + 200 * t**2)))
  assert (found.shape, found.dtype) == ((1001, 64), np.float32)
  moments = [found.mean(dtype=float), found.std(dtype=float), found.max()]
  np.testing.assert_allclose(moments, [-76.0757, 29.8108, 25.0088], atol=1e-4)
  np.testing.assert_allclose(found[500, [0, 30, 63]], [-82.187, 22.493, -100], atol=1e-3)


@pytest.mark.parametrize(
  ("seconds", "expected"),
  [(1, [0]), (10, [0]), (12, [0, 2]), (21, [0, 11]), (32, [0, 11, 22]), (60, range(0, 60, 10))],
)
def test_windows_are_spread_evenly_and_leave_a_second_at_most(seconds, expected):
  assert clap.starts(seconds * RATE) == [start * RATE for start in expected]


def test_short_clips_are_repeated_whole_and_levels_are_those_of_16_bits(judge):
  short = noise(3, channels=1)
  repeated = np.concatenate([short] * 3 + [np.zeros((RATE, 1), np.float32)])
  assert len(clap.spectrograms(short, RATE)) == 1
  np.testing.assert_array_equal(clap.spectrograms(short, RATE), clap.spectrograms(repeated, RATE))
  clipped = clap.spectrograms(np.clip(20 * short, -1, 1), RATE)
  np.testing.assert_array_equal(clap.spectrograms(20 * short, RATE), clipped)
  np.testing.assert_array_equal(clap.spectrograms(1e-5 * short, RATE), -100)
  with pytest.raises(UsageError, match="no samples"):
    judge.embed([short[:0]], RATE)


def test_embeddings_are_of_windows_and_scores_the_mean_of_their_cosines(judge):
  clips = [noise(12, seed=1), noise(4, 16_000, seed=2)]
  each = [judge.embed_each([clips[0]], RATE)[0], judge.embed_each([clips[1]], 16_000)[0]]
  assert [some.shape for some in each] == [(2, 6), (1, 6)]
  np.testing.assert_allclose(np.linalg.norm(np.concatenate(each), axis=1), 1, atol=1e-6)
  whole = clips[0][:, :1] @ np.ones((1, 2), np.float32)  # both channels alike
  np.testing.assert_allclose(judge.embed(whole[None], RATE), judge.embed([whole[:, 0]], RATE))
  texts = judge.embed_texts(["drums", "a theme", "drums"])
  np.testing.assert_array_equal(texts[0], texts[2])
  assert np.abs(texts[0] - texts[1]).max() > 1e-3
  expected = 100 * np.mean(each[0] @ texts[1])
  np.testing.assert_allclose(judge.scores([clips[0]], ["a theme"], RATE), [expected], rtol=1e-5)
  assert judge.embed([], RATE).shape == judge.embed_texts([]).shape == (0, 6)
  assert "windows of 10 s" in judge.note
  assert judge.key == {"judge": "CLAP", "weights": judge.key["weights"]}


def test_a_model_of_other_spectrograms_is_no_judge(tmp_path):
  with pytest.raises(MismatchError, match="hears 16 bands, expected 64"):
    clap.open_judge(judges.save_clap(tmp_path / "small", judges.clap(16)))

import numpy as np
import pytest

from stemphonic_jax.audio.levels import KNEE, dbfs, envelope, mix, normalize, saturate
from stemphonic_jax.errors import UsageError


def test_levels_by_hand():
  assert dbfs(np.ones((100, 2), np.float32)) == 0.0
  assert dbfs(np.full((100, 2), 0.1, np.float32)) == pytest.approx(-20.0, abs=1e-5)
  sine = np.sin(2 * np.pi * np.arange(44100) / 100).astype(np.float32)
  assert dbfs(np.stack([sine, sine], axis=1)) == pytest.approx(-3.0103, abs=1e-3)
  assert dbfs(np.stack([sine, 0 * sine], axis=1)) == pytest.approx(-6.0206, abs=1e-3)
  assert dbfs(np.zeros((10, 2), np.float32)) == -np.inf
  assert dbfs(np.zeros((0, 2), np.float32)) == -np.inf


def test_a_mix_is_the_plain_sum_with_gains():
  rng = np.random.default_rng(0)
  a, b = rng.standard_normal((2, 50, 2)).astype(np.float32)
  np.testing.assert_array_equal(mix({"a": a, "b": b}), a + b)
  np.testing.assert_array_equal(mix({"a": a, "b": b}, {"b": 0.0}), a)
  np.testing.assert_array_equal(mix({"a": a, "b": b}, {"a": 0.5}), np.float32(0.5) * a + b)
  assert mix({"a": a}).dtype == np.float32
  with pytest.raises(UsageError, match="'c'"):
    mix({"a": a}, {"c": 1.0})
  with pytest.raises(UsageError, match="nothing to mix"):
    mix({})


@pytest.mark.parametrize("gain", [1e-4, 1.0, 30.0])
def test_any_mix_comes_to_minus_16_dbfs_with_its_waveform_unchanged(gain):
  audio = gain * np.random.default_rng(1).standard_normal((5000, 2)).astype(np.float32)
  level = normalize(audio)
  assert dbfs(level) == pytest.approx(-16.0, abs=1e-4)
  assert level.dtype == np.float32
  np.testing.assert_allclose(level / np.abs(level).max(), audio / np.abs(audio).max(), atol=1e-6)


def test_normalize_keeps_peaks_and_leaves_silence():
  audio = np.zeros((44100, 2), np.float32)
  audio[10] = 0.9
  assert np.abs(normalize(audio)).max() > 1.0
  np.testing.assert_array_equal(normalize(np.zeros((5, 2), np.float32)), np.zeros((5, 2)))


@pytest.mark.parametrize("spike", [-0.9, 0.3, 0.9])
def test_what_would_clip_is_quieter_with_its_waveform_unchanged(spike):
  audio = 0.001 * np.random.default_rng(1).standard_normal((5000, 2)).astype(np.float32)
  np.testing.assert_array_equal(normalize(audio, most=1.0), normalize(audio))
  audio[10] = spike
  found = normalize(audio, most=1.0)
  assert np.abs(found).max() == 1.0
  assert dbfs(found) < -17.0
  np.testing.assert_allclose(found, audio / abs(spike), rtol=1e-6)


@pytest.mark.parametrize("samples", [1, 9, 10, 11, 103])
def test_an_envelope_is_the_lowest_and_highest_sample_of_each_piece(samples):
  audio = np.random.default_rng(samples).normal(size=(samples, 2)).astype(np.float32)
  low, high = envelope(audio, 10)
  pieces = [audio[k : k + -(-samples // 10)] for k in range(0, samples, -(-samples // 10))]
  np.testing.assert_array_equal(low, [piece.min() for piece in pieces])
  np.testing.assert_array_equal(high, [piece.max() for piece in pieces])


def test_saturation_bends_what_is_loud_and_nothing_else():
  audio = np.linspace(-4, 4, 8001, dtype=np.float32).reshape(-1, 1) * np.ones(2, np.float32)
  bent = saturate(audio)
  assert bent.dtype == np.float32
  assert np.abs(bent).max() <= 1
  soft = np.abs(audio) <= KNEE
  np.testing.assert_array_equal(bent[soft], audio[soft])
  np.testing.assert_array_equal(bent, -bent[::-1])
  slopes = np.diff(bent[:, 0]) / np.diff(audio[:, 0])
  assert slopes.min() >= 0  # louder stays louder
  assert np.abs(np.diff(slopes)).max() < 0.01  # without an edge
  np.testing.assert_array_equal(saturate(0.2 * audio), 0.2 * audio)

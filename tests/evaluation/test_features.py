import numpy as np
import pytest

from stemphonic_jax.audio.activity import frame_activity
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.evaluation.features import FRAMES_PER_SECOND, features
from tests.evaluation.songs_by_hand import RATE, clicks, song, tones


def test_onsets_are_where_the_clicks_are():
  times = np.array([0.5, 1.3, 2.9, 6.0])
  onsets = song("a", None, drums=clicks(times)).stems["drums"].onsets
  found = np.sort(np.argsort(onsets)[-4:]) / FRAMES_PER_SECOND
  np.testing.assert_allclose(found, times, atol=0.03)


def test_the_loudest_pitch_class_is_the_one_played():
  played = [(40,), (57,), (61,), (65,)]  # E as low as a bass has it, and A, C sharp, F
  chroma = song("a", None, keys=tones(played, each=2.0)).stems["keys"].chroma
  middle = chroma[[round((2 * i + 1) * RATE / 2048) for i in range(4)]]
  assert middle.argmax(axis=1).tolist() == [4, 9, 1, 5]


def test_a_stem_sounds_where_it_is_heard_and_phrases_are_closed():
  audio = np.zeros((8 * RATE, 2), np.float32)
  audio[: 2 * RATE] = audio[round(2.3 * RATE) : 4 * RATE] = 0.1
  audio[4 * RATE :] = 1e-4  # noise of a codec, 60 dB below
  sounding = song("a", None, synths=audio).stems["synths"].sounding
  assert sounding.mean() == pytest.approx(0.5, abs=0.01)
  assert sounding[: len(sounding) // 2 - 2].all()


def test_silence_has_features_and_never_sounds():
  stem = song("a", None, keys=np.zeros((RATE, 2), np.float32)).stems["keys"]
  assert not stem.sounding.any()
  assert not stem.onsets.any()
  assert np.isfinite(stem.bands).all()


def test_the_level_of_bands_is_the_power_of_the_audio():
  noise = 0.1 * np.random.default_rng(0).standard_normal((4 * RATE, 1)).astype(np.float32)
  bands = song("a", None, SFX=noise.repeat(2, 1)).stems["SFX"].bands.astype(np.float32)
  level = 10 * np.log10((10 ** (bands / 10)).sum(axis=1).mean())
  assert level == pytest.approx(-20.0, abs=3.0)


def test_the_mix_is_what_the_stems_are_together():
  parts = {"drums": clicks([1.0, 2.0]), "keys": tones([(60, 64, 67)], each=8.0)}
  apart, together = song("a", None, **parts), song("b", None, keys=sum(parts.values()))
  heard = together.bands > -60  # floors add up too
  difference = (apart.bands - together.bands)[heard]
  assert np.abs(np.median(difference)) < 0.5
  assert np.quantile(np.abs(difference), 0.9) < 3.0


def test_activity_is_that_of_the_model_at_its_own_rate():
  audio = np.zeros((44100, 2), np.float32)
  audio[20000:] = 0.1
  mix = Mix("a", {"keys": Stem("keys", audio)}, "", None, 44100)
  for hop in (3584, 2048):
    lane = features(mix, hop).stems["keys"].lane
    np.testing.assert_array_equal(lane, frame_activity(audio, hop, 44_100))

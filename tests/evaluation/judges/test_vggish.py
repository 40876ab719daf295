"""VGGish hears what Google's code and its ports hear; literal numbers are torchvggish's."""

import numpy as np
import pytest
import soxr

from stemphonic_jax.errors import UsageError
from stemphonic_jax.evaluation.judges import vggish
from stemphonic_jax.evaluation.judges.resampling import as_fadtk, as_resampy
from tests.weights import judges

RATE = 16_000
SINE = np.sin(2 * np.pi * 1000 * np.arange(3 * RATE) / RATE)


def noise(seconds, rate=RATE, channels=2, seed=0):
  shape = (round(seconds * rate), channels)
  return 0.1 * np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
  path = tmp_path_factory.mktemp("vggish") / "v.safetensors"
  judges.save(path, judges.vggish())
  return {mode: vggish.open_judge(path, mode) for mode in vggish.MODES}


def test_patches_are_those_of_the_peers():
  found = vggish.patches(SINE)
  assert (found.shape, found.dtype) == ((3, 96, 64), np.float32)
  moments = [found.mean(dtype=float), found.std(dtype=float), found.max()]
  np.testing.assert_allclose(moments, [-3.42961868, 2.12657733, 4.81111765], rtol=1e-6)
  assert found[0, 0].argmax() == 19
  expected = [-4.48313, -3.47829, 4.77504, 2.26222, -0.58961]
  np.testing.assert_allclose(found[0, 0, [0, 10, 20, 21, 22]], expected, atol=6e-6)
  np.testing.assert_allclose(vggish.patches(np.zeros(RATE)), np.log(0.01), rtol=1e-7)


def test_embeddings_are_of_windows_and_do_not_depend_on_what_is_beside_them(opened):
  judge = opened["default"]
  clips = [noise(9, seed=1), noise(0.9), noise(4, channels=1, seed=2), noise(0.975)[:, 0]]
  each = judge.embed_each(clips, RATE)
  assert [some.shape for some in each] == [(9, 7), (0, 7), (4, 7), (1, 7)]
  np.testing.assert_array_equal(judge.embed(clips, RATE), np.concatenate(each))
  np.testing.assert_allclose(judge.embed(clips[2:3], RATE), each[2], rtol=1e-5)
  stereo = judge.embed(np.repeat(clips[2], 2, axis=1)[None], RATE)
  np.testing.assert_allclose(stereo, each[2], rtol=1e-4)
  assert judge.embed([], RATE).shape == (0, 7)
  assert judge.embed_each([], RATE) == []
  empty = np.zeros((0, 2), np.float32)
  assert [len(one.patches(empty, 44_100)) for one in opened.values()] == [0, 0, 0, 1]


def test_a_mode_has_windows_and_levels_of_its_peer(opened):
  clip = noise(5)
  counts = {mode: len(judge.patches(clip, RATE)) for mode, judge in opened.items()}
  assert counts == {"default": 5, "google": 9, "gudgud96": 5, "fadtk": 5}
  counts = {mode: len(judge.patches(clip[: RATE - 1], RATE)) for mode, judge in opened.items()}
  assert counts == {"default": 1, "google": 0, "gudgud96": 1, "fadtk": 1}
  assert len(opened["fadtk"].patches(clip[:50], RATE)) == 1
  # Google's has peak 1 whatever the level, and leaves silence as it is.
  google, quiet = opened["google"], np.rint(clip[:, :1] * 2**9) / 2**15
  np.testing.assert_allclose(google.patches(quiet, RATE), google.patches(64 * quiet, RATE))
  np.testing.assert_allclose(google.patches(0 * clip, RATE), np.log(0.01), rtol=1e-6)
  # fadtk's has 16 bits on its way, and on its way back.
  fadtk = opened["fadtk"]
  np.testing.assert_array_equal(fadtk.patches(quiet + 1e-6, RATE), fadtk.patches(quiet, RATE))
  embeddings = fadtk.embed([clip], RATE)
  np.testing.assert_array_equal(embeddings, embeddings.astype(np.float16))
  assert len({judge.note for judge in opened.values()}) == 4
  assert len({str(judge.key) for judge in opened.values()}) == 4


@pytest.mark.parametrize("resample", [as_resampy, as_fadtk])
@pytest.mark.parametrize("rate", [44_100, 48_000, 8_000])
def test_resamplers_pass_what_is_below_the_cutoff_and_nothing_above(resample, rate):
  t = np.arange(rate // 2) / rate
  low = resample(np.sin(2 * np.pi * 3000 * t), rate, RATE)
  assert len(low) == RATE // 2
  inside = slice(400, -400)
  expected = np.sin(2 * np.pi * 3000 * np.arange(len(low)) / RATE)
  np.testing.assert_allclose(low[inside], expected[inside], atol=1e-5)
  if rate > RATE:
    high = resample(np.sin(2 * np.pi * 9000 * t), rate, RATE)
    assert np.abs(high[inside]).max() < 1e-4


def test_other_rates_are_resampled_and_an_unknown_mode_is_refused(opened, tmp_path):
  clip = noise(3, 48_000)
  expected = vggish.patches(soxr.resample(clip.mean(axis=1), 48_000, RATE, quality="HQ"))
  np.testing.assert_array_equal(opened["default"].patches(clip, 48_000), expected)
  for mode in ("gudgud96", "fadtk"):
    found = opened[mode].patches(clip, 48_000)
    assert np.abs(found - expected)[..., :-2].max() < 0.1
  with pytest.raises(UsageError, match="mode is 'sony', expected default, google, gudgud96, fadtk"):
    vggish.open_judge(judges.save(tmp_path / "v.safetensors", judges.vggish()), "sony")

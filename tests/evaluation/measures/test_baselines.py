import numpy as np
import pytest

from stemphonic_jax.audio.levels import dbfs
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.measures.baselines import adrift, noise_like, shuffled
from tests.evaluation.songs_by_hand import drawn

TYPES = ("drums", "basses", "keys", "winds")


def songs(count):
  return [
    SongFeatures(str(n), 100.0 + n, {t: drawn(t, np.full(4, n)) for t in TYPES})
    for n in range(count)
  ]


def test_shuffled_songs_have_the_same_types_and_every_stem_from_another_song():
  for before, after in zip(songs(9), shuffled(songs(9)), strict=True):
    assert (after.id, after.bpm) == (before.id, before.bpm)
    assert {n: s.type for n, s in after.stems.items()} == {t: t for t in TYPES}
    sources = [int(stem.lane[0]) for stem in after.stems.values()]
    assert int(before.id) not in sources
    assert len(set(sources)) == len(TYPES)


def test_shuffling_uses_almost_every_stem_once():
  used = [int(song.stems["keys"].lane[0]) for song in shuffled(songs(40))]
  assert len(set(used)) >= 37


def test_where_there_is_nothing_to_shuffle_stems_stay_or_share_a_source():
  assert [s.lane[0] for s in shuffled(songs(1))[0].stems.values()] == [0] * 4
  assert [s.lane[0] for s in shuffled(songs(2))[0].stems.values()] == [1] * 4


def test_shuffling_is_a_function_of_its_seed():
  def order(seed):
    return [int(s.lane[0]) for song in shuffled(songs(9), seed) for s in song.stems.values()]

  assert order(0) == order(0) != order(1)


def test_stems_adrift_are_the_same_from_somewhere_else_on():
  steps = SongFeatures("a", 90.0, {t: drawn(t, np.arange(800) < 300) for t in TYPES})
  (after,) = adrift([steps])
  starts = [int(np.flatnonzero(np.diff(stem.lane) == 1)[0]) for stem in after.stems.values()]
  assert len(set(starts)) == len(TYPES)
  for before, stem in zip(steps.stems.values(), after.stems.values(), strict=True):
    start = np.flatnonzero(np.diff(stem.lane) == 1)[0] + 1
    np.testing.assert_array_equal(np.roll(stem.bands, -start, axis=0), before.bands)


def test_noise_is_as_loud_as_the_stem_and_each_song_has_its_own():
  audio = 0.1 * np.ones((44100, 2), np.float32)
  stems = {"drums": Stem("drums", audio), "keys": Stem("keys", 0.0 * audio)}
  one, two = (noise_like(Mix(name, stems, "", 90.0)) for name in ("a", "b"))
  assert dbfs(one.stems["drums"].audio) == pytest.approx(-20.0, abs=0.1)
  assert not one.stems["keys"].audio.any()
  assert one.stems["drums"].audio.dtype == np.float32
  assert not np.allclose(one.stems["drums"].audio, two.stems["drums"].audio)

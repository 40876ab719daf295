import numpy as np
import pytest

from stemphonic_jax.evaluation.measures.harmony import chords, harmony
from tests.evaluation.songs_by_hand import song, tones

SCALE = np.array([0, 2, 4, 5, 7, 9, 11])


def songs(late, count=16):
  """Basses play the roots of the chords of the keys, `late` chords later; each song in some key."""
  rng = np.random.default_rng(0)
  made = []
  for number in range(count):
    key, degrees = rng.integers(12), rng.integers(7, size=8)
    triads = [tuple(60 + key + SCALE[(d + np.array([0, 2, 4])) % 7]) for d in degrees]
    roots = [(36 + key + SCALE[d],) for d in np.roll(degrees, late)]
    made.append(song(str(number), 120, keys=tones(triads, 1.0), basses=tones(roots, 1.0)))
  return made


def test_chords_are_heard_by_both():
  assert harmony(songs(0)).value > 0.9
  assert chords(songs(0)).value > 0.9


def test_a_common_key_is_harmony_and_not_yet_chords():
  assert harmony(songs(3)).value > 0.65
  assert chords(songs(3)).value == pytest.approx(0.5, abs=0.17)


def test_drums_have_no_pitch():
  audio = tones([(60,), (64,)], 4.0)
  for kind in ("drums", "percussion", "SFX"):
    assert harmony([song("a", 120, **{kind: audio, "keys": audio})] * 3).n == 0
    assert chords([song("a", 120, **{kind: audio, "keys": audio})] * 3).n == 0

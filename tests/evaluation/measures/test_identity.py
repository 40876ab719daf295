from dataclasses import replace

import numpy as np

from stemphonic_jax.evaluation.features import BANDS, SongFeatures
from stemphonic_jax.evaluation.measures.identity import identity, timbre
from tests.evaluation.songs_by_hand import drawn

SLOPES = {"basses": -1.0, "keys": 0.0, "drums": 1.0}  # dB per band


def songs(count, seed, level=0.0):
  rng = np.random.default_rng(seed)

  def stem(kind):
    shape = SLOPES[kind] * np.arange(BANDS) + rng.normal(0, 2, BANDS) + level
    return drawn(kind, np.ones(200, bool), shape)

  return [SongFeatures(str(n), None, {k: stem(k) for k in SLOPES}) for n in range(count)]


def named(song, names):
  stems = {k: replace(s, type=names.get(k, k)) for k, s in song.stems.items()}
  return replace(song, stems=stems)


def test_stems_are_known_by_their_sound_and_not_by_their_level():
  assert identity(songs(5, 1), songs(10, 0)).value == 1.0
  assert identity(songs(5, 1, level=-15.0), songs(10, 0)).value == 1.0


def test_a_stem_of_the_wrong_sound_is_wrong():
  wrong = [named(song, {"drums": "basses"}) for song in songs(5, 1)]
  score = identity(wrong, songs(10, 0))
  assert (round(score.value, 3), score.n) == (round(2 / 3, 3), 5)


def test_silence_is_wrong():
  silent = SongFeatures("s", None, {"drums": drawn("drums", np.zeros(200, bool))})
  assert timbre(silent.stems["drums"]) is None
  assert identity([silent], songs(10, 0)).value == 0


def test_types_without_reference_do_not_count():
  theremins = [named(song, dict.fromkeys(SLOPES, "theremin")) for song in songs(5, 1)]
  assert identity(theremins, songs(10, 0)).n == 0
  assert identity(songs(5, 1), []).n == 0

import itertools

import numpy as np
import pytest

from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.measures.pairs import auc
from tests.evaluation.songs_by_hand import drawn

TYPES = ("drums", "basses", "keys")


def songs(count):
  return [
    SongFeatures(str(n), None, {t: drawn(t, np.full(4, n)) for t in TYPES}) for n in range(count)
  ]


def number(stem):
  return stem.type, int(stem.lane[0])


def test_what_only_true_pairs_have_wins_all_and_what_all_have_wins_half():
  assert auc(songs(8), number, lambda a, b, song: float(a[1] == b[1])).value == 1.0
  assert auc(songs(8), number, lambda a, b, song: float(a[1] != b[1])).value == 0.0
  assert auc(songs(8), number, lambda a, b, song: 0.0).value == 0.5


def test_a_true_pair_is_compared_with_pairs_of_the_same_types_alone():
  seen = []

  def agree(a, b, song):
    seen.append((frozenset((a[0], b[0])), a[1] == b[1] == int(song.id)))
    return 0.0

  score = auc(songs(8), number, agree)
  assert score.n == 8
  for types in map(frozenset, itertools.combinations(TYPES, 2)):
    assert seen.count((types, True)) == 8
    assert seen.count((types, False)) == 8 * 2 * 4


def test_chance_is_a_half_whatever_the_types_are_like():
  """Drums and basses always agree more than other pairs, which is no merit of theirs."""
  rng = np.random.default_rng(0)

  def agree(a, b, song):
    return 10.0 * ({a[0], b[0]} == {"drums", "basses"}) + rng.random()

  assert auc(songs(60), number, agree).value == pytest.approx(0.5, abs=0.05)


def test_what_cannot_be_heard_or_measured_is_left_out():
  assert auc(songs(4), lambda stem: None, lambda a, b, song: 1.0).n == 0
  assert auc(songs(4), number, lambda a, b, song: np.nan).n == 0
  assert auc(songs(1), number, lambda a, b, song: 1.0).n == 0
  odd = auc(songs(4), number, lambda a, b, song: np.nan if song.id == "0" else 1.0)
  assert odd.n == 3

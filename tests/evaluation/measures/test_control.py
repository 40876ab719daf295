import numpy as np
import pytest

from stemphonic_jax.errors import UsageError
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.measures.control import activity, f1
from tests.evaluation.songs_by_hand import drawn


def bits(text):
  return np.array([int(c) for c in text], np.int8)


def heard(**lanes):
  stems = {name: drawn(name, bits(lane)) for name, lane in lanes.items()}
  return SongFeatures("a", None, stems)


def test_f1_by_hand():
  assert f1(bits("1100"), bits("1100")) == 1.0
  assert f1(bits("1100"), bits("0011")) == 0.0
  assert f1(bits("1110"), bits("0111")) == pytest.approx(2 / 3)
  assert f1(bits("1100"), bits("11001")) == 1.0
  with pytest.raises(UsageError, match="4 frames were asked for and 6 heard"):
    f1(bits("1100"), bits("110011"))


def test_only_partially_active_stems_count():
  song = heard(drums="1111", keys="1100", basses="0000")
  whole = {"drums": bits("1111"), "basses": bits("0000")}
  assert activity([song], [whole]).n == 0
  score = activity([song, song], [whole, {"keys": bits("1000"), "drums": bits("1111")}])
  assert (score.value, score.n) == (pytest.approx(2 / 3), 1)


def test_who_ignores_the_lane_has_what_the_docstring_says():
  asked = bits("1110000000")
  assert f1(asked, np.ones(10, np.int8)) == pytest.approx(2 * 0.3 / 1.3)

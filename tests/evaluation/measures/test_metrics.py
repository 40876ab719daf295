import numpy as np
import pytest

from stemphonic_jax.data.sources.demo import piece
from stemphonic_jax.evaluation.features import features
from stemphonic_jax.evaluation.measures.metrics import METRICS, measure, shuffled
from tests.evaluation.songs_by_hand import song


@pytest.fixture(scope="module")
def real():
  return [features(piece(3, n, 10.0, 22050, stems=["drums", "basses", "keys"])) for n in range(14)]


def lanes(songs):
  return [{name: stem.lane for name, stem in song.stems.items()} for song in songs]


def test_every_metric_has_a_score_and_a_line_for_its_reader(real):
  measured = measure(real, real)
  assert list(measured) == list(METRICS)
  for name, metric in METRICS.items():
    assert metric.name == name
    assert metric.better in ("higher", "lower")
    assert metric.label
    assert metric.summary
  assert measured["activity"].n == 0


def test_real_songs_are_ahead_of_the_same_stems_shuffled(real):
  songs, mixed = measure(real, real, lanes(real)), measure(shuffled(real), real)
  for name in ("synchrony", "harmony", "chords"):
    assert songs[name].value > 0.75
    assert mixed[name].value < 0.65
  assert songs["identity"].value == 1.0  # their nearest are they themselves
  assert songs["activity"].value in (1.0, pytest.approx(np.nan, nan_ok=True))
  assert songs["fad_stem"].value == pytest.approx(0.0, abs=1e-6)


def test_silence_and_nothing_are_measured_without_complaint(real):
  silent = song("s", 100.0, drums=np.zeros((22050, 2), np.float32), keys=np.zeros((22050, 2), "f"))
  for songs in ([silent], [silent] * 3, []):
    measured = measure(songs, real)
    assert measured["synchrony"].n == measured["form"].n == 0
    assert measured["identity"].n == len(songs)  # a silent stem is of no type
    assert np.isnan(measured["fad_stem"].value)

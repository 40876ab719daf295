import numpy as np
import pytest

from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.errors import DataError, UsageError


def noise(samples: int = 100, seed: int = 0) -> np.ndarray:
  return np.random.default_rng(seed).standard_normal((samples, 2)).astype(np.float32)


def make(**changes) -> Mix:
  stems = {"drums": Stem("drums", noise(seed=1)), "guitars 2": Stem("guitars", noise(seed=2))}
  return Mix(**({"id": "m", "stems": stems, "caption": "c", "bpm": 96.0, "rate": 50} | changes))


def test_a_mix_knows_its_length_and_its_sums():
  mix = make()
  drums, guitars = (stem.audio for stem in mix.stems.values())
  assert (mix.samples, mix.seconds) == (100, 2.0)
  np.testing.assert_array_equal(mix.audio(), drums + guitars)
  np.testing.assert_array_equal(mix.audio(["guitars 2"]), guitars)
  np.testing.assert_array_equal(mix.audio([]), np.zeros((100, 2)))
  with pytest.raises(UsageError, match="no stem 'keys'; it has drums, guitars 2"):
    mix.audio(["keys"])


def test_a_crop_is_the_same_music_of_every_stem():
  mix, cut = make(), make().crop(30, 50)
  assert (cut.samples, cut.id, cut.caption, cut.bpm, cut.rate) == (50, "m", "c", 96.0, 50)
  np.testing.assert_array_equal(cut.audio(), mix.audio()[30:80])
  assert {name: stem.type for name, stem in cut.stems.items()} == {
    "drums": "drums",
    "guitars 2": "guitars",
  }
  for start, samples in ((-1, 10), (0, 0), (60, 41)):
    with pytest.raises(DataError, match="cannot cut"):
      mix.crop(start, samples)


def test_what_a_data_set_says_of_a_stem_stays_with_it():
  labelled = Stem("keys", noise(), label="grand piano", bleed=True)
  for mix in (make(stems={"keys": labelled}).crop(10, 20), make(stems={"keys": labelled}).pad(200)):
    assert (mix.stems["keys"].label, mix.stems["keys"].bleed) == ("grand piano", True)
  assert (Stem("keys", noise()).label, Stem("keys", noise()).bleed) == ("", False)


@pytest.mark.parametrize("bpm", [None, 20.0, 400.0])
def test_tempo_may_be_unknown(bpm):
  assert make(bpm=bpm).bpm == bpm


@pytest.mark.parametrize("bpm", [19.9, 401.0, 0.0, -96.0, np.nan, np.inf])
def test_impossible_tempi_are_refused(bpm):
  with pytest.raises(DataError, match="expected 20 to 400 or None"):
    make(bpm=bpm)


@pytest.mark.parametrize(
  ("stems", "words"),
  [
    ({}, "has no stems"),
    ({"a": Stem("a", noise().astype(np.float64))}, r"'a' is float64 \[100, 2\]"),
    ({"a": Stem("a", noise()[:, :1])}, r"'a' is float32 \[100, 1\]"),
    ({"a": Stem("a", noise()[:, 0])}, r"'a' is float32 \[100\]"),
    ({"a": Stem("a", noise(0))}, r"'a' is float32 \[0, 2\]"),
    ({"a": Stem("a", [[0.0, 0.0]])}, r"'a' is list \[1, 2\]"),
    ({"a": Stem("a", noise(9)), "b": Stem("b", noise(8))}, r"\(a 9, b 8\)"),
  ],
)
def test_stems_that_do_not_fit_are_refused(stems, words):
  with pytest.raises(DataError, match=words):
    make(stems=stems)

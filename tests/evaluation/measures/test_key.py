from dataclasses import replace

import numpy as np
import pytest

from stemphonic_jax.data.sources.demo.theory import SCALES, TONICS, Key
from stemphonic_jax.evaluation.measures.key import key, named_key
from tests.evaluation.songs_by_hand import song, tones


def scale(tonic, mode, caption, kind="keys"):
  """Eight notes up and down a scale; half a second each."""
  pitches = [(60 + tonic + step,) for step in SCALES[mode]]
  return replace(song("a", 120, **{kind: tones([*pitches, *pitches[::-1]], 0.5)}), caption=caption)


@pytest.mark.parametrize(
  ("text", "found"),
  [
    ("Fast drum and bass in Gb minor, dark", Key(6, "minor")),
    ("Pop, mid-tempo, F# major: drums", Key(6, "major")),
    ("Cb major", Key(11, "major")),
    ("E♭-minor ballad, then C major", Key(3, "minor")),
    ("slow ballad in a minor key", None),
    ("A minor key ballad", None),
    ("A major hit", Key(9, "major")),
    ("HAM major", None),
    ("ballade en fa dièse mineur", Key(6, "minor")),
    ("techno, 130 bpm, Am", Key(9, "minor")),
    ("", None),
  ],
)
def test_keys_are_read_out_of_prompts(text, found):
  assert named_key(text) == found


@pytest.mark.parametrize("mode", ["major", "minor"])
def test_a_scale_is_in_its_own_key_and_not_in_one_a_tritone_away(mode):
  assert key([scale(2, mode, f"in D {mode}")]).value == 1.0
  assert key([scale(2, mode, f"in G# {mode}")]).value < 0.2
  beside = key([scale(2, mode, f"in A {mode}")]).value  # a fifth above: one note of seven is wrong
  assert 0.7 < beside < 1.0


def test_all_pitched_stems_count_alike_however_loud():
  loud, soft = (scale(tonic, "major", "C major") for tonic in (6, 0))
  quiet = replace(soft.stems["keys"], chroma=soft.stems["keys"].chroma * 1e-4)
  mixed = {"keys": loud.stems["keys"], "keys 2": quiet}
  both, alone = key([replace(loud, stems=mixed)]), key([loud])
  assert both.value > alone.value


def test_who_names_no_key_or_has_no_pitch_is_not_counted():
  assert key([scale(0, "major", "something"), scale(0, "major", "C major", "drums")]).n == 0


def test_noise_is_in_all_keys_alike():
  audio = np.random.default_rng(0).standard_normal((8 * 22050, 2)).astype(np.float32) / 10
  noise = song("a", 120, keys=audio)
  asked = [replace(noise, caption=f"in {tonic} major") for tonic in TONICS]
  assert key(asked).value == pytest.approx(0.5)

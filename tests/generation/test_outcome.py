"""What a model made is looked at: no sound is an error, silence is said."""

import dataclasses

import numpy as np
import pytest

from stemphonic_jax.errors import DataError, DivergedError
from stemphonic_jax.generation.outcome import is_silent
from tests import tiny

PROMPT = "Relaxing country rock"


def generate(*stems, prompt=PROMPT, **options):
  return tiny.pipeline().generate(prompt, stems, **options)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 7e16, -1001.0])
def test_what_is_no_sound_is_an_error_that_says_how_to_make_it_again(monkeypatch, wrong, tmp_path):
  pipe, good = tiny.pipeline(), generate("drums")
  decode = pipe.decode_row

  def broken(latents):
    audio = decode(latents).copy()
    audio[1000, 1] = wrong
    return audio

  with monkeypatch.context() as patch:
    patch.setattr(pipe, "decode_row", broken)
    with pytest.raises(DivergedError, match=r"stem 'drums' of 'rock rock .*…', seed 7") as error:
      generate("drums", prompt="rock " * 100, seed=7)
    assert ("NaN or infinity" if not np.isfinite(wrong) else f"{abs(wrong):.2g}") in str(
      error.value
    )
    with pytest.raises(DivergedError, match="seed 7, variation 1;"):
      pipe.variations(PROMPT, ["drums"], count=2, seed=7)
  stem = good.stems["drums"].copy()
  stem[5] = wrong
  with pytest.raises(DataError, match="stem 'drums': sample 5"):
    dataclasses.replace(good, stems={"drums": stem}).save(tmp_path / "song")
  assert not list(tmp_path.iterdir())


def test_a_stem_that_is_silent_though_it_was_to_sound_is_said(monkeypatch, warned):
  decode = tiny.pipeline().decode_row
  monkeypatch.setattr(tiny.pipeline(), "decode_row", lambda z: 1e-6 * decode(z))
  song = generate("drums", "basses", "keys", seed=7, activity={"keys": [], "basses": [(0, 1)]})
  assert [one.get("silent", False) for one in song.info["stems"].values()] == [True, True, False]
  assert len(warned) == 2
  assert "stem 'drums' was to sound and is silent: 'Relaxing country rock', seed 7" in warned[0]


def test_a_stem_that_rests_where_it_was_to_play_is_silent():
  audio = np.zeros((8 * 3584, 2), np.float32)
  audio[4 * 3584 :] = 0.1
  lane = np.array([1, 1, 0, 0, 0, 0, 0, 0], np.int8)
  assert is_silent(audio, 3584, 44_100, lane)
  assert not is_silent(audio, 3584, 44_100, None)
  assert not is_silent(audio, 3584, 44_100, 1 - lane)
  assert not is_silent(np.zeros_like(audio), 3584, 44_100, 0 * lane)
  assert is_silent(np.zeros_like(audio), 3584, 44_100, None)


def test_a_song_that_sounds_warns_of_nothing(warned):
  song = generate("drums", "basses")
  assert not warned
  assert not any("silent" in one for one in song.info["stems"].values())

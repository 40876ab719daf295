"""Generation to given audio: it is heard, named, and left as it is."""

import numpy as np
import pytest

from stemphonic_jax.errors import DataError, UsageError
from stemphonic_jax.generation import pipeline
from tests import tiny
from tests.generation.asking import PROMPT, assert_same, differs, encoded, generate, prompts, tone


def test_given_audio_is_heard_named_and_left_as_it_is(calls):
  given = {"guitars": tone(), "bass": tone(110, 1.5)}
  song = generate("drums", context=given)
  assert list(song.stems) == ["guitars", "bass", "drums"]
  assert list(song.latents) == ["drums"]
  padded = np.pad(given["bass"], ((0, tiny.RATE // 2), (0, 0)))
  np.testing.assert_array_equal(song.stems["guitars"], given["guitars"])
  np.testing.assert_array_equal(song.stems["bass"], padded)
  ((_, row),) = calls
  np.testing.assert_array_equal(row.context, encoded(given["guitars"] + padded))
  assert "[DRUMS] (given context stems: [GUITARS, BASSES]) for" in prompts(calls)[0]
  assert differs(song, generate("drums"), "drums")
  assert differs(song, generate("drums", context={"guitars": tone(), "bass": tone(55)}), "drums")


def test_of_a_given_mix_the_prompt_names_no_stems(calls):
  song = generate("drums", context=tone())
  assert list(song.stems) == ["context", "drums"]
  assert "given context stems" not in prompts(calls)[0]
  ((_, row),) = calls
  np.testing.assert_array_equal(row.context, encoded(tone()))


def test_later_passes_hear_given_audio_and_what_was_made(calls):
  song = generate("drums", "drums", context={"keys": tone()}, passes=2)
  assert list(song.stems) == ["keys", "drums", "drums 2"]
  np.testing.assert_array_equal(calls[0][1].context, encoded(tone()))
  np.testing.assert_array_equal(calls[1][1].context, encoded(tone() + song.stems["drums"]))
  assert "(given context stems: [KEYS, DRUMS])" in prompts(calls)[1]


def test_silence_is_a_context_as_any_other_and_the_song_is_as_long():
  song = generate("drums", context=np.zeros((87_000, 2)))
  assert song.stems["context"].shape == song.stems["drums"].shape == (87_000, 2)
  assert not song.stems["context"].any()


def test_a_saved_song_and_its_mix_are_contexts(tmp_path):
  song = generate("drums", "basses")
  song.save(tmp_path / "song")
  more = generate("keys", context=tmp_path / "song")
  assert list(more.stems) == ["drums", "basses", "keys"]
  for name in song.stems:
    np.testing.assert_array_equal(more.stems[name], song.stems[name])
  assert_same(more, generate("keys", context=song.stems), ["keys"])
  two_pass = generate("drums", "basses", "keys", passes=2)
  assert_same(more, two_pass, ["keys"])
  whole = generate("keys", context=str(tmp_path / "song" / "mix.wav"))
  np.testing.assert_array_equal(whole.stems["context"], song.mix())


def test_a_models_own_song_is_a_context_though_its_length_is_no_round_number(tmp_path):
  pipe = pipeline.StemPipeline.load(tiny.save_model(tmp_path / "model", seconds=88_199 / tiny.RATE))
  song = pipe.generate(PROMPT, ["drums"])
  song.save(tmp_path / "song")
  longer = np.pad(song.stems["drums"], ((0, 3583), (0, 0)))
  for context in (tmp_path / "song", {"drums": longer}):
    more = pipe.generate(PROMPT, ["keys"], context=context)
    np.testing.assert_array_equal(more.stems["drums"], song.stems["drums"])
  with pytest.raises(DataError, match=r"'drums': lasts 2\.09 s, at most 2\.0812 s fit"):
    pipe.generate(PROMPT, ["keys"], context={"drums": np.pad(longer, ((0, 1), (0, 0)))})


def test_what_cannot_be_heard_is_refused_before_anything_is_made(calls):
  with pytest.raises(DataError, match=r"lasts 2\.00 s and the song 1 s"):
    generate("drums", context=tone(), duration=1.0)
  with pytest.raises(DataError, match="expected finite numbers"):
    generate("drums", context=np.full((10, 2), np.nan))
  with pytest.raises(UsageError, match="activity"):
    generate("drums", activity={"drums": [(0, 3)]})
  assert not calls

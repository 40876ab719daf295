"""What a model made is looked at: no sound is an error, silence is said."""

import dataclasses

import numpy as np
import pytest

from stemphonic_jax.audio.levels import saturate
from stemphonic_jax.errors import DataError, DivergedError
from stemphonic_jax.generation.outcome import is_silent
from stemphonic_jax.generation.pipeline import StemPipeline
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
    with pytest.raises(DivergedError, match="seed 7, variation 3;"):
      pipe.variations(PROMPT, ["drums"], count=1, first=2, seed=7)
  stem = good.stems["drums"].copy()
  stem[5] = wrong
  with pytest.raises(DataError, match="stem 'drums': sample 5"):
    dataclasses.replace(good, stems={"drums": stem}).save(tmp_path / "song")
  assert not list(tmp_path.iterdir())


def test_strokes_beyond_full_scale_give_in_and_far_beyond_are_no_sound(monkeypatch):
  pipe, raw, peak = tiny.pipeline(), [], 3.0
  decode = pipe.decode_row

  def loud(latents):
    audio = decode(latents)
    raw.append(audio * np.float32(peak / np.abs(audio).max()))
    return raw[-1]

  monkeypatch.setattr(pipe, "decode_row", loud)
  song = generate("drums")
  np.testing.assert_array_equal(song.stems["drums"], saturate(raw[0][: song.samples]))
  again = pipe.again(song, ["drums"], (0.5, 1.0))
  assert np.abs(again.stems["drums"]).max() <= 1
  peak = 10.1
  with pytest.raises(DivergedError, match="samples up to 10, expected within ±1"):
    generate("drums")


def test_a_stem_that_is_silent_though_it_was_to_sound_is_said(monkeypatch, warned):
  decode = tiny.pipeline().decode_row
  monkeypatch.setattr(tiny.pipeline(), "decode_row", lambda z: 1e-6 * decode(z))
  song = generate("drums", "basses", "keys", seed=7, activity={"keys": [], "basses": [(0, 1)]})
  assert [one.get("silent", False) for one in song.info["stems"].values()] == [True, True, False]
  assert len(warned) == 2
  assert "stem 'drums' was to sound and is silent: 'Relaxing country rock', seed 7" in warned[0]


def test_a_stem_that_rests_where_it_was_to_play_is_silent():
  audio = np.zeros((8 * 3584 - 100, 2), np.float32)
  audio[4 * 3584 :] = 0.1
  begins = np.arange(8) < 2
  assert is_silent(audio, 3584, begins)
  assert not is_silent(audio, 3584, ~begins)
  assert not is_silent(audio, 3584, np.ones(8, bool))
  assert not is_silent(np.zeros_like(audio), 3584, np.zeros(8, bool))
  faint = 10 ** (np.float32([-44.9, -45.1]) / 20)
  assert [is_silent(np.full_like(audio, one), 3584, begins) for one in faint] == [False, True]


@pytest.fixture
def quiet_at_first(monkeypatch):
  """Lists the passes of a pipeline, of which the first makes no sound of some stems."""

  def install(*silent, pipe=None):
    pipe, passes = pipe or tiny.pipeline(), []
    run, decode = pipe.run_pass, pipe.decode_row

    def listed(request, names, context, lanes, *rest, **options):
      made = run(request, names, context, lanes, *rest, **options)
      for row in range(len(made)) if not passes else ():
        made[row] += np.float32(np.nan if names[row % len(names)] in silent else 0)
      passes.append((request, list(names), {name: list(lane) for name, lane in lanes.items()}))
      return made

    monkeypatch.setattr(pipe, "run_pass", listed)
    monkeypatch.setattr(
      pipe, "decode_row", lambda z: np.nan_to_num(decode(z), nan=0.0) * ~np.isnan(z).any()
    )
    return passes

  return install


def test_a_silent_stem_is_made_once_more_to_sound_and_no_other(quiet_at_first, warned):
  whole = generate("drums", "basses", seed=3)
  passes, told = quiet_at_first("drums"), []
  song = generate("drums", "basses", seed=3, progress=lambda done, of: told.append((done, of)))
  frames = -(-song.samples // song.hop)
  assert [(names, lanes) for _, names, lanes in passes] == [
    (["drums", "basses"], {}),
    (["drums"], {"drums": [1] * frames}),
  ]
  np.testing.assert_array_equal(song.stems["basses"], whole.stems["basses"])
  assert np.abs(song.stems["drums"]).max() > 0.01
  assert not warned
  assert "silent" not in song.info["stems"]["drums"]
  assert song.info["request"]["activity"] == {}  # what was asked is as it was
  assert told[-1] == (told[-1][1],) * 2
  assert min(done for done, _ in told[told.index((32, 32)) :]) == 32  # two stems stay made


def test_progress_never_begins_anew(quiet_at_first):
  quiet_at_first("drums")
  told = []
  tiny.pipeline().variations(
    PROMPT, ["drums", "basses"], count=2, seed=3, progress=lambda done, of: told.append((done, of))
  )
  done = [done for done, _ in told]
  assert done == sorted(done)
  assert told[-1] == (96, 96)  # two stems of two songs, and one of each once more


def test_in_any_order_and_to_what_is_given_of_no_type_too(quiet_at_first, warned):
  order = quiet_at_first("keys")
  swapped = generate("keys", "basses")
  order.clear()
  same = generate("basses", "keys")
  for name in ("keys", "basses"):
    np.testing.assert_array_equal(swapped.stems[name], same.stems[name])
  assert same.latents.keys() == {"keys", "basses"}
  order.clear()
  passes = order
  given = np.full((tiny.SAMPLES, 2), 0.1, np.float32)
  song = generate("keys", context=given)
  assert [names for _, names, _ in passes] == [["keys"], ["keys"]]
  np.testing.assert_array_equal(song.stems["context"], given)
  assert not warned


def test_it_sounds_where_it_was_asked_to_and_hears_its_own_noise(quiet_at_first):
  passes = quiet_at_first("drums", "basses")
  tiny.pipeline().variations(
    PROMPT, ["drums", "basses"], count=1, first=4, seed=3, activity={"basses": [(0, 0.3)]}
  )
  (_, _, first), (once, names, lanes) = passes
  assert names == ["drums", "basses"]
  assert lanes["basses"] == first["basses"]
  assert 0 in lanes["basses"]
  assert 0 not in lanes["drums"]
  assert (once.first, once.variations) == (4, 1)


def test_what_was_made_of_a_range_is_made_once(quiet_at_first, warned):
  song = generate("drums", "basses")
  song = dataclasses.replace(song, stems={n: 1e-6 * audio for n, audio in song.stems.items()})
  passes = quiet_at_first("drums")
  again = tiny.pipeline().again(song, ["drums"], (0.0, 0.5))
  assert again.info["stems"]["drums"]["silent"]
  assert len(warned) == len(passes) == 1


def test_a_stem_may_rest_where_its_song_goes_on(quiet_at_first, warned):
  song = generate("drums", "basses")
  passes = quiet_at_first("drums")
  longer = tiny.pipeline().extend(song, 3.0)
  assert "silent" not in longer.info["stems"]["drums"]
  never = {n: audio * (n != "drums") for n, audio in song.stems.items()}
  passes.clear()
  longer = tiny.pipeline().extend(dataclasses.replace(song, stems=never), 3.0)
  assert longer.info["stems"]["drums"]["silent"]  # which is as true of the longer song
  assert not warned
  assert len(passes) == 1


def test_a_model_that_hears_no_activity_makes_stems_once(quiet_at_first, warned):
  bundle = tiny.pipeline().bundle
  dropout = {**bundle.config["dropout"], "activity": 1.0}
  deaf = StemPipeline(dataclasses.replace(bundle, config={**bundle.config, "dropout": dropout}))
  passes = quiet_at_first("drums", pipe=deaf)
  song = deaf.generate(PROMPT, ["drums"])
  assert song.info["stems"]["drums"]["silent"]
  assert len(warned) == len(passes) == 1


def test_an_edit_of_a_whole_stem_is_made_once_more(quiet_at_first, warned):
  song = generate("drums")
  passes = quiet_at_first("basses")
  added = tiny.pipeline().add(song, ["basses"])
  assert [names for _, names, _ in passes] == [["basses"], ["basses"]]
  assert np.abs(added.stems["basses"]).max() > 0.01
  np.testing.assert_array_equal(added.stems["drums"], song.stems["drums"])
  assert not warned


def test_a_song_that_sounds_warns_of_nothing(warned):
  song = generate("drums", "basses")
  assert not warned
  assert not any("silent" in one for one in song.info["stems"].values())

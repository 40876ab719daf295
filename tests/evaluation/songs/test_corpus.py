"""Held-out pieces and what is asked of models after them."""

import functools
import json
from dataclasses import replace

import numpy as np
import pytest

from stemphonic_jax.audio.files import write_wav
from stemphonic_jax.data.sources import demo
from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.errors import DataError, DivergedError
from stemphonic_jax.evaluation.songs import asking, corpus
from tests import tiny

RATE = tiny.RATE


def stem(kind, seconds=2.0, active=1.0, seed=0):
  """Noise that stops after the share `active`."""
  audio = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * RATE), 2), np.float32)
  audio[round(active * len(audio)) :] = 0
  return Stem(kind, audio)


def mix(*kinds, name="piece", bpm=96.0, **stems):
  made = {kind: stem(kind, seed=k) for k, kind in enumerate(kinds)} | stems
  return Mix(name, made, "Relaxing country rock", bpm)


@pytest.fixture
def asked(monkeypatch):
  """The options of all requests to the tiny pipeline from here on."""
  pipe, seen = tiny.pipeline(), []
  generate = pipe.generate

  def spy(prompt, stems, **options):
    seen.append({"prompt": prompt, "stems": tuple(stems)} | options)
    return generate(prompt, stems, **options)

  monkeypatch.setattr(pipe, "generate", spy)
  return seen


# Real pieces.


def test_crops_start_anywhere_in_pieces_that_no_training_uses(monkeypatch):
  numbers = []

  def ramp(seed, number, seconds, rate, edition):
    numbers.append(number)
    samples = np.arange(round(seconds * rate), dtype=np.float32)
    return Mix("ramp", {"keys": Stem("keys", np.stack([samples, samples], 1))}, "", None, rate)

  monkeypatch.setattr(demo, "piece", ramp)
  prompts, reference = corpus.composed(seconds=4.0, rate=1000, seed=0)
  crops = [part[i] for part in (prompts, reference) for i in range(8)]
  starts = [crop.stems["keys"].audio[0, 0] for crop in crops]
  assert {crop.samples for crop in crops} == {4000}
  assert len(set(starts)) > 12
  assert max(starts) > 750  # of the 1000 samples there are to start at
  assert len(set(numbers)) == 16
  assert min(numbers) >= 1_000_000


def test_a_crop_is_the_same_whenever_it_is_made():
  crops, _ = corpus.composed(seconds=1.0, rate=8000, seed=3)
  np.testing.assert_array_equal(crops[5].audio(), crops[5].audio())


def test_one_stem_of_each_type_counts_that_sounds_in_half_of_the_piece():
  piece = mix(
    "drums", "guitars",
    **{
      "guitars 2": stem("guitars"),
      "keys": stem("keys", active=0.4),
      "vocals": stem("vocals", active=0.6),
      "theremin": stem("theremin"),
    },
  )  # fmt: skip
  assert list(corpus.ensemble(piece).stems) == ["drums", "guitars", "vocals"]
  assert corpus.ensemble(piece).stems["guitars"] is piece.stems["guitars"]
  assert corpus.ensemble(mix("drums", keys=stem("keys", active=0.1))) is None


def test_the_first_pieces_that_will_do_are_taken(warned):
  pieces = [mix("drums", "basses", "keys", name="a"), mix("drums", name="b")]
  pieces += [mix("drums", "basses", name=name) for name in "cdefg"]
  names = lambda count, stems=None: corpus.held_out(pieces, count, lambda m: m.id, stems)  # noqa: E731
  assert names(3) == ["a", "c", "d"]
  assert names(2, stems=2) == ["c", "d"]
  assert names(9, stems=3) == ["a"]
  assert "9 pieces of 3 stems wanted, 1 of 7 found" in warned[0]


@pytest.fixture
def folder(tmp_path):
  """A data set of three mixes of two windows, in the second of which the basses are silent."""
  for k, name in enumerate(("one", "two", "three")):
    folder = tmp_path / "set" / name
    folder.mkdir(parents=True)
    (folder / "mix.json").write_text(json.dumps({"caption": f"Song {name}", "bpm": 90 + k}))
    for kind, active in (("drums", 1.0), ("basses", 0.4)):
      write_wav(folder / f"{kind}.wav", stem(kind, 3.2, active, seed=k).audio, RATE)
  return tmp_path / "set"


def test_one_window_of_each_mix_of_a_set_on_disk_is_measured(folder, tmp_path):
  def open_set(**options):
    return corpus.on_disk("folder", folder, tmp_path / "check", 1.5, RATE, 0, **options)

  with pytest.raises(DataError, match="two held-out mixes"):  # as a tenth of three is one
    open_set(held_out=64)
  parts = open_set()
  captions = [mix.caption for part in parts for mix in part]
  assert sorted(captions) == ["Song one", "Song three", "Song two"]
  assert sorted(map(len, parts)) == [1, 2]
  assert {mix.bpm for part in parts for mix in part} == {90, 91, 92}
  assert all(corpus.ensemble(mix) for part in parts for mix in part)  # the first window of two
  spoken = tmp_path / "captions.jsonl"
  spoken.write_text(json.dumps({"id": parts[0][0].id.split(" (")[0], "caption": "Spoken"}))
  assert open_set(captions=spoken)[0][0].caption == "Spoken"


def test_what_is_held_out_of_a_set_on_disk_is_what_the_training_held_out(folder, monkeypatch):
  seen = []
  monkeypatch.setattr(corpus, "checked", lambda *_, **options: seen.append(options) or 1 / 0)
  with pytest.raises(ZeroDivisionError):
    corpus.on_disk("folder", folder, folder, 1.5, RATE, 0, held_out=32)
  assert (seen[0]["held_out"], seen[0]["evaluate"]) == (32, False)
  with pytest.raises(ZeroDivisionError):
    corpus.on_disk("folder", folder, folder, 1.5, RATE, 0)
  assert seen[1]["evaluate"], "all of a set that nothing was trained on"


# What is asked of a model.


def test_each_type_is_asked_for_once_with_the_words_and_tempo_of_the_piece(asked):
  prompts = [asking.prompt_of(corpus.ensemble(mix("drums", "keys", name=n))) for n in "ab"]
  ask = functools.partial(asking.generate, tiny.pipeline(), prompts, seed=7, share_noise=False)
  made = list(ask())
  assert [song.mix.id for song in made] == ["a", "b"]
  assert [list(song.mix.stems) for song in made] == [["drums", "keys"]] * 2
  assert {song.mix.samples for song in made} == {tiny.SAMPLES}
  told = {"prompt": "Relaxing country rock", "stems": ("drums", "keys"), "bpm": 96.0}
  told |= {"share_noise": False, "passes": 1, "activity": None}
  assert all(request | told == request for request in asked)
  assert [request["seed"] for request in asked] == [7, 8]
  list(ask(timed=True))
  assert [request["seed"] for request in asked[2:]] == [7, 7, 8]  # the first once more, when warm


def test_equal_requests_make_equal_songs():
  prompt = [asking.prompt_of(mix("drums", "keys"))]
  a, b = (next(asking.generate(tiny.pipeline(), prompt)).mix for _ in range(2))
  np.testing.assert_array_equal(a.audio(), b.audio())


@pytest.mark.parametrize(("passes", "expected"), [("K", 3), (2, 2), (1, 1)])
def test_passes(asked, passes, expected):
  prompt = asking.prompt_of(mix("drums", "keys", "basses"))
  list(asking.generate(tiny.pipeline(), [prompt], passes=passes))
  assert asked[0]["passes"] == expected


def test_the_activity_given_is_that_of_the_real_stems(asked):
  prompt = asking.prompt_of(mix("drums", keys=stem("keys", active=0.6)))
  list(asking.generate(tiny.pipeline(), [prompt], activity=True))
  lanes = asking.asked_lanes(prompt, 2.0, RATE, corpus.FRAME)
  assert asked[0]["activity"] == prompt.active
  assert lanes["drums"].all()
  assert lanes["keys"].sum() == np.ceil(0.6 * tiny.SAMPLES / corpus.FRAME)
  assert {len(lane) for lane in lanes.values()} == {tiny.FRAMES}


def test_tempo_is_not_given_to_a_model_that_does_not_listen_to_it(asked, monkeypatch):
  bundle = tiny.pipeline().bundle
  deaf = bundle.config | {"dropout": bundle.config["dropout"] | {"bpm": 1.0}}
  monkeypatch.setattr(tiny.pipeline(), "bundle", replace(bundle, config=deaf))
  list(asking.generate(tiny.pipeline(), [asking.prompt_of(mix("drums", "keys"))]))
  assert asked[0]["bpm"] is None


def test_what_is_given_stays_and_what_is_asked_for_is_new():
  pieces = [mix("drums", "keys", "basses", name=name) for name in "abcd"]
  for piece, (real, made) in zip(pieces, asking.accompany(tiny.pipeline(), pieces), strict=True):
    given, asked = made.stems
    assert list(real.stems) == [given, asked]
    assert made.stems[given] is piece.stems[given]
    assert real.stems[asked] is piece.stems[asked]
    assert not np.allclose(made.stems[asked].audio, piece.stems[asked].audio)
    assert made.samples == piece.samples


def test_what_is_no_sound_is_not_measured(monkeypatch, warned):
  pieces = [mix("drums", "keys", name=name) for name in "ab"]
  generate = tiny.pipeline().generate

  def answer(*asked, seed, **options):
    if seed == 0:
      raise DivergedError("the model made NaN")
    return generate(*asked, seed=seed, **options)

  monkeypatch.setattr(tiny.pipeline(), "generate", answer)
  prompts = [asking.prompt_of(piece) for piece in pieces]
  made = [one.mix for one in asking.generate(tiny.pipeline(), prompts, timed=True)]
  assert (made[0], made[1].id) == (None, "b")
  assert [real.id for real, _ in asking.accompany(tiny.pipeline(), pieces)] == ["b"]
  assert warned == ["a is left out: the model made NaN"] * 2


def test_the_autoencoder_keeps_names_and_lengths():
  piece = mix("drums", "keys")
  through = asking.autoencoded(tiny.pipeline().bundle)(piece)
  assert (list(through.stems), through.samples) == (["drums", "keys"], piece.samples)
  assert not np.allclose(through.audio(), piece.audio())

"""What models are given to repair and to go on with, and where that is looked at."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from stemphonic_jax.data.stems import Stem
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import DataError, MissingError, UsageError
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.features import cut, features
from stemphonic_jax.evaluation.kept import Heard
from stemphonic_jax.evaluation.listeners.ears import Ears
from stemphonic_jax.evaluation.songs import asking
from stemphonic_jax.evaluation.songs.asking import Prompt
from stemphonic_jax.evaluation.tables import continuing, prompts, remade, repairing
from stemphonic_jax.evaluation.tables.basis import Options
from tests import tiny
from tests.evaluation.tables.test_paper import piece


@pytest.fixture(scope="module")
def mix():
  return piece(0, 3, tiny.SAMPLES)


def test_a_part_has_the_features_of_its_audio():
  long = piece(1, 3, 4 * tiny.SAMPLES)
  whole, half = features(long), features(long.crop(tiny.SAMPLES, 2 * tiny.SAMPLES))
  seconds = long.seconds
  part = cut(whole, seconds / 4, seconds / 2)
  for name, stem in half.stems.items():
    found = part.stems[name]
    assert abs(len(found.bands) - len(stem.bands)) <= 1
    assert abs(len(found.chroma) - len(stem.chroma)) <= 1
    frames = slice(4, min(len(found.bands), len(stem.bands)) - 4)  # what no edge is heard in
    assert np.median(np.abs(np.float32(found.bands)[frames] - stem.bands[frames])) < 1
    both = [np.asarray(one.chroma)[4:-4].mean(axis=0) for one in (found, stem)]
    assert np.corrcoef(both)[0, 1] > 0.99
  assert [len(stem.bands) for stem in cut(whole, 0, seconds).stems.values()] == [
    len(stem.bands) for stem in whole.stems.values()
  ]


def test_only_the_hidden_half_of_the_last_stem_is_made_again(mix):
  mix = repairing.pitched_last(mix, 1)
  made = repairing.repaired(whole=False)(tiny.pipeline(), mix, 5)
  *others, last = mix.stems
  for name in others:
    np.testing.assert_array_equal(made.stems[name].audio, mix.stems[name].audio)
  hop = tiny.pipeline().bundle.vae.hop
  old, new = mix.stems[last].audio, made.stems[last].audio
  edge = mix.samples // 4
  np.testing.assert_array_equal(new[: edge - hop], old[: edge - hop])
  np.testing.assert_array_equal(new[3 * edge + hop :], old[3 * edge + hop :])
  assert np.mean(new[edge : 3 * edge] != old[edge : 3 * edge]) > 0.9


def test_a_system_of_fixed_stems_does_not_hear_what_is_part_of_the_one_it_makes(mix):
  asked = []

  def generate(caption, stems, *, context, **rest):
    asked.append((stems, list(context)))
    return SimpleNamespace(stems={**context, **{name: np.zeros_like(audio) for name in stems}})

  audio = next(iter(mix.stems.values())).audio
  mix = replace(mix, stems={kind: Stem(kind, audio) for kind in ("keys", "drums", "strings")})
  make = remade.to_the_others(lambda mix: ["strings"])
  parts = {"drums": "drums", "keys": "other", "strings": "other"}
  for stems_for in (list, lambda types: list(dict.fromkeys(parts[kind] for kind in types))):
    model = {"config": {"dropout": {"bpm": 1.0}}, "stems_for": stems_for}
    made = make(SimpleNamespace(generate=generate, **model), mix, 0)
    assert {"keys", "drums"} < set(made.stems)
  assert asked == [(["strings"], ["keys", "drums"]), (["other"], ["drums"])]


def test_songs_go_on_from_a_beginning_that_stays(mix):
  made = continuing.going_on(tiny.pipeline(), mix, 5)
  given = mix.samples // continuing.PARTS
  for name, stem in mix.stems.items():
    assert made.stems[name].audio.shape == stem.audio.shape
    np.testing.assert_array_equal(made.stems[name].audio[:given], stem.audio[:given])
    assert np.mean(made.stems[name].audio[2 * given :] != stem.audio[2 * given :]) > 0.9


def test_what_is_kept_of_one_corpus_is_not_taken_for_another(tmp_path, monkeypatch, mix):
  keys = []

  def songs(out, key, *_):
    keys.append(key)
    return [Heard(features(mix), 0.0)]

  monkeypatch.setattr(kept, "songs", songs)
  model = SimpleNamespace(name="m", bundle=SimpleNamespace(fingerprint="f"))
  ears = SimpleNamespace(complete=None)
  pieces = remade.Chosen([mix], lambda mix, _: mix, [0])
  for options in (Options(corpus=1), Options(corpus=2), Options(corpus=2, share=0.5)):
    of = remade.Setting(repairing.__name__, model, pieces, pieces, 1.0, options, ears, tmp_path)
    remade.anew(of, "repair", repairing.repaired(whole=False))
  assert keys[0] != keys[1] != keys[2]


def test_seams_are_where_windows_meet():
  pipe, mix = tiny.pipeline(), piece(0, 3, 6 * tiny.SAMPLES)
  found = [continuing.places(pipe, mix, number) for number in range(40)]
  seams = list(dict.fromkeys(place for place, _ in found))
  assert seams[0] == pytest.approx(mix.seconds / 6, abs=pipe.bundle.vae.hop / pipe.rate)
  assert len(seams) > 5  # windows of a sixth, of which a quarter is known
  assert all(b - a < mix.seconds / 6 for a, b in itertools.pairwise(seams))
  assert all(at < between < mix.seconds for at, between in found)
  short = piece(0, 3, tiny.SAMPLES)  # one window, which begins before what is made in it
  assert continuing.places(pipe, short, 0)[0] == pytest.approx(short.seconds / 6, abs=0.1)


def test_prompts_as_people_write_them_are_counted_by_what_is_heard(tmp_path, monkeypatch, mix):
  loud = {"drums": 0.1, "basses": 0.1, "keys": 0.1, "guitars": 0.001}

  def generate(pipe, asked, *, seconds, seed):
    for number, prompt in enumerate(asked):
      stems = {k: Stem(k, np.full((8000, 2), loud[k], np.float32)) for k in prompt.types}
      made = replace(mix, stems=stems)
      yield asking.Made(None if number == 2 else made, {})

  monkeypatch.setattr(asking, "generate", generate)
  texts = prompts.read(prompts.WRITTEN)
  assert len(texts) == len(set(texts)) == 200
  kinds = [["drums"], ["basses", "guitars"], ["keys"], *[["drums", "keys"]] * 3]
  asked = [
    Prompt(text, text, None, {kind: [(0.0, 1.0)] for kind in some})
    for text, some in zip(texts, kinds, strict=False)
  ]
  model = SimpleNamespace(bundle=SimpleNamespace(fingerprint="f"))
  of = SimpleNamespace(
    model=model, options=Options(), seconds=1.0, out=tmp_path, pipe=None, ears=Ears(tmp_path)
  )
  cell = prompts.scored(of, "mine", asked, [features(mix)])
  assert cell.scores["silent"].value == pytest.approx(1 / 9)  # the guitars
  assert cell.scores["diverged"].value == pytest.approx(1 / 6)
  types = [set(p.types) for p in prompts.as_written(texts, 1.0, seed=0)]
  assert {len(some) for some in types} == {4}
  assert set.union(*types) == set(STEM_TYPES)


def test_a_file_of_prompts_has_one_a_line(tmp_path):
  path = tmp_path / "mine.txt"
  path.write_text("calm piano\n\n  静かなピアノ \n", encoding="utf-8")
  assert prompts.read(path) == ["calm piano", "静かなピアノ"]
  path.write_bytes(b"\xff\xfe")
  with pytest.raises(DataError, match=r"mine.txt: not UTF-8"):
    prompts.read(path)
  path.write_text("\n")
  with pytest.raises(DataError, match="no prompts; expected one a line"):
    prompts.read(path)
  with pytest.raises(MissingError, match="no such file; expected one prompt a line"):
    prompts.read(tmp_path / "other.txt")
  path.write_text("calm piano\n\n" + "a" * 4_001)
  with pytest.raises(UsageError, match=r"line 3 has 4001 characters, expected at most 4000"):
    prompts.read(path)

"""BEAT, HAR and MIRDD: mir_eval's own numbers, sounds whose notes are known, and known answers."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.errors import MissingError
from stemphonic_jax.evaluation.listeners import beats, descriptors, music, notes
from stemphonic_jax.evaluation.listeners.ears import Ears
from tests.evaluation.songs_by_hand import RATE, clicks, tones

SECONDS = 8.0
PAIRS = Path(__file__).with_name("mir_eval_beats.json")


# Beats.


def test_beats_of_clicks_are_where_they_are():
  true = np.arange(0.2, SECONDS, 0.5)
  found = beats.beats(clicks(true), RATE)
  assert beats_agree(true, found) > 0.95
  np.testing.assert_allclose(np.diff(found), 0.5, atol=0.021)
  assert len(beats.beats(np.zeros((RATE, 2), np.float32), RATE)) == 0


def beats_agree(true, found):
  return np.mean(np.abs(true[:, None] - found).min(axis=1) < beats.TOLERANCE)


def test_agreement_is_mir_evals_on_its_own_test_data():
  pytest.importorskip("mir_eval")
  for pair in json.loads(PAIRS.read_text())["pairs"]:
    reference, estimate = (np.cumsum(pair[side]) / 100 for side in ("reference", "estimate"))
    assert beats.agreement(reference, estimate) == pair["F-measure"]
    assert beats.agreement(reference, reference) == 1.0
    assert beats.agreement(reference, np.empty(0)) == 0.0


def test_without_mir_eval_a_line_says_how_to_have_it(monkeypatch):
  for name in ("mir_eval", "mir_eval.beat"):
    monkeypatch.setitem(sys.modules, name, None)
  beats._mir_eval.cache_clear()
  with pytest.raises(MissingError, match=r"pip install 'stemphonic-jax\[eval\]'"):
    music.listener()


# Notes.


@pytest.mark.parametrize("pitch", [26, 38, 55])
def test_the_pitch_of_a_bass_is_told_and_silence_and_noise_have_none(pitch):
  found = notes.pitches(tones([(pitch,)], 1.0), RATE)
  assert len(found) == 10
  np.testing.assert_allclose(found[1:-1], pitch, atol=0.1)
  hiss = np.random.default_rng(0).standard_normal((RATE, 2)).astype(np.float32)
  for silent in (hiss, 0 * hiss):
    assert np.isnan(notes.pitches(silent, RATE)).all()


def test_triads_are_told_and_silence_has_none():
  audio = tones([(60, 64, 67), (57, 60, 64), (55, 59, 62)], 2.0)  # C, A minor, G
  found = notes.triads(notes.chroma(notes.semitones(audio, RATE)))
  assert [found[place] for place in (10, 30, 50)] == [0, 9 + notes.MINOR, 7]
  silence = np.zeros((RATE, 2), np.float32)
  assert set(notes.triads(notes.chroma(notes.semitones(silence, RATE)))) == {notes.NONE}
  assert len(notes.triads(np.empty((0, 12)))) == 0


# Songs.


def song(name, bass, chords, offset=0.0):
  """Eight seconds of a bass, chords that change every two seconds, and drums."""
  stems = {
    "basses": tones([(pitch,) for pitch in bass], 2.0),
    "keys": tones(chords, 2.0),
    "drums": clicks(np.arange(0.2 + offset, SECONDS, 0.5)),
    "vocals": tones([(70,)], SECONDS),
  }
  return Mix(name, {kind: Stem(kind, audio) for kind, audio in stems.items()}, "", None, RATE)


C, F, G = (60, 64, 67), (65, 69, 72), (67, 71, 74)


def test_a_bass_on_the_chord_and_drums_on_the_beat_and_those_that_are_not(tmp_path):
  pytest.importorskip("mir_eval")
  listener = music.listener()
  ears = Ears(tmp_path, [listener])
  right = song("right", (36, 41, 43, 36), (C, F, G, C))
  wrong = song("wrong", (37, 42, 44, 37), (C, F, G, C))
  found, detail = ears.scored(listener, [ears.listen(right)], [ears.listen(right)])
  assert found["har"].value > 0.95
  assert found["beat_drums"].value > 0.9
  assert found["mirdd"].value == pytest.approx(0.0, abs=1e-9)
  assert set(detail["mirdd"]) == set(descriptors.NAMES)
  assert set(found) == set(ears.metrics)
  found, _ = ears.scored(listener, [ears.listen(wrong)], [ears.listen(right)])
  assert found["har"].value < 0.1
  assert found["mirdd"].value > 0
  silent = Mix("s", {"drums": Stem("drums", np.zeros((RATE, 2), np.float32))}, "", None, RATE)
  found, _ = ears.scored(listener, [ears.listen(silent)], [ears.listen(silent)])
  assert (found["har"].n, found["beat_drums"].value, found["beat_bass"].n) == (0, 0.0, 0)


def test_what_is_soft_is_silenced_by_blocks():
  audio = np.ones((RATE, 2), np.float32)
  audio[: RATE // 2] *= 10 ** (-40 / 20)
  found = music.gated(audio, RATE)
  block = round(music.BLOCK * RATE)
  assert not found[:block].any()
  np.testing.assert_array_equal(found[2 * block :], audio[2 * block :])


def test_the_parts_of_a_song():
  assert [music.role_of(kind) for kind in ("basses", "percussion", "SFX", "vocals")] == [
    "bass", "drums", "other", None,
  ]  # fmt: skip
  kinds = ("bass", "drums", "other")
  assert [music.role_of(kind) for kind in kinds] == list(kinds), "of songs heard as these three"
  stems = {kind: Stem(kind, tones([(38,)], 2.0)) for kind in kinds}
  found = music.hear(Mix("1", stems, "", None, RATE))
  assert {f"/{name}" for name in (music.WHOLE, music.PITCH, music.CHORDS, *kinds)} <= set(found)


def test_a_mean_divergence_by_hand():
  def one(pitch_class, span):
    return {
      name: np.eye(size)[pitch_class % size] for name, size in descriptors.CLASSES.items()
    } | {name: np.array(float(span)) for name in descriptors.NUMBERS}

  same = [one(0, 3)] * 4
  found, each = descriptors.distances(same, same)
  assert found.value == pytest.approx(0.0)
  found, each = descriptors.distances([one(1, 3)] * 4, same)
  # Twelve classes, one of which is counted four times: p = (5, 1, …) / 16.
  assert each["pitch class"] == pytest.approx(4 / 16 * np.log(5))
  assert each["pitch range"] == 0.0
  assert descriptors.distances([], same)[0].n == 0


def test_the_key_of_a_scale():
  scale = np.isin(np.arange(12), (0, 2, 4, 5, 7, 9, 11)) + 0.0
  scale[[0, 7]] += 1
  assert descriptors.key(np.roll(scale, 3)) == 3
  assert descriptors.key(np.zeros(12)) == notes.NONE

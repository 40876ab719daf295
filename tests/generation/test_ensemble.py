"""Songs of an ensemble: stems hear each other and those that are there, in whatever order."""

import functools

import jax
import numpy as np
import pytest

from stemphonic_jax.generation import rows
from stemphonic_jax.generation.pipeline import StemPipeline
from tests import tiny
from tests.generation.asking import PROMPT, assert_same, differs, tone


@functools.cache
def pipe():
  folder = tiny.save_model(tiny.model().parent / "ensemble", dit={"ensemble": True})
  return StemPipeline.load(folder)


@functools.cache
def song(*stems):
  return pipe().generate(PROMPT, stems)


@pytest.fixture
def seen(monkeypatch):
  """The conditions of each call of the network, and the audio that was encoded."""
  calls, sample = [], pipe()._sample
  monkeypatch.setattr(rows, "THREADS", 1)

  def spy(params, key, guidance, group, turns, conditions, **options):
    calls.append(jax.tree.map(np.asarray, conditions))
    return sample(params, key, guidance, group, turns, conditions, **options)

  monkeypatch.setattr(pipe(), "_sample", spy)
  return calls


def prompts(conditions):
  return [pipe().bundle.tokenizer.decode(row) for row in conditions.text]


def encoded(audio):
  return pipe().encode_mix({"any": audio}, tiny.FRAMES)


def test_the_order_of_stems_changes_nothing_to_the_bit():
  stems = ("drums", "basses", "keys")
  assert_same(song(*stems), song("keys", "drums", "basses"), stems)
  assert list(song("keys", "drums", "basses").stems) == ["keys", "drums", "basses"]


def test_a_stem_depends_on_what_is_made_beside_it():
  assert differs(song("drums", "basses", "keys"), song("drums", "basses"), "drums")


def test_a_variation_does_not_hear_the_others():
  first, second = pipe().variations(PROMPT, ["drums", "basses"], count=2)
  assert_same(first, song("drums", "basses"), ["drums", "basses"])
  assert differs(first, second, "drums")


def test_given_stems_are_rows_that_are_known_and_stay_as_they_are(seen):
  given = {"guitars": tone(), "bass": tone(110)}
  made = pipe().generate(PROMPT, ["drums"], context=given)
  for name, audio in given.items():
    np.testing.assert_array_equal(made.stems[name], audio)
  (rows_,) = seen
  np.testing.assert_array_equal(rows_.known.all(1), [True, False, True])  # bass, drums, guitars
  np.testing.assert_array_equal(rows_.known.any(1), rows_.known.all(1))
  np.testing.assert_allclose(rows_.clean[0], encoded(given["bass"]), atol=1e-5)
  np.testing.assert_allclose(rows_.clean[2], encoded(given["guitars"]), atol=1e-5)
  assert not rows_.context.any()
  assert [p.split("]")[0] for p in prompts(rows_)] == [
    f"Generate the stem: [{kind}" for kind in ("BASSES", "DRUMS", "GUITARS")
  ]
  assert not any("given context" in prompt for prompt in prompts(rows_))
  assert differs(made, song("drums"), "drums")
  other = pipe().generate(PROMPT, ["drums"], context=given | {"bass": tone(55)})
  assert differs(made, other, "drums")


def test_a_given_mix_is_heard_as_one(seen):
  pipe().generate(PROMPT, ["drums"], context=tone())
  (rows_,) = seen
  np.testing.assert_allclose(rows_.context[0], encoded(tone()), atol=1e-5)
  assert not rows_.known.any()


def test_the_second_pass_hears_the_stems_of_the_first(seen):
  made = pipe().generate(PROMPT, ["drums", "keys"], passes=2)
  first, second = seen
  assert len(first.known) == 1
  np.testing.assert_array_equal(second.known.all(1), [True, False])
  latents = pipe().bundle.statistics.standardize(made.latents["drums"])
  np.testing.assert_allclose(second.clean[0], latents, atol=1e-4)
  assert not second.context.any()

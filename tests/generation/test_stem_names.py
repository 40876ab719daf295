"""The stems that are asked for: their names, types, words and passes."""

import itertools
import math

import pytest

from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation.limits import MAX_STEMS
from stemphonic_jax.generation.stem_names import name_stems, plan, unique_name
from tests import tiny


def types(stems, model=tiny.CONFIG, taken=()):
  """The types of the stems that are asked for, by their names."""
  return name_stems(model, stems, taken)[0]


def test_stems_are_named_by_their_type_whatever_they_were_called():
  named = {"basses": "basses", "SFX": "SFX", "synth-vocals": "synth-vocals"}
  assert types(["Bass", "fx", "synth_vocals"]) == named


def test_a_type_asked_for_again_is_numbered():
  named = {"guitars": "guitars", "drums 2": "drums", "guitars 2": "guitars"}
  assert types(["guitars", "drums", "guitar"], taken=["drums"]) == named
  assert unique_name("keys", ["keys", "keys 2", "keys 4"]) == "keys 3"
  assert unique_name("drums", ["Drums"]) == "drums 2", "one file where capitals make no difference"


def test_a_model_makes_the_free_types_it_was_trained_on():
  model = tiny.CONFIG | {"types": ["theremin"]}
  assert types(["bass", "theremin"], model) == {"basses": "basses", "theremin": "theremin"}
  with pytest.raises(UsageError, match="unknown stem type 'theremin'"):
    types(["theremin"])


def test_a_model_of_whole_mixes_makes_nothing_else():
  model = tiny.CONFIG | {"whole_mixes": True}
  assert types(["mix"], model) == {"music": "mix"}
  with pytest.raises(UsageError, match="makes only 'mix'"):
    types(["drums"], model)
  with pytest.raises(UsageError, match="'mix: loud': a mix has no words of its own"):
    types(["mix: loud"], model)


@pytest.mark.parametrize("count", range(1, MAX_STEMS + 1))
def test_passes_cut_the_stems_in_order_and_the_first_has_the_most(count):
  names = [f"stem {k}" for k in range(count)]
  assert plan(names, 1) == [names]
  assert plan(names, count) == [[name] for name in names]
  if count > 1:
    half = math.ceil(count / 2)  # footnote 1 of Sec. 4.3
    assert plan(names, 2) == [names[:half], names[half:]]
  for passes in range(1, count + 1):
    sizes = [len(part) for part in plan(names, passes)]
    assert list(itertools.chain(*plan(names, passes))) == names
    assert len(sizes) == passes
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


@pytest.mark.parametrize(
  ("word", "name"),
  [("bass/guitar", "bass guitar"), ("../../x", "x"), ("/", "stem"), ("a\0b", "a b")],
)
def test_a_stem_of_any_free_type_has_the_name_of_a_file(word, name):
  assert types([word], tiny.CONFIG | {"types": [word]}) == {name: word}


@pytest.mark.parametrize("stems", [None, 3])
def test_stems_are_a_list(stems):
  with pytest.raises(UsageError, match="expected a list, as"):
    types(stems)

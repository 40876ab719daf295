import pytest

from stemphonic_jax.data.batching.prompts import (
  caption_prompt,
  mix_prompt,
  negative_prompt,
  stem_prompt,
)
from stemphonic_jax.data.taxonomy import STEM_TYPES


def test_the_prompt_is_literally_that_of_the_paper():
  assert stem_prompt("guitars", "Relaxing country rock ...", ["drums", "basses"]) == (
    "Generate the stem: [GUITARS] (given context stems: [DRUMS, BASSES])"
    " for some music described as: Relaxing country rock ..."
  )


def test_from_scratch_there_is_no_clause():
  expected = "Generate the stem: [GUITARS] for some music described as: Relaxing country rock ..."
  assert stem_prompt("guitars", "Relaxing country rock ...") == expected


@pytest.mark.parametrize("stem_type", STEM_TYPES)
def test_types_are_in_capitals_and_the_description_is_not_touched(stem_type):
  prompt = stem_prompt(stem_type, "Calm and SLOW {x} [y]", [stem_type])
  assert prompt.count(f"[{stem_type.upper()}]") == 2
  assert prompt.endswith("for some music described as: Calm and SLOW {x} [y]")


def test_words_of_one_stem_stand_beside_its_type():
  assert stem_prompt("guitars", "Country rock", ["drums"], "muted, palm-picked") == (
    "Generate the stem: [GUITARS: muted, palm-picked] (given context stems: [DRUMS])"
    " for some music described as: Country rock"
  )
  assert caption_prompt("guitars", "Country rock", "muted") == "solo guitars, muted, Country rock"
  assert caption_prompt("guitars", "Country rock") == "solo guitars, Country rock"


def test_what_is_to_be_avoided_is_said_of_no_type():
  expected = "Generate the stem: for some music described as: Harsh noise"
  assert negative_prompt("Harsh noise") == expected


def test_a_mix_has_its_own_words():
  assert mix_prompt("Jazz") == "Generate the mix for some music described as: Jazz"

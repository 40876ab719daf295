import pytest

from stemphonic_jax.data.taxonomy import ALIASES, STEM_TYPES, parse_type
from stemphonic_jax.errors import UsageError


def test_the_types_are_the_eleven_of_the_paper():
  listed = "drums basses percussion synths keys guitars strings SFX vocals synth-vocals winds"
  assert listed.split() == list(STEM_TYPES)
  assert set(ALIASES) == set(STEM_TYPES)


@pytest.mark.parametrize("stem_type", STEM_TYPES)
def test_every_type_is_itself_in_any_case(stem_type):
  for spelled in (stem_type, stem_type.upper(), stem_type.title(), f" {stem_type} "):
    assert parse_type(spelled) == stem_type


def test_no_word_belongs_to_two_types():
  words = [word for kind, names in ALIASES.items() for word in (kind.lower(), *names)]
  assert len(words) == len(set(words))
  assert all(parse_type(word) == kind for kind, names in ALIASES.items() for word in names)


@pytest.mark.parametrize(
  ("word", "expected"),
  [
    ("Bass", "basses"),
    ("drum", "drums"),
    ("Guitar", "guitars"),
    ("PIANO", "keys"),
    ("fx", "SFX"),
    ("string", "strings"),
    ("brass", "winds"),
    ("voice", "vocals"),
    ("synth_vocals", "synth-vocals"),
    ("other_keys", "keys"),
    ("bowed_strings", "strings"),
  ],
)
def test_other_words_for_types(word, expected):
  assert parse_type(word) == expected


def test_an_unknown_type_names_the_nearest_and_the_list():
  with pytest.raises(UsageError) as error:
    parse_type("guitarz")
  assert "unknown stem type 'guitarz'; did you mean 'guitars'?" in str(error.value)
  assert all(stem_type in str(error.value) for stem_type in STEM_TYPES)
  assert error.value.exit_code == 2
  with pytest.raises(UsageError, match="unknown stem type ''; types: drums, basses"):
    parse_type("")

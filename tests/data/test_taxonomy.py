import pytest

from stemphonic_jax.data.taxonomy import ALIASES, STEM_TYPES, guess_type, is_mix, parse_type
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


TRACKS = {
  "drums": "OH L, hh, bass drum, Kick In, Snare Top, HiHat, 01-Kick, 808 Kick, TR-808, kick sub",
  "basses": "808, 808s, 808 Bass, Sub, Synth Bass 2, bass DI, upright bass, string bass",
  "percussion": "Perc Loop, shaker 2, Steel Drums, tamb",
  "synths": "Lead, pad 3, Arp, Lead Synth",
  "keys": "pno, rhodes DI, EP 1, B3 Organ, E-Piano",
  "guitars": "gtr 2, gtr2, AcGtr 1, Lead Gtr, backing gtr, 12-string, E Gtr Dist",
  "strings": "Vln I, Str Hi, vc",
  "vocals": "vox, BGVs 1, 02_LeadVox, Lead Vox (no FX), vox - no verb, Harm L, 1_Song_(Vocals)",
  "winds": "Tenor Sax, Bass Clarinet, tpt 1, French Horn",
}


@pytest.mark.parametrize("stem_type", TRACKS)
def test_names_on_track_sheets_are_understood(stem_type):
  names = TRACKS[stem_type].split(", ")
  assert {name: guess_type(name) for name in names} == dict.fromkeys(names, stem_type)
  assert not any(is_mix(name) for name in names)


@pytest.mark.parametrize(
  "name",
  ["no_vocals", "Instrumental (no drums)", "minus bass", "without the drums", "no lead vocals",
   "w/o gtr", "no_other", "1_Song_(No Vocals)", "Song (Instrumental)", "Piano Man (Instrumental)",
   "Song - Karaoke", "Mix_v3", "final mix", "Master", "mixture", "Minus 1", "novocals", "NoDrums",
   "all but bass", "Song (vocals removed)"],
)  # fmt: skip
def test_what_names_others_than_it_leaves_out_is_a_mix_and_of_no_type(name):
  assert is_mix(name)
  assert guess_type(name) not in STEM_TYPES


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("Guitar No. 2", "guitars"),
    ("No Surrender - drums", "drums"),
    ("EP Title - drums", "drums"),
    ("drum mix", "drums"),
    ("vocals (no fx)", "vocals"),
    ("other", "other"),
    ("No 1", "no"),
    ("nocturne - piano", "keys"),
    ("nobs", "nobs"),
  ],
)
def test_not_every_no_and_mix_is_one(name, expected):
  assert not is_mix(name)
  assert guess_type(name) == expected

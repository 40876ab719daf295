"""Requests: what is left open is the model's own, and every fault is one clear line."""

import dataclasses
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation.guided import weights_of
from stemphonic_jax.generation.limits import MAX_STEMS
from stemphonic_jax.generation.request import check_request, check_weighed
from tests import tiny

HOP = 3584
OPEN = dict(
  prompt="Relaxing country rock",
  stems=("drums", "basses", "keys"),
  bpm=None,
  seed=0,
  seconds=None,
  passes=1,
  variations=1,
  steps=None,
  guidance=None,
  share_noise=None,
  activity=None,
  context=None,
)


def check(model=tiny.CONFIG, **options):
  return check_request(model, HOP, **OPEN | options)


def test_what_is_left_open_is_the_models_own():
  request = check()
  assert (request.steps, request.guidance, request.seconds) == (4, 3.0, 2.0)
  assert request.share_noise
  assert request.bpm is None
  own = tiny.CONFIG | {"sample": tiny.CONFIG["sample"] | {"share_noise": False}}
  assert not check(own).share_noise
  assert check(own, share_noise=True).share_noise


def test_activity_of_a_type_is_that_of_its_one_stem():
  ranges = {"drums": [(0, 1)]}
  assert check(context=["drums"], activity=ranges).activity == {"drums 2": ((0, 1),)}
  with pytest.raises(
    UsageError, match="'drums', of which there are several; stems: drums 2, drums 3"
  ):
    check(stems=["drums: fast", "drums: slow"], context=["drums"], activity=ranges)
  several = ["drums: fast", "drums: slow"]
  assert check(stems=several, activity=ranges).activity == {"drums": ((0, 1),)}


def test_the_metre_is_that_asked_for_or_that_of_the_prompt_or_four_four(told):
  assert check().metre == "4/4"
  assert not told
  assert check(prompt="A waltz", bpm=90).bar == 2
  assert told == ["metre: 3/4, as the prompt says"]
  assert check(prompt="A waltz", metre=" 6/8 ", bpm=60).bar == 2
  assert check(metre="3/4").bar is None  # no tempo is asked for


def test_a_stem_may_be_asked_for_with_a_number_but_only_that_one_is_meant_later():
  assert check(stems=["gtr 2", "Drums 1"]).stems == {"guitars": "guitars", "drums": "drums"}
  with pytest.raises(UsageError, match="unknown stem type 'drums 2'"):
    check(stems=["drums"], activity={"drums 2": [(0, 1)]})


@pytest.mark.parametrize(
  "stems",
  [
    ["Guitar: muted, palm-picked", "drums", "guitars:  clean\nlead "],
    {"guitars": "muted, palm-picked", "drums": None, "gtr 2": "clean lead"},
  ],
  ids=["list", "mapping"],
)
def test_words_are_those_of_one_stem(stems):
  """Two of one type are different stems where their words differ, with shared noise too."""
  request = check(stems=stems)
  assert request.stems == {"guitars": "guitars", "drums": "drums", "guitars 2": "guitars"}
  assert request.words == {"guitars": "muted, palm-picked", "guitars 2": "clean lead"}
  again = check(stems=request.asked)
  assert (again.stems, again.words) == (request.stems, request.words)
  free = check(tiny.CONFIG | {"types": ["fx: a"]}, stems=["fx: a: wet", "fx: a"], passes=2)
  assert (free.stems, free.words) == ({"fx: a": "fx: a", "fx: a 2": "fx: a"}, {"fx: a": "wet"})


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"stems": ["keys: soft", "piano: soft"]}, "'keys' twice .* give one words of its own"),
    ({"stems": ["keys: " + "x" * 401]}, "stem 'keys': what is said of it has 401 characters"),
    ({"stems": ["keys: soft", "wet", "drums"]}, "'wet'.* hold commas, put semicolons between"),
    ({"stems": ["caf\udce9"]}, "unknown stem type"),
    ({"stems": ["keys: \udce9"]}, "stem 'keys': what is said of it is not text"),
    ({"stems": {"keys": 3}}, "words of keys: got 3, expected a text"),
    ({"stems": [": soft"]}, "unknown stem type ': soft'"),
    ({"prompt": ""}, "the prompt is empty"),
    ({"prompt": " \n\t"}, "the prompt is empty"),
    ({"prompt": "rock " * 2000}, "the prompt has 10000 characters, expected at most"),
    ({"prompt": "caf\udce9"}, "bytes that are not UTF-8"),
    ({"stems": []}, "no stems asked for"),
    ({"stems": ["drums"] * 17}, "17 stems asked for, expected at most 16"),
    ({"stems": ["drums set"]}, "unknown stem type 'drums set'; did you mean 'drums'"),
    ({"stems": ["xyzzy"]}, f"unknown stem type 'xyzzy'; types: {', '.join(STEM_TYPES)}"),
    ({"stems": ["drums", "keys", "drums"]}, "'drums' twice in one pass"),
    ({"bpm": 19.9}, r"bpm: got 19.9, expected 20.0 to 400.0"),
    ({"bpm": 401}, "bpm: got 401"),
    ({"metre": "3/5"}, "metre: got '3/5', expected one of 2/4, 3/4, 4/4, 5/4, 7/4, 6/8, 9/8, 12/8"),
    ({"metre": 3}, "metre: got 3, expected a text"),
    ({"bpm": math.nan}, "bpm: got nan"),
    ({"bpm": 0}, "bpm: got 0"),
    ({"seed": -1}, "seed: got -1"),
    ({"seed": 2**32}, "seed: got 4294967296, expected 0 to 4294967295"),
    ({"seed": 10**400}, "seed: got 10000"),
    ({"seconds": 2.1}, "duration: got 2.1, expected 0.1 to 2 s, the longest this model"),
    ({"seconds": 0}, "duration: got 0"),
    ({"seconds": -1.0}, "duration: got -1.0"),
    ({"seconds": math.inf}, "duration: got inf"),
    ({"seconds": math.nan}, "duration: got nan"),
    ({"passes": 0}, "passes: got 0, expected 1 to 3 for 3 stems"),
    ({"passes": 5}, "passes: got 5, expected 1 to 3 for 3 stems"),
    ({"passes": "all"}, "passes: got 'all', expected a number or K"),
    ({"variations": 0}, "variations: got 0, expected 1 to"),
    ({"variations": 65}, "variations: got 65"),
    ({"steps": 0}, "steps: got 0"),
    ({"steps": 10**9}, "steps: got 1000000000"),
    ({"guidance": math.nan}, "guidance: got nan"),
    ({"guidance": -1.0}, "guidance: got -1.0"),
    ({"guidance": 99.0}, "guidance: got 99.0"),
    ({"guidance": {"context": -1}}, "guidance of context: got -1.0, expected 0 to 20.0"),
    ({"guidance": {"words": "3"}}, "guidance of words: got '3', expected a number"),
    ({"guidance": {"contxt": 2}}, "unknown condition 'contxt'; did you mean 'context'"),
    ({"negative": " "}, "negative: is empty"),
    ({"negative": "caf\udce9"}, "negative is not text"),
    ({"negative": "harsh", "guidance": {"words": 1}}, "has no effect with a guidance of 1"),
    ({"activity": {"vocals": [(0, 1)]}}, "for 'vocals', which is not asked for; stems: drums"),
    ({"activity": {"xyzzy": [(0, 1)]}}, "unknown stem type 'xyzzy'"),
    ({"activity": {"drums": [(0, 2.1)]}}, "drums=0-2.1: expected start < end within 0-2 s"),
    ({"activity": {"drums": (0, 1)}}, r"drums: expected a list of \(start, end\) in seconds"),
    ({"activity": {"drums": [("0", 1)]}}, "activity drums: got '0', expected a number"),
    ({"activity": [("drums", 0, 1)]}, "activity: expected ranges by stem"),
    ({"prompt": b"rock"}, "prompt: got b'rock', expected a text"),
    ({"stems": "drums"}, "stems: got the text 'drums', expected a list"),
    ({"stems": [1]}, "stem: got 1, expected a text"),
    ({"bpm": "96"}, "bpm: got '96', expected a number"),
    ({"bpm": [96]}, r"bpm: got \[96\], expected a number"),
    ({"bpm": np.array([96.0, 97.0])}, r"bpm: got array\(\[96., 97.\]\), expected a number"),
    ({"bpm": True}, "bpm: got True, expected a number"),
    ({"bpm": 10**400}, "bpm: got 10000"),
    ({"seed": 3.5}, "seed: got 3.5, expected a whole number"),
    ({"seed": None}, "seed: got None, expected a whole number"),
    ({"seed": math.nan}, "seed: got nan, expected a whole number"),
    ({"steps": "4"}, "steps: got '4', expected a whole number"),
    ({"guidance": 1j}, "guidance: got 1j, expected a number"),
    ({"share_noise": "no"}, "share_noise: got 'no', expected True or False"),
    ({"passes": 1.5}, "passes: got 1.5, expected a whole number"),
    ({"activity": {"drums": [(-1, 1)]}}, "drums=-1-1"),
    ({"activity": {"drums": [(1, 1)]}}, "drums=1-1"),
    ({"activity": {"drums": [(0, math.nan)]}}, "drums=0-nan"),
    ({"activity": {"drums": [(0, 1.5)]}, "seconds": 1.0}, "drums=0-1.5"),
    ({"stems": ["mix"]}, "this model makes stems"),
  ],
  ids=str,
)
def test_a_fault_is_named_in_one_line(options, message):
  with pytest.raises(UsageError, match=message) as error:
    check(**options)
  assert "\n" not in str(error.value)


def test_the_limits_themselves_are_served():
  check(bpm=20, seed=0, seconds=2.0, variations=64, steps=1, guidance=0)
  check(bpm=400, seed=2**32 - 1, seconds=0.1, guidance=20, passes="K", prompt="x" * 4000)
  check(stems=["drums"] * MAX_STEMS, passes="K")
  check(activity={"drums": [(0, 2)]})


def test_equal_types_are_served_where_they_can_differ():
  assert len(check(stems=["guitars", "guitars"], passes=2).stems) == 2
  assert len(check(stems=["guitars", "guitars"], share_noise=False).stems) == 2
  with pytest.raises(UsageError, match="'guitars' twice in one pass"):
    check(stems=["guitars", "guitars", "drums"], passes=2)


def test_activity_finds_its_stem_by_name_or_by_type_and_forgets_nothing():
  stems = ["guitars", "guitars", "basses"]
  activity = {"guitars 2": [(0, 1)], "bass": [(0, 0.5)], "basses": [(1, 2)]}
  request = check(stems=stems, share_noise=False, activity=activity)
  assert request.activity == {"guitars 2": ((0.0, 1.0),), "basses": ((0.0, 0.5), (1.0, 2.0))}
  assert check(activity={"drums": []}).activity == {"drums": ()}  # silent all along


def test_numbers_of_any_kind_are_plain_ones_afterwards():
  asked = dict(
    prompt=np.str_("rock"),
    stems=np.array(["drums", "keys"]),
    bpm=np.array([96.0]),
    seed=np.int64(3),
    seconds=jnp.float32(1.5),
    passes=np.uint8(2),
    variations=np.array(2),
    steps=np.float64(4),
    guidance=np.float32(2.5),
    share_noise=np.bool_(False),
    activity={np.str_("drums"): np.array([[0, 1], [1.25, 1.5]], np.float32)},
  )
  plain = dict(
    prompt="rock", stems={"drums": "drums", "keys": "keys"}, bpm=96.0, seed=3, seconds=1.5,
    passes=2, variations=2, steps=4, guidance=2.5, share_noise=False,
    activity={"drums": ((0.0, 1.0), (1.25, 1.5))}, words={},
    negative=None, in_turn=False, first=0, metre="4/4",
  )  # fmt: skip
  found = dataclasses.asdict(check(**asked))
  assert found == plain
  assert repr(found) == repr(plain), "of the same types"
  json.dumps(found)


@pytest.mark.parametrize("samples", [8192, 70_560, 2_097_152])
def test_a_models_own_length_is_served_however_it_is_rounded(samples):
  model = tiny.CONFIG | {"seconds": samples / 44_100}
  for digits in (3, 4, 6):
    near = round(samples / 44_100, digits)
    found = check(model, seconds=near, activity={"drums": [(0, near)]})
    assert round(found.seconds * 44_100) in (samples, round(near * 44_100))
    assert round(found.seconds * 44_100) <= samples
    assert round(found.activity["drums"][0][1] * 44_100) <= round(found.seconds * 44_100)
  assert check(model, seconds=(samples + HOP - 1) / 44_100).seconds == model["seconds"]
  with pytest.raises(UsageError, match="duration") as error:
    check(model, seconds=(samples + HOP) / 44_100)
  limit = float(re.search(r"to ([\d.]+) s", str(error.value))[1])
  assert samples - 5 <= round(limit * 44_100) <= samples
  assert check(model, seconds=limit).seconds == limit


def untrained(condition):
  return tiny.CONFIG | {"dropout": tiny.CONFIG["dropout"] | {condition: 1.0}}


def test_a_model_is_not_given_what_it_was_trained_without():
  with pytest.raises(UsageError, match="activity: this model was trained without it"):
    check(untrained("activity"), activity={"drums": [(0, 1)]})
  with pytest.raises(UsageError, match="context: this model was trained without it"):
    check(untrained("context"), context=["context"])
  with pytest.raises(UsageError, match=r"context: .* make all stems in one pass"):
    check(untrained("context"), passes=2)
  with pytest.raises(UsageError, match=r"bpm: .* write the tempo into the prompt"):
    check(untrained("bpm"), bpm=100.0)
  check(untrained("activity"), context=["context"])
  check(untrained("context"), activity={"drums": [(0, 1)]})


def test_weights_by_condition_leave_the_rest_to_the_model():
  assert check(guidance={"context": np.float32(1.5)}).guidance == {"rest": 3.0, "context": 1.5}
  assert check(guidance={"rest": 2}).guidance == 2.0
  weights = weights_of(check(guidance={"words": 4, "rest": 2}).guidance)
  assert weights == {"text": 4, "bpm": 2, "context": 2, "activity": 2}


@pytest.mark.parametrize(
  ("name", "given", "message"),
  [
    ("tempo", {"bpm": 90}, "the request has no tempo"),
    ("context", {"passes": 2}, "the request has no context"),
    ("activity", {"activity": {"drums": [(0, 1)]}}, "the request has no activity"),
    ("stem_words", {"stems": ["drums: dry", "keys"]}, "the request has no words for one stem"),
    ("others", {}, "stems of this model do not hear each other"),
  ],
)
def test_what_is_not_there_cannot_be_weighed(name, given, message):
  model = tiny.CONFIG
  if name == "others":
    ensemble = model | {"dit": model["dit"] | {"ensemble": True}}
    check_weighed(ensemble, check(guidance={name: 2}), None)
  else:
    check_weighed(model, check(guidance={name: 2}, **given), None)
  with pytest.raises(UsageError, match=f"guidance of {name}: {message}"):
    check_weighed(model, check(guidance={name: 2}), None)
  if name in ("context", "activity"):
    with pytest.raises(UsageError, match=f"{name}: this model was trained without it"):
      check_weighed(untrained(name), check(guidance={name: 2}), None)


def test_a_key_is_no_seed():
  with pytest.raises(UsageError, match="expected a whole number"):
    check(seed=jax.random.key(0))

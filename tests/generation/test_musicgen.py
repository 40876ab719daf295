"""Music from a MusicGen of random numbers: two parts, one codec with one level and one with two."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation import musicgen
from stemphonic_jax.models.encodec import EnCodec
from stemphonic_jax.models.musicgen import MusicGen
from stemphonic_jax.weights.codec import CodecWeights
from stemphonic_jax.weights.musicgen_parts import MusicGenParts, MusicGenWeights
from tests import tiny

RATE, HOP, V = 400, 8, 16  # 50 columns a second
KEY = jax.random.key(0)


def codec(levels):
  model = EnCodec(filters=2, ratios=(4, 2), latent=4, levels=levels, entries=V, layers=1)
  shapes = jax.eval_shape(model.init, KEY, jnp.zeros((1, HOP)))["params"]
  return CodecWeights(model, tiny.random_params(shapes), RATE)


@functools.cache
def model():
  network = MusicGen(streams=3, vocabulary=V, width=16, depth=1, heads=2, text_width=32)
  arguments = jnp.zeros((1, 3, 1), jnp.int32), jnp.zeros((1, 1, 32)), jnp.ones((1, 1), bool)
  params = tiny.random_params(jax.eval_shape(network.init, KEY, *arguments)["params"])
  weights = MusicGenWeights(network, params | {"embedding": 10 * params["embedding"]}, (0, 0, 1))
  codecs = {"bass": codec(1), "other": codec(2)}
  return musicgen.MusicGen(
    MusicGenParts(weights, tiny.text_encoder(), tiny.tokenizer(), codecs, RATE)
  )


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
  """Of 10 columns, and then of 5 after the last 5: what is made here is of 15."""
  monkeypatch.setattr(musicgen, "WINDOW", 0.2)
  monkeypatch.setattr(musicgen, "STRIDE", 0.1)


def test_a_prompt_is_made_the_same_whatever_is_beside_it():
  one, other = model().generate(["slow blues", "a longer text of fast country rock"], 0.295)
  again, _ = model().generate(["slow blues", ""], 0.295)
  assert set(one) == {"bass", "other"}
  for name in one:
    assert one[name].shape == (118, 1)
    np.testing.assert_allclose(again[name], one[name], atol=1e-5)
  assert any((one[name] != other[name]).any() for name in one)
  changed, _ = model().generate(["slow blues", ""], 0.295, seed=1)
  assert any((changed[name] != one[name]).any() for name in one)


def test_what_is_long_goes_on_from_its_beginning(monkeypatch):
  long, _ = model().generate(["", ""], 0.3)
  assert long["bass"].shape == (120, 1)
  given = {name: audio[:40] for name, audio in long.items()}
  codes = model()._encode(given)
  np.testing.assert_array_equal(codes.shape, (3, 5))
  begun = {name: np.append(audio, np.ones((7, 1)), 0) for name, audio in given.items()}
  np.testing.assert_array_equal(model()._encode(begun), codes)  # a column that is begun is left out
  monkeypatch.setattr(musicgen.MusicGen, "_sound", lambda self, codes, samples: codes)
  more, _ = model().generate(["", ""], 0.3, beginning=given)
  assert more.shape == (3, 15)
  np.testing.assert_array_equal(more[:, :5], codes)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"prompts": "slow blues"}, "expected a list of texts"),
    ({"prompts": []}, "expected a list of texts"),
    ({"seconds": 0}, "seconds: got 0"),
    ({"guidance": float("nan")}, "guidance: got nan"),
    ({"top_k": -1}, "top_k: got -1, expected a whole number"),
    ({"temperature": 0}, "temperature: got 0"),
    ({"seed": -1}, "seed: got -1, expected a whole number"),
    ({"beginning": np.zeros(8)}, "samples of bass, other, each by its name"),
    ({"beginning": {"bass": np.zeros(8), "other": np.zeros(16)}}, "differ in length"),
    ({"beginning": {"bass": np.zeros(8), "other": np.full(8, np.nan)}}, "other: .*expected finite"),
    ({"beginning": dict.fromkeys(("bass", "other"), np.zeros((2, 8)))}, r"got shape \(2, 8\)"),
    ({"beginning": dict.fromkeys(("bass", "other"), np.zeros(7))}, "at least 8$"),
    (
      {"beginning": dict.fromkeys(("bass", "other"), np.zeros(40)), "seconds": 0.1},
      "0.1 s, expected less than",
    ),
  ],
)
def test_what_cannot_be_is_refused_in_one_line(changes, message):
  with pytest.raises(UsageError, match=message):
    model().generate(**{"prompts": [""], "seconds": 0.5} | changes)

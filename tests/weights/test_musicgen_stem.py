"""A public MusicGen-Stem as a model folder writes what it writes as it was."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.errors import MismatchError
from stemphonic_jax.generation.musicgen import MusicGen as Published
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.models.encodec import EnCodec
from stemphonic_jax.models.musicgen import MusicGen
from stemphonic_jax.weights import musicgen_stem
from stemphonic_jax.weights.codec import CodecWeights
from stemphonic_jax.weights.musicgen_parts import MusicGenParts, MusicGenWeights
from tests import tiny

RATE, HOP, V = 400, 8, 16  # 50 columns a second
KEY = jax.random.key(0)


def codec(levels):
  model = EnCodec(filters=2, ratios=(4, 2), latent=4, levels=levels, entries=V, layers=1)
  shapes = jax.eval_shape(model.init, KEY, jnp.zeros((1, HOP)))["params"]
  return CodecWeights(model, tiny.random_params(shapes), RATE)


@pytest.fixture(scope="module")
def parts():
  network = MusicGen(streams=4, vocabulary=V, width=16, depth=1, heads=2, text_width=32)
  arguments = jnp.zeros((1, 4, 1), jnp.int32), jnp.zeros((1, 1, 32)), jnp.ones((1, 1), bool)
  params = tiny.random_params(jax.eval_shape(network.init, KEY, *arguments)["params"])
  params |= {"embedding": 10 * params["embedding"]}
  codecs = {"bass": codec(1), "drums": codec(1), "other": codec(2)}
  weights = MusicGenWeights(network, params, (0, 0, 0, 1))
  return MusicGenParts(weights, tiny.text_encoder(), tiny.tokenizer(), codecs, RATE)


def test_what_it_writes_is_the_same(parts, tmp_path, monkeypatch):
  monkeypatch.setattr(musicgen_stem, "open_folder", lambda *_: parts)
  musicgen_stem.import_musicgen_stem(tmp_path, tmp_path / "out")
  pipe = StemPipeline.load(tmp_path / "out")
  monkeypatch.setitem(pipe.config["sample"], "top_k", 1)
  song = pipe.generate("slow blues", ["basses", "drums", "other"], duration=1.0)
  (expected,) = Published(parts).generate(["slow blues"], 1.0, top_k=1)
  for name, published in {"basses": "bass", "drums": "drums", "other": "other"}.items():
    np.testing.assert_allclose(song.stems[name][:, :1], expected[published], atol=1e-5)
  assert pipe.config["licence"] == "CC-BY-NC-4.0"


def test_a_model_of_mixes_is_none(parts, tmp_path, monkeypatch):
  mixes = dataclasses.replace(parts, codecs={"mix": parts.codecs["other"]})
  monkeypatch.setattr(musicgen_stem, "open_folder", lambda *_: mixes)
  with pytest.raises(MismatchError, match="makes mix, expected a MusicGen-Stem"):
    musicgen_stem.import_musicgen_stem(tmp_path, tmp_path / "out")
  assert not (tmp_path / "out").exists()

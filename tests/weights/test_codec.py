"""Codecs in folders, and what they refuse."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from stemphonic_jax.errors import DataError, MismatchError, MissingError, OutputError, UsageError
from stemphonic_jax.models.spectral_codec import SpectralCodec
from stemphonic_jax.weights.architecture import codec_shapes
from stemphonic_jax.weights.codec import Codec, CodecWeights, open_codec, save_codec
from stemphonic_jax.weights.encodec import open_encodec
from stemphonic_jax.weights.tensors import materialize
from tests.tiny import random_params
from tests.weights import codecs

SPECTRAL = SpectralCodec(
  size=64, stride=16, resolution=8, components=6, levels=2, entries=16, refinements=1
)
RATE = 60


@pytest.fixture(scope="module", params=["encodec", "spectral"])
def codec(request, tmp_path_factory):
  """A codec of either kind, saved and opened again."""
  folder = tmp_path_factory.mktemp("codec")
  weights = CodecWeights(SPECTRAL, random_params(codec_shapes(SPECTRAL)), RATE)
  if request.param == "encodec":
    weights = open_encodec(codecs.save(folder / "public"))
  save_codec(folder / "ours", weights, {"licence": "CC0-1.0"})
  found = open_codec(folder / "ours")
  assert (found.model, found.rate) == (weights.model, RATE)
  given, kept = materialize(weights.params), materialize(found.params)
  jax.tree.map(np.testing.assert_array_equal, kept, given)
  return Codec(found)


def test_samples_become_columns_and_columns_samples(codec):
  audio = np.random.default_rng(0).standard_normal(5 * codec.hop + 1).astype(np.float32)
  codes = codec.encode(audio, RATE)
  assert (codes.shape, codes.dtype) == ((codec.levels, 6), np.uint16)
  assert codes.max() < codec.entries
  decoded = codec.decode(codes)
  assert (decoded.shape, decoded.dtype) == ((6 * codec.hop,), np.float32)
  assert codec.silence.shape == (codec.levels,)
  assert len(codec.fingerprint) == 64


@pytest.mark.parametrize(
  ("audio", "rate", "message"),
  [
    (np.zeros((40, 2), np.float32), RATE, r"shape \(40, 2\): a codec hears one channel"),
    (np.zeros(0, np.float32), RATE, r"shape \(0,\): a codec hears one channel"),
    (np.zeros(40, np.float32), 44_100, "audio at 44100 Hz: this codec hears 60 Hz; resample it"),
    (np.full(40, np.nan, np.float32), RATE, r"samples that are no number \(NaN or infinite\)"),
  ],
)
def test_other_audio_is_refused(codec, audio, rate, message):
  with pytest.raises(UsageError, match=message):
    codec.encode(audio, rate)


def test_other_codes_are_refused(codec):
  for codes, message in (
    (
      np.zeros((3, 4), int),
      r"shape \(3, 4\) and type int64: expected whole numbers of shape \(2, c",
    ),
    (np.zeros((2, 0), int), "expected whole numbers"),
    (np.zeros((2, 4)), "type float64: expected whole numbers"),
    (
      np.array([[0, 1], [0, codec.entries]]),
      f"code {codec.entries} at level 1, column 1: expected",
    ),
    (np.array([[0, -1], [0, 0]]), "code -1 at level 0, column 1: expected 0 to"),
  ):
    with pytest.raises(UsageError, match=message):
      codec.decode(codes)


def test_the_fingerprint_is_that_of_config_and_weights(tmp_path):
  """What is around a signal is in no tensor, and changes codes."""
  weights = open_encodec(codecs.save(tmp_path / "public"))
  padded = dataclasses.replace(weights, model=weights.model.clone(padding="constant"))
  fitted = CodecWeights(weights.model, weights.params, RATE)
  reflect, constant, none = (Codec(one).fingerprint for one in (weights, padded, fitted))
  assert reflect != constant
  assert none == ""


def test_a_codec_replaces_a_codec_and_nothing_else(tmp_path):
  public = codecs.save(tmp_path / "public")
  before = (public / "config.json").read_bytes()
  with pytest.raises(OutputError, match=r"config\.json: is not of what was saved here before"):
    save_codec(public, open_encodec(public), {})
  assert (public / "config.json").read_bytes() == before
  for licence in ("MIT", "CC0-1.0"):
    save_codec(tmp_path / "ours", open_encodec(public), {"licence": licence})
  assert json.loads((tmp_path / "ours" / "config.json").read_text())["licence"] == "CC0-1.0"


def test_a_folder_that_is_no_codec_is_refused(tmp_path):
  with pytest.raises(MissingError, match=r"no codec here; expected config\.json"):
    open_codec(tmp_path)
  with pytest.raises(MismatchError, match=r"format None, expected 'stemphonic_jax codec 1'"):
    open_codec(codecs.save(tmp_path / "public"))
  weights = CodecWeights(SPECTRAL, random_params(codec_shapes(SPECTRAL)), RATE)
  save_codec(tmp_path / "c", weights, {})
  config = json.loads((tmp_path / "c" / "config.json").read_text())
  for changes, message in (
    ({"architecture": "dac"}, "codec.architecture: got 'dac', expected 'encodec' or 'spectral'"),
    ({"stride": 3}, "size 64, stride 3: expected an even number of strides$"),
    ({"stride": 0}, "codec.stride: got 0, expected a whole number, 2 to 16384"),
    ({"levels": True}, "codec.levels: got True, expected a whole number, 1 to 128"),
    ({"depth": 3}, "codec.depth: unknown, expected size, stride, "),
    ({"entries": 8}, r"codebooks: file \(2, 16, 6\) float32, model \(2, 8, 6\)"),
  ):
    changed = config | {"codec": config["codec"] | changes}
    (tmp_path / "c" / "config.json").write_text(json.dumps(changed))
    with pytest.raises(MismatchError, match=message):
      open_codec(tmp_path / "c")
  for changes in ({"sample_rate": None}, {"codec": []}):
    (tmp_path / "c" / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(MismatchError, match="codec or sample_rate is wrong or missing"):
      open_codec(tmp_path / "c")
  (tmp_path / "c" / "config.json").write_text(json.dumps(config))
  (tmp_path / "c" / "codec.safetensors").write_bytes(b"no")
  with pytest.raises(DataError, match="cannot be read"):
    open_codec(tmp_path / "c")

"""EnCodec out of the files that people have; numbers are compared in tests/parity."""

import numpy as np
import pytest

from stemphonic_jax.errors import DataError, MismatchError, MissingError
from stemphonic_jax.weights.encodec import open_encodec
from stemphonic_jax.weights.tensors import materialize
from tests.weights import codecs
from tests.weights.torch_files import archive, mapping, number, text, whole

XP = (
  "sample_rate: 60\nchannels: 1\ncompression_model: encodec\n"
  "encodec: {causal: false, renormalize: false}\n"
  "seanet: {dimension: 4, n_filters: 2, n_residual_layers: 1, ratios: [3, 2], norm: weight_norm,"
  " pad_mode: constant, true_skip: true, lstm: 2, causal: '${encodec.causal}'}\n"
  "rvq: {n_q: 2, bins: 8}\n"
)


def audiocraft(path, tensors, **changes):
  """The file that audiocraft exports, but for its names, of which Hugging Face's will do."""
  storages = {str(i): a for i, a in enumerate(tensors.values())}
  content = {"best_state": whole(tensors), "xp.cfg": text(XP), "version": text("1.3.0")} | changes
  path.write_bytes(archive(mapping({n: made for n, made in content.items() if made}), storages))
  return path


def test_weight_norm_is_folded_and_biases_are_added(tmp_path):
  given = codecs.drawn()
  found = open_encodec(codecs.save(tmp_path / "codec", given))
  assert (found.model, found.rate) == (codecs.MODEL, 60)
  params = materialize(found.params)
  v, g = (given[f"decoder.layers.3.conv.weight_{kind}"] for kind in "vg")
  assert (v.shape, g.shape) == ((8, 4, 6), (8, 1, 1)), "of the input's channels"
  kernel = params["decoder"]["up_0"]["kernel"]
  assert kernel.shape == (6, 8, 4)
  np.testing.assert_allclose(np.linalg.norm(kernel, axis=(0, 2)), np.abs(g[:, 0, 0]), rtol=1e-5)
  biases = [given[f"encoder.layers.7.lstm.bias_{of}_l1"] for of in ("ih", "hh")]
  np.testing.assert_allclose(params["encoder"]["lstm"]["bias_1"], sum(biases), rtol=1e-6)


def test_audiocraft_s_file_says_how_it_is_padded(tmp_path):
  path = audiocraft(tmp_path / "compression_state_dict.bin", codecs.drawn())
  for place in (tmp_path, path):
    found = open_encodec(place)
    assert (found.model, found.rate) == (codecs.MODEL.clone(padding="constant"), 60)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model_type": "dac"}, "is a model of type 'dac', expected 'encodec'"),
    ({"use_causal_conv": True}, "another EnCodec than MusicGen's: use_causal_conv is True, expe"),
    ({"audio_channels": 2}, "audio_channels is 2, expected 1"),
    ({"pad_mode": "circular"}, "pad_mode is 'circular', expected one of reflect, constant"),
    ({"target_bandwidths": [0.09]}, "has 2 codebooks, expected 3"),
    ({"num_filters": 4}, r"decoder\.0\.bias: file \(8,\) float32, model \(16,\)"),
  ],
)
def test_another_codec_is_refused_in_one_line(tmp_path, changes, message):
  with pytest.raises(MismatchError, match=message):
    open_encodec(codecs.save(tmp_path / "codec", **changes))


@pytest.mark.parametrize("kilobits", [0.06, [], ["0.06"], [float("inf")]])
def test_a_bit_rate_that_is_none_says_nothing_of_codebooks(tmp_path, kilobits):
  found = open_encodec(codecs.save(tmp_path / "codec", target_bandwidths=kilobits))
  assert found.model.levels == 2


def test_a_config_without_sizes_is_refused(tmp_path):
  for changes, message in (
    ({"num_filters": None}, "num_filters is None, expected a whole number"),
    ({"num_filters": 1}, "num_filters is 1, expected a whole number from 2 on"),
    ({"upsampling_ratios": [3, 0]}, "upsampling_ratios is"),
  ):
    with pytest.raises(DataError, match=message):
      open_encodec(codecs.save(tmp_path / "codec", **changes))


def test_tensors_that_are_missing_or_foreign_are_named(tmp_path):
  given = codecs.drawn()
  del given["encoder.layers.4.block.3.conv.bias"]
  with pytest.raises(MismatchError, match=r"encoder\.4\.block\.3\.bias: file lacks it"):
    open_encodec(codecs.save(tmp_path / "codec", given))
  given = codecs.drawn() | {"encoder.layers.3.conv.lora_A": np.ones((2, 2), np.float32)}
  with pytest.raises(MismatchError, match=r"encoder\.layers\.3\.conv\.lora_A: file \(2, 2\)"):
    open_encodec(codecs.save(tmp_path / "codec", given))
  (tmp_path / "codec" / "model.safetensors").unlink()
  with pytest.raises(MissingError, match=r"model\.safetensors: no such file of weights"):
    open_encodec(tmp_path / "codec")
  with pytest.raises(MissingError, match=r"config\.json: no such file"):
    open_encodec(tmp_path)


def test_a_file_of_audiocraft_that_is_no_codec_is_refused(tmp_path):
  path, given = tmp_path / "compression_state_dict.bin", codecs.drawn()
  pointer = mapping({"pretrained": text("facebook/encodec_32khz"), "exported": number(1)})
  path.write_bytes(archive(pointer, {}))
  with pytest.raises(MissingError, match="no weights, only the name 'facebook/encodec_32khz'; fet"):
    open_encodec(tmp_path)
  audiocraft(path, given, **{"xp.cfg": None})
  with pytest.raises(
    DataError, match=r"expected best_state and xp\.cfg, as audiocraft exports a co"
  ):
    open_encodec(path)
  audiocraft(path, given, **{"xp.cfg": text("a: [")})
  with pytest.raises(DataError, match=r"its xp\.cfg is not YAML"):
    open_encodec(path)
  audiocraft(path, given, **{"xp.cfg": text(XP.replace("model: encodec", "model: dac"))})
  with pytest.raises(MismatchError, match="is a codec of type 'dac', expected 'encodec'"):
    open_encodec(path)

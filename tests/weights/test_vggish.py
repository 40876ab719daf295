"""VGGish out of the files that people have."""

import hashlib

import numpy as np
import pytest

from stemphonic_jax.errors import DataError, MismatchError, MissingError
from stemphonic_jax.weights.tensors import materialize
from stemphonic_jax.weights.vggish import TENSORFLOW, open_vggish
from tests.weights import judges
from tests.weights.torch_files import stream, whole


def test_four_families_of_names_are_one_network(tmp_path, warned):
  first = None
  for names in (
    ("features", "embeddings"),
    ("features_network", "embedding_network"),
    ("features", "fc"),
  ):
    found = open_vggish(judges.save(tmp_path / "v.safetensors", judges.vggish(*names)))
    params = materialize(found.params)
    first = first or params
    assert params.keys() == {*(f"conv_{i}" for i in range(6)), *(f"dense_{i}" for i in range(3))}
    for layer, leaves in params.items():
      for name, array in leaves.items():
        np.testing.assert_array_equal(array, first[layer][name])
  assert found.model.widths == judges.WIDTHS
  assert params["conv_1"]["kernel"].shape == (3, 3, 2, 3)
  assert warned == []


def test_what_is_no_layer_is_left_out_with_a_warning(tmp_path, warned):
  more = {"classifier.0.weight": np.ones(2, np.float32), "pproc.pca_means": np.ones(2, np.float32)}
  open_vggish(judges.save(tmp_path / "v.safetensors", judges.vggish() | more))
  assert "not of VGGish, left out: classifier.0.weight, pproc.pca_means" in warned[0]


def test_a_file_is_compared_with_the_checksum_in_its_name(tmp_path):
  tensors = judges.vggish()
  content = stream(whole(tensors), {str(i): a for i, a in enumerate(tensors.values())})
  sha256 = hashlib.sha256(content).hexdigest()
  path = tmp_path / f"vggish-{sha256[:8]}.pth"
  path.write_bytes(content)
  assert open_vggish(path).sha256 == sha256
  path = path.rename(tmp_path / "vggish-10086976.pth")
  with pytest.raises(DataError, match=rf"SHA-256 is {sha256[:8]}…, not 10086976…; copy the file"):
    open_vggish(path)


def test_other_files_are_refused_in_one_line(tmp_path):
  path = tmp_path / "v.safetensors"
  with pytest.raises(MissingError, match="no such file"):
    open_vggish(path)
  with pytest.raises(MissingError, match="no such checkpoint"):
    open_vggish(tmp_path / "v.pth")
  tensors = judges.vggish()
  del tensors["features.3.bias"]
  with pytest.raises(MismatchError, match="1 tensors do not fit; conv_1/bias: file lacks it"):
    open_vggish(judges.save(path, tensors))
  tensors = judges.vggish()
  tensors["embeddings.0.weight"] = tensors["embeddings.0.weight"][:, 1:].copy()
  with pytest.raises(MismatchError, match=r"dense_0/kernel: file \(9, 143\) float32, model \(9, 1"):
    open_vggish(judges.save(path, tensors))
  with pytest.raises(MismatchError, match="18 tensors do not fit"):
    open_vggish(judges.save(path, {"a": np.ones(2, np.float32)}))
  path = tmp_path / "vggish_model.ckpt"
  path.write_bytes(b"\0" * 30 + TENSORFLOW)
  with pytest.raises(MismatchError, match=r"of TensorFlow; take vggish-10086976\.pth"):
    open_vggish(path)

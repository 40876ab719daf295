"""PyTorch checkpoints: converted bit for bit, and never run."""

import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from safetensors import numpy as safetensors

from stemphonic_jax import door
from stemphonic_jax.errors import DataError, MissingError, OutputError, StemphonicError, UsageError
from stemphonic_jax.weights import tensors, torch_file
from stemphonic_jax.weights.checkpoint import convert_checkpoint

torch = pytest.importorskip("torch")

STATUS = Path("/proc/self/status")
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32]


def state():
  """Every type; a parameter, a scalar, nothing, and names as PyTorch writes them."""
  torch.manual_seed(0)
  drawn = {f"model.layers.{i}.weight": (9 * torch.randn(3, 4)).to(d) for i, d in enumerate(DTYPES)}
  return drawn | {
    "mask": torch.tensor([True, False]),
    "scale": torch.tensor(2.5),
    "none": torch.zeros(0, 3),
    "parameter": torch.nn.Parameter(torch.randn(2)),
    "slash/and.dot": torch.ones(1),
  }


def convert(tmp_path, content, **options):
  source, out = tmp_path / "model.ckpt", tmp_path / "model.safetensors"
  torch.save(content, source, **options)
  convert_checkpoint(source, out)
  return safetensors.load_file(out)


def assert_same(found, expected):
  assert sorted(found) == sorted(expected)
  for name, tensor in expected.items():
    array = found[name]
    assert (array.shape, str(array.dtype)) == (tuple(tensor.shape), str(tensor.dtype)[6:])
    wide = torch.float64 if tensor.is_floating_point() else torch.int64
    np.testing.assert_array_equal(array.astype(np.float64), tensor.detach().to(wide).numpy())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_mapping_of_tensors_is_converted_bit_for_bit(tmp_path, warned, zipped):
  found = convert(tmp_path, state(), _use_new_zipfile_serialization=zipped)
  assert_same(found, state())
  assert warned == []


def test_a_state_dict_of_a_module_is_converted(tmp_path, warned):
  module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
  assert_same(convert(tmp_path, module.state_dict()), module.state_dict())
  assert warned == []


def test_of_a_lightning_checkpoint_the_state_dict_is_taken_and_the_rest_named(tmp_path, warned):
  rest = {
    "epoch": 3,
    "optimizer_states": [{"a": torch.ones(2)}],
    "hyper_parameters": {"lr": 1e-4, "betas": (0.9, 0.99)},
    "callbacks": OrderedDict(),
  }
  found = convert(tmp_path, {**rest, "state_dict": OrderedDict(state(), version="2", extra=b"\0")})
  assert_same(found, state())
  assert len(warned) == 2
  for name in rest:
    assert name in warned[0]
  assert "2 entries are no tensors, left out: version, extra" in warned[1]


@pytest.mark.parametrize("model", ["state_dict", "model_state_dict", "model", "module"])
def test_of_other_containers_the_model_is_taken_and_its_average_before_it(tmp_path, warned, model):
  tensors = {"module.a": torch.ones(2)}
  found = convert(tmp_path, {model: tensors, "ema": {"module.b": torch.zeros(2)}, "epoch": 3})
  assert_same(found, {"a": torch.ones(2)})
  assert "left out: ema, epoch" in warned[0]
  assert "'module.' is taken off" in warned[1]
  (tmp_path / "model.safetensors").unlink()
  found = convert(tmp_path, {model: tensors, "ema": {"module.a": torch.zeros(2)}})
  assert_same(found, {"a": torch.zeros(2)})
  assert "the average 'ema' is taken, not" in warned[2]


def test_a_file_that_is_there_is_not_replaced(tmp_path):
  (tmp_path / "model.safetensors").write_text("mine")
  with pytest.raises(OutputError, match="already exists; name a new file"):
    convert(tmp_path, state())
  assert (tmp_path / "model.safetensors").read_text() == "mine"


def test_of_many_entries_left_out_ten_are_named(tmp_path, warned):
  content = {f"n{i}": i for i in range(500)} | {"a": torch.ones(2), 7: torch.ones(2)}
  assert list(convert(tmp_path, content)) == ["a"]
  assert "501 entries" in warned[0]
  assert warned[0].count(",") == 10  # 9 between names, 1 before "left out"


def test_views_transposes_and_tied_tensors_become_tensors_of_their_own(tmp_path):
  base = torch.arange(20.0).reshape(4, 5)
  content = {"all": base, "part": base[1:3, ::2], "turned": base.T, "tied": base}
  assert_same(convert(tmp_path, content), content)
  out = tmp_path / "model.safetensors"
  assert out.stat().st_size < 4 * (20 + 6 + 20 + 20) + 500


def evil(tmp_path, save):
  """A file that, unpickled, leaves a file `sentinel` behind."""

  class Command:
    def __reduce__(self):
      return os.system, (f"touch {tmp_path / 'sentinel'}",)

  source = tmp_path / "evil.ckpt"
  save({"state_dict": {"a": torch.ones(2), "b": Command()}}, source)
  return source


def save_old(content, path):
  torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [torch.save, save_old])
def test_code_in_a_checkpoint_does_not_run(tmp_path, capsys, save):
  source = evil(tmp_path, save)
  out = tmp_path / "out.safetensors"
  assert door.run(lambda: convert_checkpoint(source, out)) == 65
  message = capsys.readouterr().err
  assert message.count("\n") == 1
  assert "it asks for posix.system" in message
  assert list(tmp_path.iterdir()) == [source]
  torch.load(source, weights_only=False)
  assert (tmp_path / "sentinel").exists(), "the file is as dangerous as it should be"


def test_a_whole_module_is_refused_by_name(tmp_path):
  with pytest.raises(DataError, match=r"asks for torch\.nn\.modules\.linear\.Linear.*state_dict"):
    convert(tmp_path, torch.nn.Linear(2, 2))


def test_a_truncated_archive_is_refused(tmp_path):
  convert(tmp_path, state())
  source, out = tmp_path / "model.ckpt", tmp_path / "cut.safetensors"
  data = source.read_bytes()
  for kept in [*range(0, len(data), 199), len(data) - 1]:
    source.write_bytes(data[:kept])
    with pytest.raises(DataError, match=r"model\.ckpt: damaged, or not a checkpoint"):
      convert_checkpoint(source, out)
  assert not out.exists()


def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path):
  """Checksums cover the tensors and the program, not all of what the archive says of itself."""
  content = {"a": torch.arange(40.0)}
  whole = convert(tmp_path, content)["a"]
  source, out = tmp_path / "model.ckpt", tmp_path / "model.safetensors"
  data = source.read_bytes()
  errors = []
  for place in range(0, len(data), 5):
    damaged = bytearray(data)
    damaged[place] ^= 1 << place % 8
    source.write_bytes(damaged)
    out.unlink(missing_ok=True)
    try:
      convert_checkpoint(source, out)
    except StemphonicError as error:
      errors.append(error)
    else:
      np.testing.assert_array_equal(safetensors.load_file(out)["a"], whole)
  assert {error.exit_code for error in errors} == {65}


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ({}, "expected tensors by name, got nothing"),
    ([torch.ones(2)], "expected tensors by name, got a list"),
    (torch.ones(2), "expected tensors by name, got a tensor"),
    ({"net": {"a": torch.ones(2)}, "ema": 0}, r"got net \(dict\), ema \(int\)"),
    ({"state_dict": {}}, "got nothing"),
    ({"a": torch.zeros(2, dtype=torch.uint8)}, "a is uint8, expected one of float32, "),
    ({"a": torch.zeros(2, dtype=torch.complex64)}, "a is complex64"),
    ({"a": torch.zeros(2).to(torch.float8_e4m3fn)}, r"asks for torch\._utils\._rebuild_tensor_v3"),
    ({"a": torch.eye(3).to_sparse()}, r"asks for torch\._utils\._rebuild_sparse"),
    ({"a": torch.empty(3, device="meta")}, r"asks for torch\._utils\._rebuild_meta"),
    ({"a": torch.ones(1).expand(10**7, 10**7)}, "tensor of shape .* is larger than its storage"),
  ],
)
def test_what_safetensors_cannot_hold_is_refused(tmp_path, content, message):
  with pytest.raises(DataError, match=message):
    convert(tmp_path, content)
  assert [entry.name for entry in tmp_path.iterdir()] == ["model.ckpt"]


def test_files_of_another_kind_are_refused(tmp_path):
  source, out = tmp_path / "a.pt", tmp_path / "a.safetensors"
  with pytest.raises(MissingError, match=r"a\.pt: no such checkpoint"):
    convert_checkpoint(source, out)
  tensors.save_params(source, {"a": np.ones(2, np.float32)})
  with pytest.raises(DataError, match="damaged, or not a checkpoint"):
    convert_checkpoint(source, out)
  np.savez(tmp_path / "a.npz", a=np.ones(2))
  with pytest.raises(DataError, match="damaged, or not a checkpoint"):
    convert_checkpoint(tmp_path / "a.npz", out)
  with pytest.raises(UsageError, match=r"ends in \.safetensors"):
    convert_checkpoint(source, source)


def test_a_checkpoint_of_a_training_with_numbers_of_numpy_is_read(tmp_path, warned):
  """As LAION's: a learning rate that numpy computed lies beside the tensors."""
  optimizer = {"param_groups": [{"lr": np.cos(0.5), "params": [0]}], "state": {0: torch.ones(2)}}
  content = {"epoch": 15, "name": "music", "state_dict": state(), "optimizer": optimizer}
  assert_same(convert(tmp_path, content), state())
  assert "left out: epoch, name, optimizer" in warned[0]


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux says how much memory is in use")
def test_memory_does_not_grow_with_the_number_of_tensors(tmp_path, monkeypatch):
  size, count, anonymous, whole = 1 << 22, 12, [], torch_file._whole

  def watched(data, entry):
    # Not the pages of the mapped file, which the system takes back where it needs them.
    anonymous.append(int(STATUS.read_text().split("RssAnon:")[1].split()[0]) * 1024)
    return whole(data, entry)

  monkeypatch.setattr(torch_file, "_whole", watched)
  turned = {f"n{i}": torch.full((2, size // 8), float(i)).T for i in range(count)}
  source = tmp_path / "model.ckpt"
  torch.save(turned, source)
  del turned
  convert_checkpoint(source, tmp_path / "out.safetensors")
  assert len(anonymous) == count + 2  # the program, the order of bytes
  assert max(anonymous) - anonymous[0] < 4 * size

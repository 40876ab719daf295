"""Trees as safetensors: bit-exact, one tensor in memory at a time, and every damage in one line."""

import json
import re
import tracemalloc

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors
from flax import traverse_util
from safetensors import numpy as reference

from stemphonic_jax.errors import (
  DataError,
  MismatchError,
  MissingError,
  OutputError,
  StemphonicError,
)
from stemphonic_jax.weights import tensors
from stemphonic_jax.weights.tensors import Lazy

ONES = np.ones(3, np.float32)
SHAPES = [(), (0,), (3,), (2, 0, 5), (2, 3, 4)]


def values(dtype, shape, seed=0):
  drawn = np.random.default_rng(seed).standard_normal(shape) * 100
  return np.asarray(drawn > 0 if dtype == np.bool_ else drawn).astype(dtype)


def tree():
  """Every type in every shape, nested as parameters are."""
  return {
    str(dtype): {f"rank {i}": {"x": values(dtype, shape)} for i, shape in enumerate(SHAPES)}
    for dtype in tensors.NAMES
  }


def assert_same(a, b):
  a, b = (traverse_util.flatten_dict(part, sep="/") for part in (a, b))
  assert sorted(a) == sorted(b)
  for name in a:
    assert (a[name].shape, a[name].dtype) == (b[name].shape, b[name].dtype), name
    assert np.asarray(a[name]).tobytes() == np.asarray(b[name]).tobytes(), name


@pytest.fixture
def path(tmp_path):
  """A file of two tensors, to be damaged."""
  path = tmp_path / "model.safetensors"
  kernel = values(np.float32, (4, 3))
  tensors.save_params(path, {"in": {"kernel": kernel, "bias": np.ones(3, np.float16)}}, {"a": "b"})
  return path


def header_of(path):
  data = path.read_bytes()
  end = 8 + int.from_bytes(data[:8], "little")
  return json.loads(data[8:end]), data[end:]


def write(path, header, content):
  """A safetensors file with any header; text is taken as it is."""
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def read_all(path):
  tensors.read_metadata(path)
  return tensors.materialize(tensors.open_tensors(path))


def test_every_type_and_shape_comes_back_bit_for_bit(tmp_path):
  tensors.save_params(tmp_path / "a.safetensors", tree(), {"licence": "free", "ünï": "©"})
  opened = tensors.open_params(tmp_path / "a.safetensors", tree())
  assert all(isinstance(leaf, Lazy) for leaf in jax.tree.leaves(opened))
  assert_same(tensors.materialize(opened), tree())
  assert_same(tensors.load_params(tmp_path / "a.safetensors", tree()), tree())
  metadata = tensors.read_metadata(tmp_path / "a.safetensors")
  assert metadata == {"licence": "free", "ünï": "©"}


def test_arrays_of_jax_and_lazy_leaves_are_written_as_those_of_numpy(tmp_path):
  plain = {"a": values(ml_dtypes.bfloat16, (2, 3)), "b": {"c": values(np.float32, ())}}
  lazy = jax.tree.map(lambda x: Lazy(x.shape, x.dtype, lambda: x), plain)
  for name, params in {
    "plain": plain,
    "jax": jax.tree.map(jnp.asarray, plain),
    "lazy": lazy,
  }.items():
    tensors.save_params(tmp_path / name, params)
  assert len({(tmp_path / name).read_bytes() for name in ("plain", "jax", "lazy")}) == 1


def test_layout_in_memory_does_not_matter(tmp_path):
  x = values(np.float32, (3, 4))
  tensors.save_params(tmp_path / "a", {"fortran": np.asfortranarray(x), "part": x[::2, 1:]})
  assert_same(read_all(tmp_path / "a"), {"fortran": x, "part": x[::2, 1:].copy()})


def test_an_empty_tree_is_a_file_too(tmp_path):
  tensors.save_params(tmp_path / "a", {})
  assert tensors.open_tensors(tmp_path / "a") == tensors.read_metadata(tmp_path / "a") == {}


def test_safetensors_reads_what_is_written_here(tmp_path):
  tensors.save_params(tmp_path / "a", tree())
  assert_same(reference.load_file(tmp_path / "a"), traverse_util.flatten_dict(tree(), sep="/"))


def test_what_safetensors_writes_is_read_here(tmp_path):
  flat = traverse_util.flatten_dict(tree(), sep="/")
  reference.save_file(flat, tmp_path / "a", {"format": "np"})
  assert_same(read_all(tmp_path / "a"), flat)
  assert tensors.read_metadata(tmp_path / "a") == {"format": "np"}


def test_tensors_lie_at_multiples_of_their_width(tmp_path):
  tensors.save_params(tmp_path / "a", tree())
  header, content = header_of(tmp_path / "a")
  assert (tmp_path / "a").stat().st_size - len(content) & 7 == 0
  for row in header.values():
    assert row["data_offsets"][0] % tensors.DTYPES[row["dtype"]].itemsize == 0


def test_one_tensor_is_in_memory_at_a_time(tmp_path):
  size = 1 << 20
  drawn = {f"layer {i}": values(np.float32, (size // 4,), i) for i in range(12)}
  reference.save_file(drawn, tmp_path / "in")
  del drawn
  tracemalloc.start()
  found = tensors.open_tensors(tmp_path / "in")
  _, opened = tracemalloc.get_traced_memory()
  turned = {
    name: Lazy(leaf.shape, leaf.dtype, lambda leaf=leaf: leaf.read()[::-1])
    for name, leaf in found.items()
  }
  tensors.save_params(tmp_path / "out", turned)
  _, written = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert opened < size / 4
  # What is read and its contiguous copy, and while one is read, the copy of the one before.
  assert written < 3.5 * size
  assert (tmp_path / "out").stat().st_size > 12 * size


def test_a_tree_is_placed_leaf_by_leaf():
  log = []

  def lazy(name):
    return Lazy((1,), np.dtype("float32"), lambda: log.append(f"read {name}") or name)

  placed = tensors.materialize({"a": lazy("a"), "b": lazy("b")}, lambda x: log.append(x) or x)
  assert log == ["read a", "a", "read b", "b"]
  assert placed == {"a": "a", "b": "b"}


def failing(error):
  def read():
    raise error

  return {"a": np.ones(3, np.float32), "b": Lazy((3,), np.dtype("float32"), read)}


@pytest.mark.parametrize(
  ("params", "error"),
  [
    (failing(DataError("damaged")), DataError),
    (failing(KeyboardInterrupt()), KeyboardInterrupt),
    (failing(OSError(28, "No space left on device")), OutputError),
    ({"a": Lazy((3,), np.dtype("float32"), lambda: np.ones(4, np.float32))}, ValueError),
    ({"a": Lazy((3,), np.dtype("float32"), lambda: np.ones(3, np.float16))}, ValueError),
  ],
)
def test_nothing_is_written_when_a_leaf_cannot_be_read(tmp_path, params, error):
  (tmp_path / "kept").write_text("as it was")
  for name in ("kept", "new"):
    with pytest.raises(error):
      tensors.save_params(tmp_path / name, params)
  assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
  assert (tmp_path / "kept").read_text() == "as it was"


def test_a_missing_file_is_named(tmp_path):
  for name in ("a.safetensors", "a.safetensors.index.json"):
    for read in (tensors.open_tensors, tensors.read_metadata):
      with pytest.raises(MissingError, match=re.escape(f"{tmp_path / name}: no such file")):
        read(tmp_path / name)
  (tmp_path / "folder").mkdir()
  with pytest.raises(MissingError, match="folder: no such file"):
    tensors.open_tensors(tmp_path / "folder")


def test_every_cut_is_found(path):
  data = path.read_bytes()
  for kept in range(len(data)):
    path.write_bytes(data[:kept])
    with pytest.raises(DataError, match=r"model\.safetensors: cannot be read \("):
      tensors.open_tensors(path)


def test_every_flipped_bit_of_a_header_is_found_or_changes_nothing(path):
  """Some only change a name, a shape or a type: the tree they are compared with sees these."""
  data, (_, content) = path.read_bytes(), header_of(path)
  whole = traverse_util.unflatten_dict(read_all(path), sep="/")
  errors = []
  for place in range(len(data) - len(content)):
    for bit in range(8):
      damaged = bytearray(data)
      damaged[place] ^= 1 << bit
      path.write_bytes(damaged)
      try:
        assert_same(tensors.load_params(path, whole), whole)
      except StemphonicError as error:
        errors.append(error)
  assert len(errors) > 7 * (len(data) - len(content))
  assert {error.exit_code for error in errors} == {65, 78}
  assert not [error for error in errors if "\n" in str(error)]


ROW = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
  "header",
  [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe{}",
    b"[" * 100_000,
    {"a": None},
    {"a": {}},
    {"a": ROW | {"dtype": "F33"}},
    {"a": ROW | {"shape": [3]}},
    {"a": ROW | {"shape": [-2]}},
    {"a": ROW | {"shape": [2**40, 2**40]}},
    {"a": ROW | {"data_offsets": [8, 0]}},
    {"a": ROW | {"data_offsets": [0, 16]}},
    {"a": ROW, "b": ROW},
    {"a": ROW, "__metadata__": {"a": 1}},
    {"a": ROW, "__metadata__": "text"},
    {},
  ],
  ids=lambda header: repr(header)[:60],
)
def test_a_header_that_does_not_describe_the_file_is_refused(path, header):
  write(path, header, bytes(8))
  with pytest.raises(DataError, match=r"model\.safetensors: cannot be read \(.+\)$") as error:
    tensors.open_tensors(path)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [0, 1, 100_000_001, 2**63, 2**64 - 1])
def test_a_header_of_an_impossible_length_is_refused(path, length):
  path.write_bytes(length.to_bytes(8, "little") + b"{}")
  with pytest.raises(DataError, match="cannot be read"):
    tensors.open_tensors(path)


@pytest.mark.parametrize(
  ("dtype", "width"), [("F8_E4M3", 1), ("F8_E5M2", 1), ("U8", 1), ("I8", 1), ("U64", 8), ("C64", 8)]
)
def test_types_no_model_here_has_are_named(path, dtype, width):
  row = {"dtype": dtype, "shape": [8 // width], "data_offsets": [0, 8]}
  write(path, {"net.weight": row}, bytes(8))
  with pytest.raises(DataError, match=rf"net\.weight is {dtype}, expected F32, F16, BF16, F64"):
    tensors.open_tensors(path)


def test_a_file_of_another_kind_is_refused(path):
  for content in (
    b"",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
    b"PK\3\4" * 9,
  ):
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
      tensors.open_tensors(path)


def test_a_file_that_changes_after_it_was_opened_is_an_error(path):
  found = tensors.open_tensors(path)
  tensors.save_params(path, {"other": np.ones(2, np.float32)})
  with pytest.raises(DataError, match="cannot be read"):
    tensors.materialize(found)
  path.unlink()
  with pytest.raises(DataError, match="cannot be read"):
    tensors.materialize(found)


# ---- Differences


def shapes_of(**leaves):
  return {name: jax.ShapeDtypeStruct(*leaf) for name, leaf in leaves.items()}


def test_differences_are_named_with_both_sides():
  found = {"a": ONES, "b": ONES, "c": ONES, "d": {"e": ONES}}
  wanted = shapes_of(a=((3,), "float32"), b=((4,), "float32"), c=((3,), "bfloat16"), f=((), "bool"))
  with pytest.raises(MismatchError) as error:
    tensors.check_params("file", found, wanted)
  assert str(error.value) == (
    "file: 4 tensors do not fit; b: file (3,) float32, model (4,) float32; c: file (3,) float32,"
    " model (3,) bfloat16; d/e: file (3,) float32, model lacks it; f: file lacks it, model () bool"
  )


@pytest.mark.parametrize("count", [10, 11, 5000])
def test_at_most_ten_differences_are_named_in_one_line(path, count):
  with pytest.raises(MismatchError) as error:
    tensors.open_params(path, shapes_of(**{f"{i:04}": ((1,), "float32") for i in range(count - 2)}))
  message = str(error.value)
  assert f"{count} tensors do not fit" in message
  assert message.count("file lacks it") + message.count("model lacks it") == 10
  assert "\n" not in message


def test_nothing_is_read_to_find_a_difference(path, monkeypatch):
  monkeypatch.setattr(tensors, "_read", lambda *_: pytest.fail("read"))
  with pytest.raises(MismatchError):
    tensors.open_params(path, {})


def test_names_that_make_no_tree_are_a_difference(tmp_path):
  flat = {"a": ONES, "a/b": ONES, "a//b": ONES, "/": ONES, "": ONES}
  reference.save_file(flat, tmp_path / "file")
  with pytest.raises(MismatchError, match="6 tensors do not fit"):
    tensors.open_params(tmp_path / "file", {"b": ONES})


def test_errors_without_a_text_are_named(monkeypatch, path):
  def refuse(*_):
    raise safetensors.SafetensorError

  monkeypatch.setattr(safetensors, "safe_open", refuse)
  with pytest.raises(DataError, match=r"cannot be read \(SafetensorError\)"):
    tensors.open_tensors(path)

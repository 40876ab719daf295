"""Weights in several files with an index: read as one file, and nothing outside of the folder."""

import json

import pytest
from safetensors import numpy as reference

from stemphonic_jax.errors import DataError
from stemphonic_jax.weights import tensors
from tests.weights.test_tensors import ONES, assert_same


@pytest.fixture
def index(tmp_path):
  """Two shards with an index."""
  folder = tmp_path / "model"
  folder.mkdir()
  shards = {"1.safetensors": {"a": ONES, "b": 2 * ONES}, "2.safetensors": {"c": 3 * ONES}}
  for shard, content in shards.items():
    reference.save_file(content, folder / shard)
  return write_index(folder, {name: shard for shard, row in shards.items() for name in row})


def write_index(folder, weight_map):
  path = folder / "model.safetensors.index.json"
  path.write_text(json.dumps({"metadata": {"total_size": 36}, "weight_map": weight_map}))
  return path


def test_shards_are_read_as_one_file(index):
  found = tensors.open_tensors(index)
  assert_same(tensors.materialize(found), {"a": ONES, "b": 2 * ONES, "c": 3 * ONES})


def test_tensors_that_no_index_names_are_not_hidden(index):
  write_index(index.parent, {"a": "1.safetensors", "c": "2.safetensors"})
  assert sorted(tensors.open_tensors(index)) == ["a", "b", "c"]


def test_a_tensor_is_read_from_the_shard_the_index_names(index):
  reference.save_file({"a": 5 * ONES, "c": ONES}, index.parent / "2.safetensors")
  for shard, factor in (("1.safetensors", 1), ("2.safetensors", 5)):
    write_index(index.parent, {"a": shard, "b": "1.safetensors", "c": "2.safetensors"})
    assert_same({"a": tensors.open_tensors(index)["a"].read()}, {"a": factor * ONES})


@pytest.mark.parametrize(
  "shard",
  [
    "3.safetensors",
    "",
    ".",
    "..",
    "folder",
    "../outside.safetensors",
    "folder/../1.safetensors",
    "./1.safetensors",
    "{absolute}",
    "1.safetensors\0",
    "\ud800",
    "x" * 5000,
    None,
    7,
    ["1.safetensors"],
  ],
  ids=lambda shard: repr(shard)[:30],
)
def test_only_shards_beside_an_index_are_opened(index, shard):
  (index.parent / "folder").mkdir()
  outside = index.parent.parent / "outside.safetensors"
  reference.save_file({"d": ONES}, outside)
  shard = str(outside) if shard == "{absolute}" else shard
  write_index(index.parent, {"a": "1.safetensors", "d": shard})
  with pytest.raises(DataError, match=r"index\.json: 1 of its shards are not beside it, first"):
    tensors.open_tensors(index)


def test_a_shard_that_is_a_link_is_read(index):
  """As in the cache of the Hugging Face hub."""
  blob = index.parent.parent / "blob"
  (index.parent / "2.safetensors").rename(blob)
  (index.parent / "2.safetensors").symlink_to(blob)
  assert_same({"c": tensors.open_tensors(index)["c"].read()}, {"c": 3 * ONES})
  blob.unlink()
  with pytest.raises(DataError, match="not beside it"):
    tensors.open_tensors(index)


def test_tensors_that_the_shards_lack_are_counted(index):
  write_index(index.parent, {"a": "2.safetensors", "b": "1.safetensors", "d": "1.safetensors"})
  with pytest.raises(DataError, match=r"names 2 tensors its shards lack, first a$"):
    tensors.open_tensors(index)


def test_a_damaged_shard_is_named(index):
  shard = index.parent / "2.safetensors"
  shard.write_bytes(shard.read_bytes()[:-1])
  with pytest.raises(DataError, match=r"2\.safetensors: cannot be read"):
    tensors.open_tensors(index)


@pytest.mark.parametrize(
  "content",
  [
    b"",
    b"{",
    b"[]",
    b"7",
    b"\xff",
    b"[" * 100_000,
    b"{}",
    b'{"weight_map": null}',
    b'{"weight_map": ["a"]}',
  ],
  ids=lambda content: repr(content)[:30],
)
def test_an_index_that_is_none_is_refused(index, content):
  index.write_bytes(content)
  with pytest.raises(DataError, match="not an index of safetensors shards"):
    tensors.open_tensors(index)

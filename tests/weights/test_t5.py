"""T5 on disk: our file comes back, Hugging Face's folders are read or refused in one line."""

import json
import re
import tracemalloc

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import sentencepiece
from flax import traverse_util
from safetensors import numpy as safetensors

from stemphonic_jax.errors import DataError, MismatchError, MissingError, OutputError
from stemphonic_jax.weights.t5 import (
  find_tokenizer,
  open_huggingface,
  open_text_encoder,
  save_text_encoder,
)
from stemphonic_jax.weights.tensors import Lazy, materialize

CONFIG = {
  "model_type": "t5",
  "d_model": 16,
  "d_kv": 6,
  "d_ff": 24,
  "num_layers": 2,
  "num_heads": 2,
  "vocab_size": 19,
  "feed_forward_proj": "gated-gelu",
}
QUERY = "encoder.block.1.layer.0.SelfAttention.q.weight"


def tensors(config=CONFIG, dtype=np.float32):
  """Random tensors by the names of Hugging Face, kernels [out, in]."""
  width, inner = config["d_model"], config["d_kv"] * config["num_heads"]
  attention = "encoder.block.0.layer.0.SelfAttention"
  shapes = {
    "shared": (config["vocab_size"], width),
    f"{attention}.relative_attention_bias": (32, config["num_heads"]),
    "encoder.final_layer_norm": (width,),
  }
  for i in range(config["num_layers"]):
    block = f"encoder.block.{i}.layer"
    shapes |= {f"{block}.0.SelfAttention.{name}": (inner, width) for name in "qkv"}
    shapes |= {f"{block}.1.DenseReluDense.wi_{i}": (config["d_ff"], width) for i in range(2)}
    shapes |= {
      f"{block}.0.SelfAttention.o": (width, inner),
      f"{block}.0.layer_norm": (width,),
      f"{block}.1.layer_norm": (width,),
      f"{block}.1.DenseReluDense.wo": (width, config["d_ff"]),
    }
  draw = np.random.default_rng(0)
  return {
    f"{name}.weight": draw.standard_normal(shape).astype(dtype) for name, shape in shapes.items()
  }


def save(folder, found=None, config=CONFIG):
  """A folder in one file."""
  folder.mkdir(exist_ok=True)
  (folder / "config.json").write_text(json.dumps(config))
  safetensors.save_file(tensors(config) if found is None else found, folder / "model.safetensors")
  return folder


def save_shards(folder, found):
  """A folder in two files and an index."""
  folder.mkdir()
  (folder / "config.json").write_text(json.dumps(CONFIG))
  shard = {name: f"model-{i % 2 + 1:05}-of-00002.safetensors" for i, name in enumerate(found)}
  for file in set(shard.values()):
    part = {name: found[name] for name in found if shard[name] == file}
    safetensors.save_file(part, folder / file)
  (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shard}))
  return folder


def assert_equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, materialize(a), materialize(b))
  assert [x.dtype for x in jax.tree.leaves(a)] == [x.dtype for x in jax.tree.leaves(b)]


def test_tensors_come_in_our_names_kernels_transposed_and_unread(tmp_path):
  found = tensors()
  weights = open_huggingface(save(tmp_path / "t5", found))
  flat = traverse_util.flatten_dict(weights.params, sep="/")
  assert all(isinstance(leaf, Lazy) for leaf in flat.values())
  block = "encoder.block.1.layer.1.DenseReluDense"
  for ours, theirs in {
    "tokens/embedding": found["shared.weight"],
    "norm/gain": found["encoder.final_layer_norm.weight"],
    "position_bias": found["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"],
    "block_1/self_attention/query/kernel": found[QUERY].T,
    "block_1/feed_forward/gate/kernel": found[f"{block}.wi_0.weight"].T,
    "block_1/feed_forward/in/kernel": found[f"{block}.wi_1.weight"].T,
    "block_1/feed_forward/out/kernel": found[f"{block}.wo.weight"].T,
  }.items():
    assert flat[ours].shape == theirs.shape
    np.testing.assert_array_equal(flat[ours].read(), theirs)


def test_one_file_shards_and_a_decoder_beside_it_are_the_same_encoder(tmp_path):
  found = tensors()
  alone = open_huggingface(save(tmp_path / "alone", found))
  table = found["shared.weight"]
  decoder = {"decoder.block.0.x.weight": table, "lm_head.weight": table}
  twice = {"encoder.embed_tokens.weight": table.copy()}
  renamed = {k: v for k, v in found.items() if k != "shared.weight"} | twice
  for i, other in enumerate([found | decoder, found | twice, renamed]):
    for kind in (save, save_shards):
      weights = open_huggingface(kind(tmp_path / f"{kind.__name__}{i}", other))
      assert weights.config == alone.config
      assert_equal(weights.params, alone.params)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float16])
def test_our_file_gives_back_what_was_saved(tmp_path, dtype):
  source = open_huggingface(save(tmp_path / "t5", tensors(dtype=dtype)))
  path = tmp_path / "text_encoder.safetensors"
  save_text_encoder(path, source)
  again = open_text_encoder(path)
  assert again.config == source.config
  assert_equal(again.params, source.params)
  assert again.build(jnp.bfloat16) == source.build(jnp.bfloat16)
  kept = np.float32 if dtype == np.float16 else dtype
  assert {leaf.dtype for leaf in jax.tree.leaves(again.params)} == {np.dtype(kept)}
  assert again.build().param_dtype == jnp.dtype(kept)

  second = tmp_path / "again.safetensors"
  save_text_encoder(second, again)
  assert second.read_bytes() == path.read_bytes()

  arrays = tmp_path / "arrays.safetensors"
  save_text_encoder(arrays, type(again)(again.config, materialize(again.params)))
  assert arrays.read_bytes() == path.read_bytes()


def test_one_part_in_float32_makes_it_float32_without_loss(tmp_path):
  found = tensors(dtype=ml_dtypes.bfloat16)
  found[QUERY] = found[QUERY].astype(np.float32)
  weights = open_huggingface(save(tmp_path / "t5", found))
  assert weights.config["param_dtype"] == "float32"
  table = weights.params["tokens"]["embedding"].read()
  np.testing.assert_array_equal(table, found["shared.weight"].astype(np.float32))


def test_converting_takes_the_memory_of_the_largest_tensor_not_of_the_file(tmp_path):
  config = CONFIG | {"num_layers": 12, "d_model": 192, "d_ff": 1536, "vocab_size": 6000}
  folder = save(tmp_path / "t5", tensors(config), config)
  size, largest = (folder / "model.safetensors").stat().st_size, 4 * 192 * 6000
  assert size > 9 * largest
  open_huggingface(folder)  # traced once, outside of the measurement
  tracemalloc.start()
  try:
    save_text_encoder(tmp_path / "out.safetensors", open_huggingface(folder))
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 2.5 * largest, "one as it is read and as it is written, and a little besides"


def edited(**changes):
  return {k: v for k, v in (CONFIG | changes).items() if v is not None}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model_type": "umt5"}, r"model_type is 'umt5', expected 't5'"),
    ({"model_type": "clip_text_model"}, r"model_type is 'clip_text_model'"),
    ({"model_type": None}, r"model_type is None"),
    ({"feed_forward_proj": "gated-silu"}, r"is 'gated-silu', expected relu or gated-gelu"),
    ({"feed_forward_proj": ["relu"]}, r"feed_forward_proj is \['relu'\]"),
    ({"d_model": None}, r"d_model is None, expected a whole number"),
    ({"d_model": "16"}, r"d_model is '16'"),
    ({"d_model": 16.0}, r"d_model is 16\.0"),
    ({"num_heads": True}, r"num_heads is True"),
    ({"num_layers": 0}, r"num_layers is 0"),
    ({"num_layers": 1 << 19}, r"tensors are too few for 524288 blocks"),
    ({"vocab_size": 10**30}, r"vocab_size is 10+, expected a whole number, 1 to 1048576"),
    ({"relative_attention_num_buckets": 2}, r"relative_attention_num_buckets is 2, .* least 4"),
    ({"relative_attention_max_distance": 8}, r"relative_attention_max_distance is 8, .* than 8"),
    ({"layer_norm_epsilon": 0}, r"layer_norm_epsilon is 0, expected a small positive number"),
    ({"layer_norm_epsilon": float("nan")}, r"epsilon is nan"),
    # Sizes that the tensors do not have.
    ({"vocab_size": 20}, r"shared\.weight: file \(19, 16\) float32, model \(20, 16\) float32"),
    ({"d_model": 8}, r"20 tensors do not fit; .*\.q\.weight: file \(12, 16\) .* \(12, 8\)"),
    ({"num_layers": 3}, r"encoder\.block\.2\.layer\.0\.SelfAttention\.k\.weight: file lacks it"),
    ({"num_layers": 1}, r"encoder\.block\.1\.layer\.0.*, model lacks it"),
    ({"feed_forward_proj": "relu"}, r"wi\.weight: file lacks it"),
  ],
)
def test_another_model_or_a_config_that_does_not_fit_is_refused(tmp_path, changes, message):
  folder = save(tmp_path / "t5")
  (folder / "config.json").write_text(json.dumps(edited(**changes)))
  refused(MismatchError, 78, message, folder)


def without(found, name):
  return {k: v for k, v in found.items() if k != name}


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda found: without(found, QUERY), f"{QUERY}: file lacks it"),
    (lambda found: without(found, "shared.weight"), "shared.weight: file lacks it"),
    (lambda found: found | {QUERY: found[QUERY].T.copy()}, r"q.weight: file \(16, 12\) float32"),
    (lambda found: found | {"lora_A": found[QUERY]}, r"lora_A: file \(12, 16\) .*model lacks it"),
    (lambda found: found | {"tokens": found[QUERY]}, "tokens: file"),
    (lambda found: found | {QUERY: found[QUERY].astype(np.float64)}, "float64, model .* float32"),
    (lambda found: found | {QUERY: found[QUERY].astype(np.int64)}, "int64, model .* float32"),
    (lambda found: {k: v.astype(np.int32) for k, v in found.items()}, "int32, model .* float32"),
    (lambda found: {"down.lora_A.weight": found[QUERY]}, "1 tensors are too few"),
    (lambda found: {f"blocks.{i}": found[QUERY] for i in range(50)}, "tensors do not fit"),
  ],
)
def test_tensors_missing_left_over_misshapen_or_of_another_type_are_named(
  tmp_path, change, message
):
  refused(MismatchError, 78, message, save(tmp_path / "t5", change(tensors())))


def refused(kind, code, message, folder):
  with pytest.raises(kind, match=message) as error:
    open_huggingface(folder)
  assert error.value.exit_code == code
  assert "\n" not in str(error.value)
  assert str(error.value).startswith(str(folder))


def test_absent_files_are_named_with_what_to_do(tmp_path):
  refused(MissingError, 66, "no such folder", tmp_path / "nowhere")
  folder = save(tmp_path / "t5")
  (folder / "model.safetensors").unlink()
  refused(MissingError, 66, "model.safetensors is missing", folder)
  (folder / "pytorch_model.bin").touch()
  refused(MissingError, 66, "with `stemphonic bundle convert`", folder)
  (folder / "config.json").unlink()
  refused(MissingError, 66, "config.json: missing", folder)


def test_an_index_of_absent_shards_is_refused(tmp_path):
  folder = save_shards(tmp_path / "t5", tensors())
  (folder / "model-00002-of-00002.safetensors").unlink()
  refused(DataError, 65, "first 'model-00002-of-00002.safetensors'", folder)
  index = folder / "model.safetensors.index.json"
  index.write_text("{")
  refused(DataError, 65, "not an index", folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000])
def test_a_config_that_is_not_json_is_refused(tmp_path, content):
  folder = save(tmp_path / "t5")
  (folder / "config.json").write_bytes(content)
  refused(DataError, 65, r"config\.json: the architecture is not", folder)


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, 0.999])
def test_a_file_cut_off_is_refused_unread(tmp_path, kept):
  folder = save(tmp_path / "t5")
  path = folder / "model.safetensors"
  data = path.read_bytes()
  path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
  refused(DataError, 65, r"model\.safetensors: cannot be read", folder)

  ours = tmp_path / "text_encoder.safetensors"
  save_text_encoder(ours, open_huggingface(save(tmp_path / "whole")))
  data = ours.read_bytes()
  ours.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
  with pytest.raises(DataError, match="cannot be read"):
    open_text_encoder(ours)


def rewrite(path, config=None, change=lambda found: found):
  """Our file again, by another writer, with another architecture or other tensors."""
  found = change(safetensors.load_file(path))
  safetensors.save_file(found, path, None if config is None else {"t5": config})


@pytest.mark.parametrize(
  ("damage", "kind", "message"),
  [
    (lambda path, config: rewrite(path), MismatchError, "no text encoder of a bundle"),
    (lambda path, config: rewrite(path, "{"), DataError, "architecture is not JSON"),
    (lambda path, config: rewrite(path, "[]"), DataError, "not a JSON object"),
    (lambda path, config: rewrite(path, "{}"), MismatchError, "vocabulary is None"),
    (
      lambda path, config: rewrite(path, json.dumps(config | {"param_dtype": "int8"})),
      MismatchError,
      "param_dtype is 'int8', expected float32 or bfloat16",
    ),
    (
      lambda path, config: rewrite(path, json.dumps(config | {"gated": 1})),
      MismatchError,
      "gated is 1, expected true or false",
    ),
    (
      lambda path, config: rewrite(path, json.dumps(config | {"parent": 1})),
      MismatchError,
      "'parent' is no word",
    ),
    (
      lambda path, config: rewrite(path, json.dumps(config | {"param_dtype": "bfloat16"})),
      MismatchError,
      "float32, model .* bfloat16",
    ),
    (
      lambda path, config: rewrite(
        path, json.dumps(config), lambda found: without(found, "norm/gain")
      ),
      MismatchError,
      "norm/gain: file lacks it",
    ),
    (lambda path, config: path.unlink(), MissingError, "no such file"),
  ],
)
def test_our_file_is_refused_where_it_is_not_whole(tmp_path, damage, kind, message):
  weights = open_huggingface(save(tmp_path / "t5"))
  path = tmp_path / "text_encoder.safetensors"
  save_text_encoder(path, weights)
  damage(path, dict(weights.config))
  with pytest.raises(kind, match=message) as error:
    open_text_encoder(path)
  assert "\n" not in str(error.value)


def test_nothing_is_left_where_it_cannot_be_written(tmp_path):
  weights = open_huggingface(save(tmp_path / "t5"))
  with pytest.raises(OutputError, match="cannot be written"):
    save_text_encoder(tmp_path / "nowhere" / "text_encoder.safetensors", weights)


def test_the_tokenizer_is_spiece_model(tmp_path):
  (tmp_path / "tokenizer.json").write_text("{}")
  with pytest.raises(DataError, match=re.escape(f"{tmp_path}/spiece.model: missing")):
    find_tokenizer(tmp_path)
  (tmp_path / "spiece.model").write_bytes(b"no model")
  with pytest.raises(DataError, match="not a sentencepiece model"):
    find_tokenizer(tmp_path)
  with (tmp_path / "spiece.model").open("wb") as file:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(["warm funk drums", "dark jazz bass"]),
      model_writer=file,
      vocab_size=40,
      hard_vocab_limit=False,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      minloglevel=2,
    )
  tokens, mask = find_tokenizer(tmp_path).encode(["funk drums"], 32)
  assert tokens[0, mask[0].sum() - 1] == 1

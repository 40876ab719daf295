"""T5 against transformers': hidden states of folders it saved, and the ids of its tokenizer."""

import json
import random

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import sentencepiece

from stemphonic_jax.data.batching.prompts import stem_prompt
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.models.t5 import position_bucket
from stemphonic_jax.weights.t5 import find_tokenizer, open_huggingface
from stemphonic_jax.weights.tensors import materialize

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
modeling = pytest.importorskip("transformers.models.t5.modeling_t5")

# Heads together as wide as the model, narrower, and wider with few buckets.
SHAPES = [
  {"d_model": 32, "num_heads": 4, "d_kv": 8, "d_ff": 64, "num_layers": 2},
  {"d_model": 24, "num_heads": 2, "d_kv": 8, "d_ff": 40, "num_layers": 3},
  {
    "d_model": 16,
    "num_heads": 3,
    "d_kv": 8,
    "d_ff": 56,
    "num_layers": 1,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
  },
]
TOKENS, LENGTHS = 97, (21, 9, 1)


def reference(layers, kind=transformers.T5EncoderModel, **shape):
  torch.manual_seed(0)
  config = transformers.T5Config(vocab_size=TOKENS, feed_forward_proj=layers, **shape)
  model = kind(config).eval()
  for name, parameter in model.named_parameters():
    if "layer_norm" in name:  # they start at one, which would hide a missing gain
      torch.nn.init.normal_(parameter, 1.0, 0.3)
    if "relative_attention_bias" in name:  # so that places matter
      torch.nn.init.normal_(parameter, 0.0, 2.0)
  return model


def texts():
  tokens = np.random.default_rng(0).integers(2, TOKENS, (len(LENGTHS), max(LENGTHS)), np.int32)
  mask = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
  return np.where(mask, tokens, 0).astype(np.int32), mask


def theirs(model):
  """Their last hidden states, with padding set to zero, as Stable Audio does."""
  tokens, mask = texts()
  encoder = model if isinstance(model, transformers.T5EncoderModel) else model.encoder
  with torch.no_grad():
    out = encoder(torch.from_numpy(tokens).long(), torch.from_numpy(mask).long())
  return out.last_hidden_state.float().numpy() * mask[..., None]


def ours(folder):
  weights = open_huggingface(folder)
  params = jax.tree.map(jnp.asarray, materialize(weights.params))
  apply = jax.jit(weights.build().apply)
  return weights, np.asarray(apply({"params": params}, *map(jnp.asarray, texts())))


def relative_error(got, expected):
  return np.abs(got - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("layers", ["relu", "gated-gelu"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape["d_model"]))
@pytest.mark.parametrize("shard", ["1GB", "10KB"])
def test_same_hidden_states_as_transformers(layers, shape, shard, tmp_path):
  model = reference(layers, **shape)
  model.save_pretrained(tmp_path, max_shard_size=shard)
  assert (tmp_path / "model.safetensors").exists() == (shard == "1GB")
  weights, hidden = ours(tmp_path)
  assert weights.config["param_dtype"] == "float32"
  assert relative_error(hidden, theirs(model)) < 1e-4


def test_of_a_whole_t5_the_encoder_is_read(tmp_path):
  model = reference("gated-gelu", transformers.T5ForConditionalGeneration, **SHAPES[1])
  model.save_pretrained(tmp_path, max_shard_size="20KB")
  weights, hidden = ours(tmp_path)
  assert set(weights.params) == {
    "tokens", "position_bias", "norm", "block_0", "block_1", "block_2"
  }  # fmt: skip
  assert relative_error(hidden, theirs(model)) < 1e-4


def test_a_config_of_defaults_is_completed(tmp_path):
  """As the first T5 were published: no kind of layer, no farthest distance."""
  model = reference("relu", **SHAPES[0])
  model.save_pretrained(tmp_path)
  path = tmp_path / "config.json"
  absent = {
    "feed_forward_proj", "relative_attention_max_distance", "relative_attention_num_buckets",
    "layer_norm_epsilon",
  }  # fmt: skip
  path.write_text(
    json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in absent})
  )
  assert relative_error(ours(tmp_path)[1], theirs(model)) < 1e-4


def test_bfloat16_stays_and_half_precision_becomes_float32(tmp_path):
  model = reference("gated-gelu", **SHAPES[0])
  exact = theirs(model)
  for dtype, kept in ((torch.bfloat16, ml_dtypes.bfloat16), (torch.float16, np.float32)):
    folder = tmp_path / str(dtype)
    model.to(dtype).save_pretrained(folder)
    weights, hidden = ours(folder)
    assert {leaf.dtype for leaf in jax.tree.leaves(weights.params)} == {np.dtype(kept)}
    assert 0 < relative_error(hidden, exact) < 3e-2
    # Theirs with the same rounded weights and exact arithmetic.
    assert relative_error(hidden, theirs(model.float())) < 1e-4


@pytest.mark.parametrize(
  ("buckets", "distance"), [(32, 128), (32, 64), (20, 50), (8, 16), (33, 99)]
)
def test_every_distance_falls_in_their_bucket(buckets, distance):
  offset = np.arange(-600, 601)[None]
  bucket = modeling.T5Attention._relative_position_bucket
  expected = bucket(torch.from_numpy(offset), True, buckets, distance).numpy()
  np.testing.assert_array_equal(position_bucket(offset, buckets, distance), expected)


# What the strings are put together from; each line is one kind of text. No letter has two marks,
# and none of full or half width has one: the Rust tokenizer loses some of these, sentencepiece,
# which T5 was trained with, composes them. Nor is U+0085 here, a space to Rust alone.
PIECES = [
  ["warm", "tight", "funk", "jazz", "drums", "bass,", "piano's", "synth-pop", "120bpm", "C#m."],
  list("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789 .,;:!?'\"()[]{}<>&%$#@*+-=/\\|~^_`"),
  ["café", "naïve", "señor", "Größe", "où", "Ångström", "œuvre", "æ", "ß", "ø", "ž", "İ", "ı"],
  ["e\u0301", "a\u0308", "o\u0302", "n\u0303", "u", "x ", "A\u030a"],
  ["🎸", "🥁🎹", "👩\u200d🎤", "👨\u200d👩\u200d👧", "🇩🇪", "❤\ufe0f", "👍🏽", "solo", " "],
  ["a", "b", " ", "  ", "   ", "\t", "\n", "\r\n", "\x0b", "\x0c"],
  ["ｆｕｎｋ", "ＡＢＣ", "１２３", "！", "\u3000", "ﾛｯｸ", "ﬁ", "ﬂ", "½", "²", "™", "№", "㎏", "Ⅳ"],
  ["x\u200by", "a\u200cb", "y\u200dz", "\ufeffq", "l\xa0m", "\u2003s", "\u2028", "\u2029", "\xadk"],
  ["静かな", "夜の", "音楽", "ロック", "가", "각", "한국어", "安静的", "爵士", "、", "。"],
  ["مرحبا", "שלום", "Привет", "Ελλάδα", "हिन्दी", "ไทย", " "],
  ["▁", "_", "–", "—", "…", "“", "”", "«", "»", "‑", "ªº", "♯", "♭", "𝄞", "𝔉", "𝟙", "a"],
  ["\x00", "\x01", "\x07", "\x1f", "\x7f", "\ue000", "\ufffd", "end", " "],
]
SPACES = ["", " ", "     ", "\t", "\n\n", "  both  ends  ", "\tTabs\tand\nlines\r\n"]
LONG = ["drums " * 200, "a" * 3000, "🥁" * 300, "静" * 300, " x" * 126, " x" * 127, " x" * 128]
SINGLE = [*SPACES, *LONG, "a", "é", "e\u0301", "🎸"]


def strings():
  draw = random.Random(0)
  kinds = [stem_prompt(kind, "Tight funk, 96 BPM", ("drums",)) for kind in STEM_TYPES]
  drawn = []
  while len(SINGLE) + len(kinds) + len(drawn) < 500:
    # Half of one kind of text, half of several with a space between.
    lines = [draw.choice(PIECES) for _ in range(draw.choice((1, 1, 2, 4)))]
    gap = draw.choice(("", " ")) if len(lines) == 1 else " "
    words = ("".join(draw.choices(line, k=draw.randint(1, 12))) for line in lines)
    drawn.append(gap.join(words))
  return SINGLE + kinds + drawn


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
  """A sentencepiece model with the settings of T5's, opened by us and by them."""
  folder = tmp_path_factory.mktemp("tokenizer")
  draw = random.Random(1)
  corpus = [" ".join(draw.choices(draw.choice(PIECES), k=8)) for _ in range(3000)]
  with (folder / "spiece.model").open("wb") as file:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(corpus),
      model_writer=file,
      model_type="unigram",
      vocab_size=600,
      hard_vocab_limit=False,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      minloglevel=2,
    )
  return find_tokenizer(folder), transformers.T5Tokenizer.from_pretrained(folder)


def test_same_ids_as_transformers_on_500_strings(tokenizers):
  ours, theirs = tokenizers
  given = strings()
  assert len(given) == 500
  tokens, mask = ours.encode(given, 128)
  expected = theirs(
    given, max_length=128, padding="max_length", truncation=True, return_tensors="np"
  )
  wrong = [
    text for text, *rows in zip(given, tokens, expected["input_ids"], strict=True)
    if not np.array_equal(*rows)
  ]  # fmt: skip
  assert wrong == []
  np.testing.assert_array_equal(mask, expected["attention_mask"].astype(bool))
  assert len(np.unique(tokens)) > 200, "most of the vocabulary is met"
  assert mask.all(1).sum() >= 5, "some are cut"


def test_names_of_special_tokens_are_plain_text_to_us(tokenizers):
  """Theirs ends a prompt wherever a user writes </s>; ours has one end, the last."""
  tokens, mask = tokenizers[0].encode(["a </s> b <pad> c"], 64)
  (ids,) = tokens[mask][None]
  assert ids[-1] == 1
  assert not np.isin(ids[:-1], (0, 1)).any()

"""CLAP against transformers': embeddings of files that it saved, and the ids of its tokenizer."""

import json
import random
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.data.bpe import BytePairs
from stemphonic_jax.evaluation.judges import clap
from stemphonic_jax.weights.clap import open_clap
from stemphonic_jax.weights.tensors import materialize
from tests.parity.test_t5 import PIECES, SINGLE

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

# Bands, width of a patch, depths, heads, frames: stretched, shifted and merged; three stages and no
# need to stretch; bands, frames and stages of the public models.
SHAPES = [
  (16, 16, (2, 2), (2, 4), 251),
  (32, 8, (1, 2, 1), (1, 2, 4), 512),
  (64, 4, (1, 1, 1, 1), (1, 2, 2, 4), 1001),
]
EPSILON = 1e-5


def reference(bands, width, depths, heads, vocabulary=300):
  torch.manual_seed(0)
  audio = {
    "spec_size": 4 * bands, "num_mel_bins": bands, "patch_embeds_hidden_size": width,
    "depths": list(depths), "num_attention_heads": list(heads),
    "hidden_size": width << (len(depths) - 1),
  }  # fmt: skip
  text = {
    "vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 96, "max_position_embeddings": 40, "layer_norm_eps": EPSILON,
  }  # fmt: skip
  config = transformers.ClapConfig(audio_config=audio, text_config=text, projection_dim=24)
  model = transformers.ClapModel(config).eval()
  for name, weight in [*model.named_parameters(), *model.named_buffers()]:
    if re.search(r"norm.*weight|LayerNorm.weight|running_var", name):
      torch.nn.init.uniform_(weight, 0.5, 1.5)
    elif "relative_position_bias_table" in name:  # so that places matter
      torch.nn.init.normal_(weight)
    elif weight.is_floating_point():
      torch.nn.init.normal_(weight, std=0.3 if weight.ndim < 2 else weight.shape[-1] ** -0.5)
  return model


def laion(model):
  """The state of a model under LAION's names, with some of what lies beside it there."""
  state, found = model.state_dict(), {}
  for name in list(state):
    if match := re.fullmatch(r"(.*blocks.*)\.attention\.self\.query\.(\w+)", name):
      parts = [f"{match[1]}.attention.self.{part}.{match[2]}" for part in ("query", "key", "value")]
      found[f"{match[1]}.attn.qkv.{match[2]}"] = torch.cat([state.pop(part) for part in parts])
  for name, tensor in (state | found).items():
    for theirs, ours in (
      (r"^audio_model\.audio_encoder", "audio_branch"),
      (r"^text_model", "text_branch"),
      (r"\.batch_norm\.", ".bn0."),
      (r"layernorm_before", "norm1"),
      (r"layernorm_after", "norm2"),
      (r"attention\.self\.relative", "attn.relative"),
      (r"(blocks.*)attention\.output\.dense", r"\1attn.proj"),
      (r"(blocks.*)intermediate\.dense", r"\1mlp.fc1"),
      (r"(blocks.*)output\.dense", r"\1mlp.fc2"),
      (r"linear1", "0"),
      (r"linear2", "2"),
    ):
      name = re.sub(theirs, ours, name)
    found[name] = tensor
  beside = ("audio_branch.tscam_conv.bias", "audio_branch.head.bias", "audio_transform.fc1.bias")
  beside += ("audio_branch.spectrogram_extractor.stft.conv_real.weight", "logit_scale_t")
  found |= {name: torch.ones(2) for name in beside}
  kept = {
    name: tensor for name, tensor in found.items() if ".self.key" not in name or "text" in name
  }
  return {f"module.{name}": tensor for name, tensor in kept.items()}


def words():
  """A vocabulary of every byte, without merges."""
  from stemphonic_jax.data.bpe import LETTERS

  pieces = ["<s>", "<pad>", "</s>", "<unk>", *LETTERS.values()]
  return {piece: i for i, piece in enumerate(pieces)}


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: f"{len(shape[2])}-{shape[0]}")
def saved(request, tmp_path_factory):
  """A model in both layouts, and what it hears and reads."""
  *shape, frames = request.param
  model, folder = reference(*shape), tmp_path_factory.mktemp("clap")
  model.save_pretrained(folder / "huggingface")
  (folder / "laion").mkdir()
  rest = {"epoch": 15, "optimizer": {"param_groups": [{"lr": np.cos(1.0)}]}}
  torch.save(rest | {"state_dict": laion(model)}, folder / "laion" / "music.pt")
  for name in ("huggingface", "laion"):
    (folder / name / "vocab.json").write_text(json.dumps(words()))
    (folder / name / "merges.txt").write_text("#version: 0.2\n")
  draw = np.random.default_rng(0)
  slopes = np.multiply.outer([-40, 40], np.linspace(-1, 1, shape[0]))[:, None]
  mel = (draw.normal(-30, 20, (2, frames, shape[0])) + slopes).astype(np.float32)
  tokens = draw.integers(4, 300, (3, 30)).astype(np.int32)
  mask = np.arange(30) < np.array([30, 11, 2])[:, None]
  tokens = np.where(mask, tokens, 1)
  with torch.no_grad():
    heard = model.get_audio_features(torch.from_numpy(mel)[:, None]).pooler_output
    read = model.get_text_features(torch.from_numpy(tokens).long(), torch.from_numpy(mask).long())
  return folder, (mel, tokens, mask), (heard.numpy(), read.pooler_output.numpy())


def test_embeddings_are_those_of_transformers(saved):
  folder, (mel, tokens, mask), expected = saved
  found = open_clap(folder / "huggingface")
  assert found.model.text.epsilon == EPSILON
  params = {"params": materialize(found.params, jnp.asarray)}
  heard = jax.jit(lambda x: found.model.apply(params, x, method="embed_audio"))(mel)
  np.testing.assert_allclose(heard, expected[0], atol=1e-5, rtol=0)
  np.testing.assert_allclose(np.linalg.norm(heard, axis=1), 1, atol=1e-6)
  assert np.abs(heard[0] - heard[1]).max() > 0.01, "different clips are heard as such"
  if len(found.model.audio.depths) > 2:  # of the shapes, one will do
    return
  read = jax.jit(lambda *x: found.model.apply(params, *x, method="embed_text"))(tokens, mask)
  np.testing.assert_allclose(read, expected[1], atol=1e-5, rtol=0)
  of_laion = open_clap(folder / "laion")
  assert of_laion.model.audio == found.model.audio
  jax.tree.map(np.testing.assert_array_equal, materialize(of_laion.params), params["params"])


def test_without_an_epsilon_a_config_has_theirs(tmp_path):
  model = reference(16, 8, (1,), (1,))
  model.config.text_config.layer_norm_eps = 1e-12
  model.save_pretrained(tmp_path)
  (tmp_path / "vocab.json").write_text(json.dumps(words()))
  (tmp_path / "merges.txt").touch()
  assert open_clap(tmp_path).model.text.epsilon == 1e-12


def test_spectrograms_are_those_of_transformers():
  t = np.arange(13 * 48_000) / 48_000
  clip = 0.3 * np.cos(2 * np.pi * (100 * t + 200 * t**2)) + 0.1 * np.random.default_rng(0).normal(
    size=len(t)
  )
  extractor = transformers.ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc")
  for cut in (clip, clip[: 3 * 48_000 + 7], clip[: 10 * 48_000]):
    found = clap.spectrograms(cut.astype(np.float32), 48_000)
    starts = clap.starts(len(cut))
    assert len(found) == len(starts)
    for start, mel in zip(starts, found, strict=True):
      sixteen = np.trunc(np.float32(cut[start:][:480_000]) * np.float32(32767)) / 32767
      expected = extractor(sixteen, sampling_rate=48_000, return_tensors="np")["input_features"]
      loud = expected[0, 0] > -60
      assert loud.mean() > 0.9
      np.testing.assert_allclose(mel[loud], expected[0, 0][loud], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  """Byte pairs learnt from all kinds of text, opened by us, twice, and by them."""
  folder = tmp_path_factory.mktemp("bpe")
  draw = random.Random(1)
  corpus = [" ".join(draw.choices(draw.choice(PIECES), k=8)) for _ in range(2000)]
  corpus += ["drums don't stop, they've 120 BPM; we'll see it's 4/4"] * 20
  trained = tokenizers.ByteLevelBPETokenizer()
  special = ["<s>", "<pad>", "</s>", "<unk>"]
  trained.train_from_iterator(corpus, vocab_size=900, special_tokens=special, show_progress=False)
  trained.save_model(str(folder))
  theirs = transformers.RobertaTokenizer.from_pretrained(folder)
  whole = folder / "whole"
  theirs.save_pretrained(whole)
  assert (whole / "tokenizer.json").is_file()
  for name in ("vocab.json", "merges.txt"):
    (whole / name).unlink(missing_ok=True)
  return BytePairs.load(folder), BytePairs.load(whole), theirs


def strings():
  draw = random.Random(0)
  drawn = [*SINGLE, "don't", "DON'T 'tis 'Re'll'd", "12½ ²", "a\x1cb \x85 c", "  x", "x  ", "'"]
  assigned = [chr(c) for c in range(1, 0x3000) if chr(c).isprintable() or chr(c).isspace()]
  while len(drawn) < 2000:
    if len(drawn) % 4 == 0:
      drawn.append("".join(draw.choices(assigned, k=draw.randint(1, 20))))
      continue
    lines = [draw.choice(PIECES) for _ in range(draw.choice((1, 1, 2, 4)))]
    drawn.append(
      draw.choice(("", " ")).join(
        "".join(draw.choices(line, k=draw.randint(1, 9))) for line in lines
      )
    )
  return drawn


def test_same_ids_as_transformers_on_2000_strings(pair):
  ours, again, theirs = pair
  given = strings()
  assert len(given) == 2000
  tokens, mask = ours.encode(given, 77)
  expected = theirs(
    given, max_length=77, padding="max_length", truncation=True, return_tensors="np"
  )
  wrong = [
    text for text, *rows in zip(given, tokens, expected["input_ids"], strict=True)
    if not np.array_equal(*rows)
  ]  # fmt: skip
  assert wrong == []
  np.testing.assert_array_equal(mask, expected["attention_mask"].astype(bool))
  np.testing.assert_array_equal(again.encode(given[:200], 77)[0], tokens[:200])
  assert len(np.unique(tokens)) > 500, "most of the vocabulary is met"
  assert mask.all(1).sum() >= 5, "some are cut"

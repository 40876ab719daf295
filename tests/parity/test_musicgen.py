"""MusicGen against transformers': logits and greedy codes of folders it saved, in both layouts."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.generation.musicgen import MusicGen
from stemphonic_jax.models.musicgen import for_decoding
from stemphonic_jax.tokens.decoding import decode
from stemphonic_jax.weights.musicgen import PLACES, open_musicgen
from stemphonic_jax.weights.musicgen_folder import open_folder
from stemphonic_jax.weights.t5 import find_tokenizer
from stemphonic_jax.weights.tensors import materialize, save_params
from tests.parity import peers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

STREAMS, VOCABULARY, WIDTH, TEXT, FRAMES = 4, 32, 24, 16, 64
TOKENS = np.array([[5, 9, 2, 7, 1], [3, 8, 1, 0, 0]], np.int32)  # ids of two texts
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
  """What is this small goes faster so, and threads that wait for each other cost time too."""
  threads = torch.get_num_threads()
  torch.set_num_threads(1)
  yield
  torch.set_num_threads(threads)


@functools.cache
def reference():
  torch.manual_seed(0)
  model = transformers.MusicgenForConditionalGeneration(
    text_encoder=transformers.T5EncoderModel(
      transformers.T5Config(
        vocab_size=128, d_model=TEXT, d_kv=8, d_ff=32, num_heads=2, num_layers=1
      )
    ),
    audio_encoder=transformers.EncodecModel(
      transformers.EncodecConfig(
        sampling_rate=32000, hidden_size=8, num_filters=2, upsampling_ratios=[8, 5, 4, 4],
        codebook_size=VOCABULARY, target_bandwidths=[1.0], use_causal_conv=False,
        use_conv_shortcut=False,
      )
    ),
    decoder=transformers.MusicgenForCausalLM(
      transformers.MusicgenDecoderConfig(
        vocab_size=VOCABULARY, pad_token_id=VOCABULARY, bos_token_id=VOCABULARY,
        hidden_size=WIDTH, ffn_dim=80, num_hidden_layers=2, num_attention_heads=4,
        num_codebooks=STREAMS, dropout=0.0,
      )
    ),
  ).eval()  # fmt: skip
  with torch.no_grad():
    for name, weight in [
      *model.decoder.named_parameters(),
      *model.enc_to_dec_proj.named_parameters(),
    ]:
      spread = 0.3 if "norm" in name else 1.0 if weight.ndim == 1 else weight.shape[-1] ** -0.5
      torch.nn.init.normal_(weight, float("layer_norm.weight" in name), spread)
  for layer in model.audio_encoder.quantizer.layers:  # zeros at first
    torch.nn.init.normal_(layer.codebook.embed)
  # Without a choice transformers looks at all columns, later ones too.
  model.decoder.config._attn_implementation = "eager"
  for config in (model.generation_config, model.decoder.generation_config):
    config.pad_token_id = config.bos_token_id = config.decoder_start_token_id = VOCABULARY
  return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """In shards, as the larger public ones are, and with their table of places."""
  folder = tmp_path_factory.mktemp("musicgen")
  reference().save_pretrained(folder, max_shard_size="80KB")
  index = folder / "model.safetensors.index.json"
  content = json.loads(index.read_text())
  content["weight_map"][PLACES] = "places.safetensors"
  index.write_text(json.dumps(content))
  save_params(folder / "places.safetensors", {PLACES: np.zeros((9, WIDTH), np.float32)})
  (folder / "spiece.model").write_bytes(peers.sentencepiece_model())
  return folder


@pytest.fixture(scope="module")
def weights(folder):
  found = open_musicgen(folder)
  assert found.delays == (0, 1, 2, 3)
  return found.model, materialize(found.params, jax.device_put)


def states():
  """Their text before its projection: zeros where padded, as T5 is used by us."""
  with torch.no_grad():
    hidden = reference().text_encoder(torch.from_numpy(TOKENS).long(), torch.from_numpy(MASK))
  return hidden.last_hidden_state


def relative_error(got, expected):
  return np.abs(got - expected).max() / np.abs(expected).max()


def test_same_logits_as_transformers(weights):
  """With padding that takes part as in audiocraft, or as in Hugging Face's not; and no text."""
  model, params = weights
  codes = np.random.default_rng(0).integers(0, VOCABULARY + 1, (2, STREAMS, 11))
  text, decoder, mask = states(), reference().decoder, torch.from_numpy(MASK)
  with torch.no_grad():
    projected = reference().enc_to_dec_proj(text) * mask[..., None]
    read = functools.partial(decoder, torch.from_numpy(codes).reshape(2 * STREAMS, -1))
    cases = {
      (False, True): read(encoder_hidden_states=projected),
      (True, True): read(encoder_hidden_states=projected, encoder_attention_mask=mask),
      (False, False): read(),  # no cross-attention at all
    }
  apply = jax.jit(lambda model, *given: model.apply({"params": params}, *given), static_argnums=0)
  for (masks_text, has_text), theirs in cases.items():
    ours = apply(
      model.clone(masks_text=masks_text),
      jnp.asarray(codes),
      jnp.asarray(text.numpy()),
      jnp.asarray(MASK & has_text),
    )
    expected = theirs.logits.reshape(2, STREAMS, 11, -1).transpose(1, 2).numpy()
    assert relative_error(np.asarray(ours), expected) < 1e-4


@pytest.mark.parametrize(("guidance", "beginning"), [(1.0, 0), (3.0, 9)])
def test_same_greedy_codes_as_transformers(weights, guidance, beginning):
  model, params = weights
  prompt = np.random.default_rng(1).integers(0, VOCABULARY, (2, STREAMS, beginning))
  kept = {}

  def keep(codes, audio_scales):
    kept["codes"] = codes[0].numpy()
    raise StopIteration  # what it decodes to is the codec's

  given = {"decoder_input_ids": torch.from_numpy(prompt).reshape(2 * STREAMS, -1)}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reference().audio_encoder, "decode", keep)
    with pytest.raises(StopIteration):
      reference().generate(
        input_ids=torch.from_numpy(TOKENS).long(),
        attention_mask=torch.from_numpy(MASK).long(),
        do_sample=False,
        guidance_scale=guidance,
        max_length=FRAMES + STREAMS,
        **given if beginning else {},
      )
  assert kept["codes"].shape == (2, STREAMS, FRAMES)

  codes = np.zeros((2, STREAMS, FRAMES), np.int32)
  codes[..., :beginning] = prompt
  run = functools.partial(
    decode, model.clone(masks_text=True), delays=(0, 1, 2, 3), guided=guidance != 1, top_k=1,
    beginning=beginning,
  )  # fmt: skip
  ours = jax.jit(run)(
    jax.jit(for_decoding)(params),
    jax.random.split(jax.random.key(0), 2),
    jnp.asarray(states().numpy()),
    jnp.asarray(MASK),
    jnp.asarray(codes),
    jnp.broadcast_to(jnp.arange(FRAMES) < beginning, codes.shape),
    guidance,
  )
  np.testing.assert_array_equal(ours, kept["codes"])
  assert len(np.unique(kept["codes"])) > 5


def test_same_music_as_transformers(folder):
  """A text, through T5, the network and the codec, to samples."""
  prompt, frames = peers.PROMPTS[0], 8
  model = MusicGen(open_folder(folder))
  seconds = frames * 640 / model.rate
  (music,) = model.generate([prompt], seconds, top_k=1)
  ids = find_tokenizer(folder).encode([prompt], 128)
  with torch.no_grad():
    theirs = reference().generate(
      input_ids=torch.from_numpy(ids[0][:, ids[1][0]]).long(),
      attention_mask=torch.ones(1, int(ids[1].sum()), dtype=torch.long),
      do_sample=False,
      guidance_scale=3.0,
      max_length=frames + STREAMS,
    )
  assert music["mix"].shape == (frames * 640, 1)
  assert relative_error(music["mix"][:, 0], theirs[0, 0].numpy()) < 1e-4


def test_audiocraft_s_file_is_the_same_network(weights, tmp_path):
  model, params = weights
  theirs = reference().state_dict()
  state = {}
  for name, tensor in theirs.items():
    if name.startswith("enc_to_dec_proj"):
      description = "condition_provider.conditioners.description.output_proj"
      state[name.replace("enc_to_dec_proj", description)] = tensor
    if not name.startswith("decoder."):
      continue
    new = name.removeprefix("decoder.").replace("model.decoder.", "")
    for old, other in (
      ("embed_tokens.", "emb."), ("lm_heads.", "linears."), ("layers.", "transformer.layers."),
      ("encoder_attn_layer_norm", "norm_cross"), ("self_attn_layer_norm", "norm1"),
      ("final_layer_norm", "norm2"), ("encoder_attn.", "cross_attention."),
      ("fc1", "linear1"), ("fc2", "linear2"),
    ):  # fmt: skip
      new = new.replace(old, other)
    new = new.replace("layer_norm", "out_norm") if new.startswith("layer_norm") else new
    if "q_proj" in new:
      parts = [theirs[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
      state[new.replace("q_proj.weight", "in_proj_weight")] = torch.cat(parts)
    elif "k_proj" not in new and "v_proj" not in new:
      state[new] = tensor
  half = {name: tensor.half() for name, tensor in state.items()}
  config = "transformer_lm:\n  dim: 24\n  num_heads: 4\n"
  for file, tensors, exact in (("state_dict.bin", state, True), ("half.bin", half, False)):
    torch.save({"best_state": tensors, "xp.cfg": config, "version": "1"}, tmp_path / file)
    found = open_musicgen(tmp_path / file)
    assert found.model == model
    read = materialize(found.params)
    for a, b in zip(jax.tree.leaves(read), jax.tree.leaves(params), strict=True):
      assert a.dtype == np.float32
      np.testing.assert_allclose(a, b, rtol=0 if exact else 1e-3, atol=0 if exact else 1e-3)
  reference().text_encoder.save_pretrained(tmp_path / "t5")
  (tmp_path / "t5" / "spiece.model").write_bytes(peers.sentencepiece_model())
  reference().audio_encoder.save_pretrained(tmp_path / "codec")
  parts = open_folder(tmp_path, tmp_path / "t5", tmp_path / "codec")
  assert parts.network.delays == (0, 1, 2, 3)
  assert parts.codecs["mix"].model.levels == STREAMS

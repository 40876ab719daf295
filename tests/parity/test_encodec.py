"""EnCodec against transformers' on the same random weights, in every layout that people have."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models import quantiser
from stemphonic_jax.weights.encodec import open_encodec
from stemphonic_jax.weights.tensors import materialize

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")

# As audiocraft writes it, but for what is of no matter here.
XP = """
sample_rate: 32000
channels: 1
compression_model: encodec
encodec: {{autoencoder: seanet, sample_rate: '${{sample_rate}}', causal: false, renormalize: false}}
seanet:
  dimension: 16
  channels: ${{channels}}
  causal: ${{encodec.causal}}
  n_filters: 4
  n_residual_layers: 1
  ratios: [8, 5, 4, 4]
  norm: weight_norm
  kernel_size: 7
  residual_kernel_size: 3
  last_kernel_size: 7
  pad_mode: {padding}
  true_skip: true
  compress: 2
  lstm: 2
rvq: {{n_q: 4, q_dropout: false, bins: 64}}
"""


def audiocraft(name):
  """audiocraft's name of one of transformers' tensors."""
  name = re.sub(r"\.parametrizations\.weight\.original([01])", _old, name)
  name = re.sub(r"quantizer\.layers\.(\d+)\.codebook", r"quantizer.vq.layers.\1._codebook", name)
  name = re.sub(r"(coder)\.layers", r"\1.model", name)
  transposed = re.search(r"decoder\.model\.(3|6|9|12)\.conv", name)
  return re.sub(r"\.conv\.", ".convtr.convtr." if transposed else ".conv.conv.", name)


def _old(match):
  return ".weight_" + "gv"[int(match[1])]


@pytest.fixture(scope="module")
def saved(request, tmp_path_factory):
  """Their model, and the folders that it is saved in: Hugging Face's, old and new, audiocraft's."""
  torch.manual_seed(0)
  config = transformers.EncodecConfig(
    sampling_rate=32_000, hidden_size=16, num_filters=4, upsampling_ratios=[8, 5, 4, 4],
    use_causal_conv=False, use_conv_shortcut=False, codebook_size=64, target_bandwidths=[1.2],
    pad_mode=request.param,
  )  # fmt: skip
  model = transformers.EncodecModel(config).eval().requires_grad_(False)
  for name, weight in model.named_parameters():
    if name.endswith("original0"):  # so that folding is more than leaving it out
      weight *= torch.empty_like(weight).uniform_(1, 3)
  with torch.no_grad():
    spread = model.encoder(torch.randn(1, 1, 32_000)).std()
  for level, layer in enumerate(model.quantizer.layers):  # zeros at first
    layer.codebook.embed.normal_(std=float(spread) / 1.5**level)
  folder = tmp_path_factory.mktemp("encodec")
  model.save_pretrained(folder / "new")
  state = model.state_dict()
  (folder / "old").mkdir()
  (folder / "old" / "config.json").write_bytes((folder / "new" / "config.json").read_bytes())
  old = {
    re.sub(r"\.parametrizations\.weight\.original([01])", _old, n): t for n, t in state.items()
  }
  safetensors.save_file(old, folder / "old" / "model.safetensors")
  (folder / "audiocraft").mkdir()
  renamed = {audiocraft(name): tensor for name, tensor in state.items()}
  exported = {"best_state": renamed, "xp.cfg": XP.format(padding=request.param), "exported": True}
  torch.save(exported | {"version": "1.3.0"}, folder / "audiocraft" / "compression_state_dict.bin")
  return model, folder


@pytest.fixture(scope="module")
def ours(saved):
  found = open_encodec(saved[1] / "new")
  variables = {"params": materialize(found.params, jnp.asarray)}

  @jax.jit
  def encode(audio):
    latents = found.model.apply(variables, audio, method="latents")
    return latents, quantiser.encode(variables["params"]["codebooks"], latents)

  return found, encode, jax.jit(functools.partial(found.model.apply, variables, method="decode"))


REFLECT, CONSTANT = (
  pytest.mark.parametrize("saved", [padding], indirect=True) for padding in ("reflect", "constant")
)


@REFLECT
@pytest.mark.parametrize("length", [6400, 6401, 32_000])
def test_latents_codes_and_audio_are_those_of_transformers(saved, ours, length):
  compare(saved, ours, length)


@CONSTANT
def test_so_they_are_where_zeros_are_around_a_signal(saved, ours):
  compare(saved, ours, 7000)


def compare(saved, ours, length):
  (theirs, _), (found, encode, decode) = saved, ours
  assert (found.rate, found.model.hop) == (32_000, 640)
  audio = np.random.default_rng(length).standard_normal((2, length), np.float32)
  with torch.no_grad():
    given = torch.from_numpy(audio)[:, None]
    latents = theirs.encoder(given).mT.numpy()
    codes = theirs.encode(given).audio_codes
    decoded = theirs.decode(codes, [None]).audio_values[:, 0].numpy()
  codes = codes[0].numpy()
  assert latents.shape[1] == -(-length // 640)
  assert len(np.unique(codes)) > 20, "many entries are met"
  our_latents, our_codes = encode(audio)
  np.testing.assert_allclose(our_latents, latents, atol=1e-5, rtol=0)
  np.testing.assert_array_equal(our_codes, codes)
  np.testing.assert_allclose(decode(codes), decoded, atol=1e-5, rtol=0)
  assert np.abs(decoded).max() > 0.1


@CONSTANT
def test_every_layout_is_the_same_codec(saved, ours):
  params = materialize(ours[0].params)
  for layout in ("old", "audiocraft", "audiocraft/compression_state_dict.bin"):
    found = open_encodec(saved[1] / layout)
    assert (found.model, found.rate) == (ours[0].model, 32_000)
    jax.tree.map(np.testing.assert_array_equal, materialize(found.params), params)


def test_names_and_shapes_are_those_of_musicgen_s_codec():
  """At full size, where there is no need of numbers."""
  from stemphonic_jax.models.encodec import EnCodec
  from stemphonic_jax.weights.encodec import _common_name, _wanted

  config = transformers.EncodecConfig(
    sampling_rate=32_000, hidden_size=128, num_filters=64, upsampling_ratios=[8, 5, 4, 4],
    use_causal_conv=False, use_conv_shortcut=False, codebook_size=2048, target_bandwidths=[2.2],
  )  # fmt: skip
  with torch.device("meta"):
    state = transformers.EncodecModel(config).state_dict()
  assert len(state) == 116
  found = {_common_name(name): tuple(tensor.shape) for name, tensor in state.items()}
  wanted = [part for parts in _wanted(EnCodec()).values() for part in parts]
  assert {name: leaf.shape for name, leaf in wanted} == {n: s for n, s in found.items() if n}

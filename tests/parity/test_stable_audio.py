"""Imported Stable Audio models against diffusers' modules with the same random weights."""

import functools
import json
import math
import shutil
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax import sampler
from stemphonic_jax.generation.pipeline import StemPipeline
from stemphonic_jax.models.conditioning import NOT_GIVEN, Conditions, null_conditions
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.weights import architecture, stable_audio, stable_audio_folder
from stemphonic_jax.weights.bundle import load_bundle
from stemphonic_jax.weights.stable_audio import import_stable_audio
from stemphonic_jax.weights.tensors import Lazy, materialize, open_tensors

peers = pytest.importorskip("tests.parity.peers")
torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
diffusers = pytest.importorskip("diffusers")
embeddings = pytest.importorskip("diffusers.models.embeddings")

SHAPES = {
  "equal heads": {},
  "grouped heads, odd strides": dict(
    memory_heads=1, text_width=64, memory_width=64, strides=(2, 3, 7)
  ),
  "wide heads": dict(
    heads=4, memory_heads=2, head_width=80, depth=3, text_width=160, memory_width=160,
    strides=(5, 4, 2),
  ),
}  # fmt: skip
B, T = 3, 9
SECONDS = [(0.0, 47.0), (30.5, 210.0), (600.0, 3.0)]  # some out of range, to be clamped
PROMPTS = [peers.PROMPTS[0], "rock drums", ""]  # cut, padded, empty


@pytest.fixture(scope="module", params=SHAPES)
def imported(request, tmp_path_factory):
  """A peer, its folder, and what was imported from it."""
  return make(tmp_path_factory.mktemp("peer"), **SHAPES[request.param])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
  return make(tmp_path_factory.mktemp("peer"), **SHAPES["grouped heads, odd strides"])


def make(root, **shape):
  peer = peers.stable_audio(**shape)
  folder = peers.save_diffusers(peer, root / "peer")
  import_stable_audio(folder, root / "ours")
  return SimpleNamespace(peer=peer, folder=folder, **vars(opened(root / "ours")))


def opened(out):
  bundle = load_bundle(out)
  return SimpleNamespace(
    out=out,
    bundle=bundle,
    vae={"params": materialize(bundle.vae_params, jnp.asarray)},
    dit={"params": materialize(bundle.dit_params, jnp.asarray)},
  )


def embed(bundle, prompts):
  tokens, mask = bundle.tokenizer.encode(prompts, bundle.config["text"]["length"])
  tokens, mask = jnp.asarray(tokens), jnp.asarray(mask)
  params = materialize(bundle.text_encoder.params, jnp.asarray)
  return jax.jit(bundle.text_encoder.build().apply)({"params": params}, tokens, mask), mask


def conditions(bundle, **changes):
  text, mask = embed(bundle, PROMPTS)
  given = Conditions(
    text=text,
    text_mask=mask,
    bpm=jnp.full(B, jnp.nan),
    context=jnp.zeros((B, T, peers.LATENT)),
    activity=jnp.full((B, T), NOT_GIVEN, jnp.int8),
    seconds=jnp.asarray(SECONDS),
  )
  return given.replace(**changes)


def their_conditions(peer):
  """Cross-attention states and global states, from their pipeline's own methods."""
  text = peer.encode_prompt(PROMPTS, "cpu", False)
  starts, ends = ([float(row[i]) for row in SECONDS] for i in (0, 1))
  start, end = peer.encode_duration(starts, ends, "cpu", False, B)
  return torch.cat([text, start, end], 1), torch.cat([start, end], 2)


def their_network(peer, x, t, states):
  cross, total = states
  width = peer.transformer.config.attention_head_dim // 2
  rotary = embeddings.get_1d_rotary_pos_embed(
    width, x.shape[2] + 1, use_real=True, repeat_interleave_real=False
  )
  return peer.transformer(x, t, cross, total, rotary, return_dict=False)[0]


def noise(frames=T):
  return np.random.default_rng(0).standard_normal((B, frames, peers.LATENT), np.float32)


def relative_error(got, expected):
  got, expected = np.asarray(got), np.asarray(expected)
  assert got.shape == expected.shape
  return np.abs(got - expected).max() / np.abs(expected).max()


def test_the_network_is_theirs(imported):
  x, t = noise(), np.array([0.0, 0.4, 1.0], np.float32)
  apply = jax.jit(imported.bundle.dit.apply, static_argnames="method")
  prepared = apply(imported.dit, conditions(imported.bundle), method="prepare")
  got = apply(imported.dit, prepared, jnp.asarray(x), jnp.asarray(t), method="_network")
  with torch.no_grad():
    states = their_conditions(imported.peer)
    expected = their_network(imported.peer, torch.from_numpy(x).mT, torch.from_numpy(t), states)
  assert relative_error(got, expected.mT) < 1e-4


def test_numbers_are_embedded_as_theirs(imported):
  seconds = np.float32([0.0, 0.1, 47.55, 511.9, 512.0, -3.0, 1e4])
  with torch.no_grad():
    out = imported.peer.projection_model(None, *(torch.from_numpy(seconds),) * 2)
  for name, expected in (
    ("start_embedding", out.seconds_start_hidden_states),
    ("total_embedding", out.seconds_end_hidden_states),
  ):
    got = imported.bundle.dit.bind(imported.dit)
    got = getattr(got, name)(jnp.asarray(seconds))
    assert relative_error(got, expected[:, 0]) < 1e-4


def test_text_is_embedded_as_theirs(imported):
  got, mask = embed(imported.bundle, PROMPTS)
  with torch.no_grad():
    expected = imported.peer.encode_prompt(PROMPTS, "cpu", False).numpy()
  assert mask.shape[1] == peers.TOKENS
  assert mask[-1].sum() == 1  # the end of an empty text
  assert relative_error(got, expected) < 1e-4


def test_the_autoencoder_is_theirs(imported):
  vae, theirs = imported.bundle.vae, imported.peer.vae
  assert vae.hop == theirs.hop_length
  frames = vae.halo + 8
  audio = np.random.default_rng(1).standard_normal((2, frames * vae.hop, 2), np.float32)
  encode, decode = (
    jax.jit(functools.partial(vae.apply, method=name)) for name in ("encode", "decode")
  )
  posterior = encode(imported.vae, jnp.asarray(audio))
  decoded = decode(imported.vae, posterior.mean)
  with torch.no_grad():
    expected = theirs.encode(torch.from_numpy(audio).mT).latent_dist
    their_audio = theirs.decode(expected.mean).sample.mT.numpy()
  assert relative_error(posterior.mean, expected.mean.mT) < 1e-4
  assert relative_error(posterior.scale, expected.scale.mT) < 1e-4
  # Their audio lacks the last sample of each odd stride; what is near it differs.
  odd = any(stride % 2 for stride in vae.strides)
  inside = (8 if odd else frames) * vae.hop
  assert relative_error(decoded[:, :inside], their_audio[:, :inside]) < 1e-4


def test_a_trajectory_is_theirs(imported):
  """Euler steps with guidance, from the same noise, through the map from v to velocity."""
  steps, scale, interval = 6, 4.0, (2, 5)
  dit, given = imported.bundle.dit, conditions(imported.bundle)

  @jax.jit
  def generate(variables, x):
    row = dit.apply(variables, given, method=DiT.prepare)
    null = dit.apply(variables, null_conditions(given), method=DiT.prepare)
    # Keys and values have their rows second, after the blocks.
    memory = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), row.memory, null.memory)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), row, null).replace(memory=memory)
    one, two = (
      lambda x, t, prepared=prepared: dit.apply(variables, x, t, prepared, method=DiT.velocity)
      for prepared in (row, both)
    )
    return sampler.sample(x, one, sampler.guide(two, scale), steps, interval)

  got = generate(imported.dit, jnp.asarray(noise()))

  with torch.no_grad():
    cross, total = their_conditions(imported.peer)
    x = torch.from_numpy(noise()).mT
    for i in range(steps):
      t = 1 - i / steps
      length = math.hypot(1 - t, t)
      alpha, sigma, time = (1 - t) / length, t / length, 2 / math.pi * math.atan2(t, 1 - t)
      scaled = x / length
      times = torch.full((B,), time, dtype=torch.float32)
      v = their_network(imported.peer, scaled, times, (cross, total))
      if interval[0] <= i + 1 <= interval[1]:
        # Without text they attend to zeros, also in place of the seconds.
        null = their_network(imported.peer, scaled, times, (torch.zeros_like(cross), total))
        v = null + scale * (v - null)
      data, end = alpha * scaled - sigma * v, sigma * scaled + alpha * v
      x = x + (data - end) / steps
  assert relative_error(got, x.mT) < 1e-4


def test_what_is_added_changes_nothing(small):
  """Sub-mix, activity and tempo at random: equal to the bit, in the network and its keys."""
  rng = np.random.default_rng(2)
  given = conditions(small.bundle)
  other = given.replace(
    bpm=jnp.asarray([90.0, 20.0, 400.0]),
    context=jnp.asarray(100 * rng.standard_normal(given.context.shape, np.float32)),
    activity=jnp.asarray(rng.integers(0, 3, given.activity.shape), jnp.int8),
  )
  x, t = jnp.asarray(noise()), jnp.asarray([1.0, 0.7, 0.01])
  apply = jax.jit(small.bundle.dit.apply)
  np.testing.assert_array_equal(*(apply(small.dit, x, t, each) for each in (given, other)))
  # But what is fed to them is heard as soon as they are trained.
  loss = lambda variables: jnp.sum(apply(variables, x, t, other) ** 2)  # noqa: E731
  gradient = jax.grad(loss)(small.dit)["params"]
  assert jnp.any(gradient["in_projection"]["kernel"][peers.LATENT : 2 * peers.LATENT])
  assert jnp.any(gradient["in_projection"]["kernel"][2 * peers.LATENT :])
  assert jnp.any(gradient["tempo_projection"]["out"]["kernel"])


def test_the_config_is_theirs(small):
  config, peer = small.bundle.config, small.peer
  assert config["sample_rate"] == 44_100
  assert config["seconds"] == pytest.approx(peers.FRAMES * peer.vae.hop_length / 44_100)
  assert config["text"] == {"encoder": "t5", "width": 64, "length": peers.TOKENS}
  assert config["dit"]["memory_heads"] == 1
  assert config["dit"]["prediction"] == "v"
  assert "Stability" in config["licence"]
  assert "diffusers" in config["source"]
  np.testing.assert_array_equal(small.bundle.statistics.mean, 0)
  np.testing.assert_array_equal(small.bundle.statistics.std, 1)


def test_an_imported_model_makes_stems(small):
  song = StemPipeline.load(small.out).generate("rock", stems=["drums", "basses"], steps=2)
  drums, basses = (song.stems[name] for name in ("drums", "basses"))
  assert drums.shape == basses.shape == (peers.FRAMES * small.bundle.vae.hop, 2)
  assert np.isfinite(drums).all()
  assert np.abs(drums - basses).max() > 1e-4 * np.abs(drums).max() > 0


# The original layout


def arrays(out):
  return {
    path.name: {name: leaf.read() for name, leaf in open_tensors(path).items()}
    for path in out.glob("*.safetensors")
  }


@pytest.mark.parametrize("shape", SHAPES)
def test_both_layouts_are_one_import(shape, tmp_path):
  peer = peers.stable_audio(**SHAPES[shape])
  import_stable_audio(peers.save_diffusers(peer, tmp_path / "a"), tmp_path / "from_a")
  original = peers.save_original(peer, tmp_path / "b")
  import_stable_audio(original, tmp_path / "from_b", original / "t5")
  a, b = (tmp_path / name for name in ("from_a", "from_b"))
  for name in ("vae.safetensors", "dit.safetensors", "text_encoder.safetensors", "tokenizer.model"):
    assert (a / name).read_bytes() == (b / name).read_bytes()
  configs = [json.loads((folder / "config.json").read_text()) for folder in (a, b)]
  assert ["diffusers" in configs[0].pop("source"), "original" in configs[1].pop("source")] == [
    True
  ] * 2
  assert configs[0] == configs[1]


def test_a_rectified_flow_has_the_opposite_sign(small, tmp_path):
  original = peers.save_original(
    small.peer, tmp_path / "peer", diffusion_objective="rectified_flow"
  )
  import_stable_audio(original, tmp_path / "ours", original / "t5")
  flow = opened(tmp_path / "ours")
  assert flow.bundle.config["dit"]["prediction"] == "velocity"
  x, t = noise(), np.array([0.1, 0.5, 1.0], np.float32)
  apply = jax.jit(flow.bundle.dit.apply)
  got = apply(flow.dit, jnp.asarray(x), jnp.asarray(t), conditions(flow.bundle))
  with torch.no_grad():
    states = their_conditions(small.peer)
    expected = their_network(small.peer, torch.from_numpy(x).mT, torch.from_numpy(t), states)
  assert relative_error(got, -expected.mT) < 1e-4


# How weights are kept


def test_weight_norm_in_all_its_forms(small, tmp_path):
  """As one weight, as PyTorch's older pair of tensors, and as its newer."""
  folder = shutil.copytree(small.folder, tmp_path / "peer")
  path = folder / "vae" / "diffusion_pytorch_model.safetensors"
  state = safetensors.load_file(path)
  renamed = {"_g": "parametrizations.weight.original0", "_v": "parametrizations.weight.original1"}
  newer = {
    name[:-8] + renamed[name[-2:]] if name.endswith(("weight_g", "weight_v")) else name: tensor
    for name, tensor in state.items()
  }
  assert newer.keys() != state.keys()
  safetensors.save_file(newer, path)
  import_stable_audio(folder, tmp_path / "newer")
  one = (tmp_path / "newer" / "vae.safetensors").read_bytes()
  assert one == (small.out / "vae.safetensors").read_bytes()

  folded = {name: tensor for name, tensor in state.items() if not name.endswith("weight_g")}
  for name in [name for name in folded if name.endswith("weight_v")]:
    v, g = folded.pop(name), state[name[:-1] + "g"]
    folded[name[:-2]] = torch._weight_norm(v, g, 0)
  safetensors.save_file(folded, path)
  import_stable_audio(folder, tmp_path / "folded")
  got, expected = arrays(tmp_path / "folded"), arrays(small.out)
  for name, array in got["vae.safetensors"].items():
    np.testing.assert_allclose(array, expected["vae.safetensors"][name], rtol=1e-5, atol=1e-7)


def test_shards_are_one_model(small, tmp_path):
  folder = shutil.copytree(small.folder, tmp_path / "peer")
  shutil.rmtree(folder / "transformer")
  small.peer.transformer.save_pretrained(folder / "transformer", max_shard_size="300KB")
  assert len(list((folder / "transformer").glob("*.safetensors"))) > 2
  import_stable_audio(folder, tmp_path / "ours")
  name = "dit.safetensors"
  assert (tmp_path / "ours" / name).read_bytes() == (small.out / name).read_bytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_becomes_float32(dtype, small, tmp_path):
  folder, dtype = shutil.copytree(small.folder, tmp_path / "peer"), getattr(torch, dtype)
  expected = {}
  for part in ("transformer", "vae"):
    path = folder / part / "diffusion_pytorch_model.safetensors"
    half = {name: tensor.to(dtype) for name, tensor in safetensors.load_file(path).items()}
    path.unlink()
    safetensors.save_file(half, path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    expected |= half
  import_stable_audio(folder, tmp_path / "ours")
  got = arrays(tmp_path / "ours")
  assert {array.dtype for array in got["dit.safetensors"].values()} == {np.dtype(np.float32)}
  np.testing.assert_array_equal(
    got["dit.safetensors"]["out_projection/kernel"], expected["proj_out.weight"].float().numpy().T
  )


def test_no_more_than_the_largest_tensor_is_in_memory(tmp_path):
  peer = peers.stable_audio(depth=8)
  folder = peers.save_diffusers(peer, tmp_path / "peer")
  import_stable_audio(folder, tmp_path / "warm")
  tracemalloc.start()
  try:
    import_stable_audio(folder, tmp_path / "ours")
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  sizes = [leaf.shape for leaf in open_tensors(tmp_path / "ours" / "dit.safetensors").values()]
  largest = 4 * max(math.prod(shape) for shape in sizes)
  assert peak < 2 * largest < sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


# Sizes of the public model, without its weights


def test_the_public_sizes_fit():
  """Every name and shape of the 1.0 release; diffusers' defaults are its config."""
  with torch.device("meta"):
    theirs = {
      "transformer": diffusers.StableAudioDiTModel(),
      "projection": diffusers.StableAudioProjectionModel(768, 768, 0, 512),
      "vae": diffusers.AutoencoderOobleck(),
    }
  parts = {
    name: stable_audio_folder.Part(name, dict(model.config), stable_audio_folder._plain(name, {
      name: Lazy(tuple(t.shape), np.dtype(np.float32), lambda t=t: np.zeros(t.shape, np.float32))
      for name, t in model.state_dict().items()
    }))
    for name, model in theirs.items()
  }  # fmt: skip
  peer = stable_audio_folder.Peer("diffusers", **parts, prediction="v", text_length=128)
  config = stable_audio._config(peer, 768)
  assert config["seconds"] == 1024 * 2048 / 44_100
  dit = architecture.build_dit(config["dit"], config["text"], 64, 21.5)
  vae = architecture.build_vae(config["vae"])
  our_vae = stable_audio.import_vae(peer, vae)
  our_dit = stable_audio.import_dit(Path(), peer, dit)
  assert round(architecture.parameter_count(our_vae) / 1e6) == 156
  assert round(architecture.parameter_count(our_dit) / 1e6) == 1061  # 1057 and what is added

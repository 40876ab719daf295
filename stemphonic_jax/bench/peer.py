"""Our time as a share of PyTorch's (diffusers, transformers), on equal random weights.

They are of the sizes of Stable Audio Open, of MusicGen's codec (codec.py) and small network
(musicgen.py).

Both run in one process, in turns, the peer first and last by turns; a ratio is that of one round,
so that whatever else the machine does falls on both. A row has the medians, the 10th and the 90th
percentile of the ratios, the ratio this project asks of itself, and the greatest difference of the
outputs as a share of their greatest value (of gradients, those of the blocks).

The transformers run as they do in a sampler, which calls one network with the same conditions and
weights again and again: what ours prepares once (keys and values of the text, a copy of the weights
for each block) is not in its time. The peer prepares nothing, and its forward makes all of it.

Without ALLOCATOR, glibc hands large arrays back to the system after every operation, which makes
PyTorch nearly twice as slow; one arena gives the same to JAX, whose programs run on other threads.
"""

import functools
import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemphonic_jax.bench import codec, musicgen
from stemphonic_jax.errors import MissingError, UsageError
from stemphonic_jax.models.conditioning import NOT_GIVEN, Conditions
from stemphonic_jax.models.dit import DiT, for_sampling
from stemphonic_jax.models.oobleck import Oobleck
from stemphonic_jax.weights.stable_audio import import_dit, import_vae
from stemphonic_jax.weights.stable_audio_folder import Part, Peer
from stemphonic_jax.weights.tensors import Lazy, materialize

ALLOCATOR = {
  "MALLOC_MMAP_THRESHOLD_": "4294967296",
  "MALLOC_TRIM_THRESHOLD_": "8589934592",
  "MALLOC_TOP_PAD_": "268435456",
  "MALLOC_ARENA_MAX": "1",
}
RATE = 44_100
CASES = ("encode", "decode", "forward-1", "forward-4", "gradient-1", "gradient-4")
CASES += ("codec-encode", "codec-decode", "musicgen-1", "musicgen-2")
# And how many rows.
CASE = re.compile("(codec-)?(encode|decode)|(forward|gradient)-[1-9]|musicgen-[12]")
LIMITS = {  # on a CPU with bfloat16 matrix units
  ("encode", "float32"): 0.75,
  ("decode", "float32"): 0.75,
  ("forward", "float32"): 1.05,
  ("forward", "bfloat16"): 0.45,
  ("gradient", "bfloat16"): 1.0,
  ("codec", "float32"): 0.9,
  ("musicgen", "float32"): 1.0,
}


@dataclass(frozen=True)
class Size:
  """Numbers of both models; by default Stable Audio Open's but for the depth (24 there)."""

  channels: int = 128  # twice the latents'
  multiples: tuple[int, ...] = (1, 2, 4, 8, 16)
  strides: tuple[int, ...] = (2, 4, 4, 8, 8)
  seconds: float = 5.0
  depth: int = 2
  heads: int = 24  # of 64; half as many for the text
  text_width: int = 768
  tokens: int = 128
  frames: int = 394
  coded: codec.Size = codec.MUSICGEN
  decoded: musicgen.Size = musicgen.SMALL


def run(rounds: int = 5, cases: Sequence[str] = CASES, size: Size | None = None) -> None:
  """Prints the table, restarting the process first where its allocator is not set.

  UsageError where a case is unknown, MissingError where a package of the peer is not installed.
  """
  if unknown := [case for case in cases if not CASE.fullmatch(case)]:
    raise UsageError(f"case {unknown[0]!r}: expected one like {', '.join(CASES)}")
  prepare("torch", "diffusers", "transformers")
  size = size or Size()
  for case in cases:
    kind, _, rows = case.partition("-")
    if kind == "codec":
      theirs, work = codec.work(rows, size.seconds, size.coded)
      ours = {"float32": work}
    elif kind == "musicgen":
      theirs, work = musicgen.work(int(rows), size.decoded)
      ours = {"float32": work}
    else:
      theirs, ours = _vae(kind, size) if not rows else _dit(kind, int(rows), size)
    compare(case, theirs, ours, rounds, {dtype: LIMITS.get((kind, dtype)) for dtype in ours})


def prepare(*packages: str) -> None:
  """Prints the head of a table of `compare`, restarting the process first as `run` does.

  MissingError where a package of the peer is not installed.
  """
  try:
    for package in packages:
      importlib.import_module(package)
  except ImportError as error:
    raise MissingError(
      f'{error}; the peer comes with pip install "stemphonic-jax[parity]"'
    ) from None
  tuned = ALLOCATOR | {"JAX_PLATFORMS": "cpu"}  # where the peer runs
  if any(os.environ.get(name) != value for name, value in tuned.items()):
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | tuned)
  print(f"{'':23}{'peer s':>9}{'ours s':>9}{'ratio':>7} {'p10-p90':>11}{'limit':>7}{'error':>10}")


def compare(
  case: str,
  theirs: Callable[[], Any],
  ours: Mapping[str, Callable[[], Any]],
  rounds: int,
  limits: Mapping[str, float | None],
) -> None:
  """Times `theirs` and each of `ours`, and prints a row of each."""
  for dtype, row in _measure(theirs, ours, rounds).items():
    print(
      f"{case:13}{dtype:10}{row.theirs:9.3f}{row.ours:9.3f}{row.ratio[1]:7.2f}"
      f" [{row.ratio[0]:.2f}-{row.ratio[2]:.2f}]{limits[dtype] or '-':>7}{row.error:10.1e}",
      flush=True,
    )


@dataclass(frozen=True)
class Row:
  """Median seconds, the 10th, 50th and 90th percentile of the ratio, and the error."""

  theirs: float
  ours: float
  ratio: tuple[float, float, float]
  error: float


def _measure(
  theirs: Callable[[], Any], ours: Mapping[str, Callable[[], Any]], rounds: int
) -> dict[str, Row]:
  """Times `theirs` and each of `ours` in turns, once beforehand to compile and compare."""
  expected = [np.asarray(leaf) for leaf in jax.tree.leaves(theirs())]
  errors = {}
  for name, work in ours.items():
    pairs = zip(jax.tree.leaves(work()), expected, strict=True)
    errors[name] = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
  work = {"": theirs, **ours}
  seconds: dict[str, list[float]] = {name: [] for name in work}
  for i in range(rounds):
    for name in list(work)[:: 1 if i % 2 == 0 else -1]:
      begun = time.perf_counter()
      jax.block_until_ready(work[name]())
      seconds[name].append(time.perf_counter() - begun)
  peer = np.array(seconds.pop(""))
  return {
    name: Row(
      float(np.median(peer)),
      float(np.median(times)),
      tuple(float(np.quantile(times / peer, q)) for q in (0.1, 0.5, 0.9)),
      errors[name],
    )
    for name, times in seconds.items()
  }


def _vae(kind: str, size: Size) -> tuple[Callable, dict[str, Callable]]:
  """Encoding or decoding `seconds` of stereo."""
  import torch
  from diffusers.models.autoencoders.autoencoder_oobleck import AutoencoderOobleck, Snake1d

  torch.manual_seed(0)
  theirs = AutoencoderOobleck(
    encoder_hidden_size=size.channels,
    downsampling_ratios=list(size.strides),
    channel_multiples=list(size.multiples),
    decoder_channels=size.channels,
    decoder_input_channels=size.channels // 2,
  ).eval()
  for module in theirs.modules():
    if isinstance(module, Snake1d):
      torch.nn.init.normal_(module.alpha, std=0.3)
      torch.nn.init.normal_(module.beta, std=0.3)
    if hasattr(module, "weight_g"):
      torch.nn.utils.remove_weight_norm(module)
  ours = Oobleck(size.channels, size.multiples, size.strides, size.channels // 2)
  params = _arrays(import_vae(_peer(vae=theirs), ours))

  frames = round(size.seconds * RATE / ours.hop)
  shape = (frames * ours.hop, 2) if kind == "encode" else (frames, ours.latent)
  x = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
  their_x = torch.from_numpy(x).mT.contiguous()

  def peer() -> Any:
    with torch.no_grad():
      if kind == "encode":
        return theirs.encode(their_x).latent_dist.mean.mT.numpy()
      return theirs.decode(their_x).sample.mT.numpy()

  def code(params: Any, x: jax.Array) -> jax.Array:
    y = ours.apply({"params": params}, x, method=kind)
    return y.mean if kind == "encode" else y

  return peer, {"float32": functools.partial(jax.jit(code), params, jnp.asarray(x))}


def _dit(kind: str, rows: int, size: Size) -> tuple[Callable, dict[str, Callable]]:
  """One evaluation of the network, or the gradient of its mean square to all parameters."""
  import torch
  from diffusers import StableAudioDiTModel
  from diffusers.models.embeddings import get_1d_rotary_pos_embed
  from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioProjectionModel

  torch.manual_seed(0)
  width, memory = 64 * size.heads, 64 * (size.heads // 2)
  theirs = StableAudioDiTModel(
    num_layers=size.depth,
    num_attention_heads=size.heads,
    num_key_value_attention_heads=size.heads // 2,
    cross_attention_dim=memory,
    cross_attention_input_dim=size.text_width,
    global_states_input_dim=2 * size.text_width,
  ).eval()
  projection = StableAudioProjectionModel(size.text_width, size.text_width, 0, 512)
  dit = DiT(
    channels=64,
    width=width,
    depth=size.depth,
    heads=size.heads,
    text_width=size.text_width,
    memory_width=memory,
    memory_heads=size.heads // 2,
    timing=True,
  )
  source = Path("transformer")
  params = _arrays(import_dit(source, _peer(transformer=theirs, projection=projection), dit))

  rng = np.random.default_rng(0)
  x = rng.standard_normal((rows, size.frames, 64), np.float32)
  t = rng.uniform(size=rows).astype(np.float32)
  text = rng.standard_normal((rows, size.tokens, size.text_width), np.float32)
  seconds = np.tile(np.float32([[0.0, 32.0]]), (rows, 1))
  conditions = Conditions(
    text=jnp.asarray(text),
    text_mask=jnp.ones((rows, size.tokens), bool),
    bpm=jnp.full((rows,), jnp.nan),
    context=jnp.zeros((rows, size.frames, 64)),
    activity=jnp.full((rows, size.frames), NOT_GIVEN, jnp.int8),
    seconds=jnp.asarray(seconds),
  )
  with torch.no_grad():
    start, end = torch.from_numpy(seconds).T
    numbers = projection(start_seconds=start, end_seconds=end)
    timing = [numbers.seconds_start_hidden_states, numbers.seconds_end_hidden_states]
  forward = functools.partial(
    theirs,
    torch.from_numpy(x).mT.contiguous(),
    torch.from_numpy(t),
    torch.cat([torch.from_numpy(text), *timing], 1),
    torch.cat(timing, -1),
    get_1d_rotary_pos_embed(32, size.frames + 1, use_real=True, repeat_interleave_real=False),
    return_dict=False,
  )

  if kind == "forward":

    def peer() -> Any:
      with torch.no_grad():
        return forward()[0].mT.numpy()

    return peer, {
      dtype.__name__: _velocity(dit.clone(dtype=dtype), params, x, t, conditions)
      for dtype in (jnp.float32, jnp.bfloat16)
    }

  compared: list[Any] = []

  def their_gradient() -> Any:
    theirs.zero_grad(set_to_none=True)
    forward()[0].square().mean().backward()
    if not compared:  # at the first call, which is not timed
      gradient = _peer(transformer=theirs, projection=projection, gradient=True)
      compared.append(materialize(import_dit(source, gradient, dit)["blocks"]))
    return compared[0]

  return their_gradient, {
    dtype.__name__: _gradient(dit.clone(dtype=dtype), params, x, t, conditions)
    for dtype in (jnp.float32, jnp.bfloat16)
  }


def _velocity(dit: DiT, params: Any, x: Any, t: Any, conditions: Conditions) -> Callable:
  """The network as a sampler calls it."""
  prepare = jax.jit(functools.partial(dit.apply, method="prepare"))
  prepared = prepare({"params": params}, conditions)
  variables = {"params": jax.jit(for_sampling, static_argnums=1)(params, dit.dtype)}
  velocity = jax.jit(functools.partial(dit.apply, method="velocity"))
  return functools.partial(velocity, variables, jnp.asarray(x), jnp.asarray(t), prepared)


def _gradient(dit: DiT, params: Any, x: Any, t: Any, conditions: Conditions) -> Callable:
  """The gradient to all parameters, as in training; of the blocks, to be compared."""

  def loss(params: Any, x: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(dit.apply({"params": params}, x, t, conditions)))

  gradient = jax.jit(jax.grad(loss))
  arguments = params, jnp.asarray(x), jnp.asarray(t)
  return lambda: jax.block_until_ready(gradient(*arguments))["blocks"]


def _peer(gradient: bool = False, **modules: Any) -> Peer:
  """PyTorch modules as if they had been read from a folder, or the gradients to their weights."""

  def lazy(name: str, value: Any) -> Lazy:
    if gradient and value.grad is not None:
      # The norms here have no bias, and the import insists on zeros.
      value = value.grad * 0 if ".norm" in name and name.endswith("bias") else value.grad
    return Lazy(tuple(value.shape), np.dtype(np.float32), value.detach().numpy)

  def part(kind: str) -> Part:
    named = modules[kind].state_dict(keep_vars=True) if kind in modules else {}
    return Part(Path(kind), {}, {name: lazy(name, value) for name, value in named.items()})

  return Peer(
    layout="diffusers",
    transformer=part("transformer"),
    projection=part("projection"),
    vae=part("vae"),
    prediction="v",
    text_length=0,
  )


def _arrays(tree: Any) -> Any:
  return jax.tree.map(jnp.asarray, materialize(tree))

"""Attention on accelerators is attention on a CPU, and cuDNN computes it only where it can."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models import layers
from stemphonic_jax.models.conditioning import Conditions, TextEncoder
from stemphonic_jax.models.dit import DiT, for_machine
from stemphonic_jax.models.layers import attend, attend_at_once, attention_by
from stemphonic_jax.models.machine import Machine, here
from stemphonic_jax.weights.architecture import init_dit

KEY = jax.random.key(8)
B, T, S, H, K = 3, 7, 5, 4, 8


def arrays(groups, rows=B):
  keys = jax.random.split(KEY, 3)
  shapes = (rows, T, H, K), (rows, S, groups, K), (rows, S, groups, K)
  return tuple(jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True))


def with_gradients(attention):
  def run(*given):
    y, pull = jax.vjp(attention, *given)
    return y, *pull(jnp.cos(y))

  return jax.jit(run)


def assert_close(got, expected, tolerance):
  for a, b in zip(got, expected, strict=True):
    assert a.dtype == b.dtype == jnp.float32
    assert np.abs(a - b).max() < tolerance * np.abs(b).max()


@pytest.mark.parametrize(
  ("dtype", "groups", "tolerance"),
  [(jnp.float32, 1, 1e-5), (jnp.float32, 4, 1e-5), (jnp.bfloat16, 2, 3e-2)],
)
@pytest.mark.parametrize("masked", [False, True])
def test_all_heads_at_once_are_head_by_head(dtype, tolerance, masked, groups):
  """With masked tokens, with a row that has no others, and with fewer heads of keys."""
  mask = jnp.arange(S) < jnp.array([5, 2, 0])[:, None] if masked else None

  def at_once(*qkv):
    return attend_at_once(*qkv, dtype, mask, "xla").reshape(B, T, H * K)

  def head_by_head(*qkv):
    return attend(*qkv, dtype, mask)

  given = arrays(groups)
  assert attention_by(given[0], dtype, mask) == "head"
  assert_close(with_gradients(at_once)(*given), with_gradients(head_by_head)(*given), tolerance)


@pytest.mark.parametrize("groups", [1, 4])
def test_causal_attention_sees_what_came_before(groups):
  q, k, v = (jnp.concatenate([x, x], 1)[:, :T] for x in arrays(groups))
  mask = jnp.arange(T) < jnp.array([T, 4, 1])[:, None]

  def at_once(*qkv):
    return attend_at_once(*qkv, jnp.float32, mask, "xla", True).reshape(B, T, H * K)

  def head_by_head(*qkv):
    return attend(*qkv, jnp.float32, mask, causal=True)

  found = with_gradients(head_by_head)(q, k, v)
  assert_close(found, with_gradients(at_once)(q, k, v), 1e-5)
  first = jnp.repeat(v[:, 0], H // groups, 1).reshape(B, -1)
  np.testing.assert_allclose(found[0][:, 0], first, rtol=1e-5)


def test_values_of_masked_tokens_do_not_matter():
  q, k, v = arrays(H)
  mask = jnp.arange(S) < jnp.array([5, 2, 1])[:, None]
  hidden = jnp.where(mask[..., None, None], 0, 1e3)
  for implementation in (attend, lambda *a: attend_at_once(*a, "xla")):
    a, b = (implementation(q, k + more, v + more, jnp.float32, mask) for more in (0, hidden))
    np.testing.assert_array_equal(a, b)


HOPPER, TURING = Machine("gpu", (9, 0)), Machine("gpu", (7, 5))


def choice(machine, dtype=jnp.bfloat16, width=64, mask=None):
  return attention_by(jnp.zeros((B, T, H, width)), dtype, mask, machine)


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 3)])
def test_cudnn_computes_it_on_gpus_of_today(capability):
  gpu = Machine("gpu", capability)
  found = [choice(gpu), choice(gpu, jnp.float16), choice(gpu, width=8), choice(gpu, width=128)]
  assert found == ["cudnn"] * 4


def test_xla_computes_what_cudnn_does_not(monkeypatch):
  others = [
    choice(HOPPER, jnp.float32),
    choice(HOPPER, width=60),
    choice(HOPPER, width=136),
    choice(HOPPER, mask=jnp.ones((B, S), bool)),
  ]
  assert others == ["xla"] * len(others)
  monkeypatch.setattr(layers, "FLASH", False)
  assert choice(HOPPER) == "xla"


@pytest.mark.parametrize("machine", [TURING, Machine("gpu"), Machine("tpu")])
def test_xla_computes_it_on_other_accelerators(machine):
  assert choice(machine) == choice(machine, jnp.float32) == "xla"


@pytest.mark.parametrize(
  ("platform", "capability", "expected"),
  [
    ("gpu", "9.0", HOPPER),
    ("gpu", "gfx942", Machine("gpu")),
    ("tpu", None, Machine("tpu")),
    ("cpu", None, Machine("cpu")),
  ],
)
def test_without_a_machine_it_is_this_one(platform, capability, expected, monkeypatch):
  device = types.SimpleNamespace(**({"compute_capability": capability} if capability else {}))
  monkeypatch.setattr(jax, "default_backend", lambda: platform)
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert here() == expected
  assert choice(None) == choice(expected)


def test_old_gpus_are_not_asked_for_bfloat16_by_name():
  """Turing has no such algorithm: XLA would refuse the program."""

  def program(machine):
    run = functools.partial(attend, dtype=jnp.bfloat16, machine=machine)
    return str(jax.make_jaxpr(run)(*arrays(H)))

  assert "bf16" not in program(TURING)
  assert "bf16" in program(Machine("tpu"))


def test_the_choice_reaches_jax(monkeypatch):
  seen = []

  def spy(query, *_, implementation, **__):
    seen.append((implementation, query.dtype))
    return query

  monkeypatch.setattr(jax.nn, "dot_product_attention", spy)
  for dtype in (jnp.bfloat16, jnp.float32):
    assert attend(*arrays(H), dtype, machine=HOPPER).dtype == jnp.float32
  assert seen == [("cudnn", jnp.bfloat16), ("xla", jnp.float32)]


@pytest.mark.parametrize(("frames", "tokens"), [(7, 5), (7, 4), (6, 5), (6, 4)])
def test_odd_lengths_are_made_even_for_cudnn(frames, tokens, monkeypatch):
  """By which nothing changes; the arithmetic is XLA's here, for want of a GPU."""
  attention, seen = jax.nn.dot_product_attention, []

  def spy(query, key, value, *, implementation, **options):
    seen.append((implementation, query.shape[1] % 2, key.shape[1] % 2))
    return attention(query, key, value, implementation="xla", **options)

  def run(by):
    return with_gradients(lambda *qkv: attend_at_once(*qkv, jnp.float32, None, by))(*given)

  q, k, v = arrays(H)
  given = q[:, :frames], k[:, :tokens], v[:, :tokens]
  expected = run("xla")
  monkeypatch.setattr(jax.nn, "dot_product_attention", spy)
  assert_close(run("cudnn"), expected, 1e-5)
  assert set(seen) == {("cudnn", 0, 0)}


def test_the_gradient_of_cudnn_is_lowered_for_a_gpu(monkeypatch):
  """Of as many frames and tokens as the paper has, 395 and 129, both odd."""
  kernels = "jax._src.cudnn.fused_attention_stablehlo"
  monkeypatch.setattr(f"{kernels}.check_cudnn_version", lambda: 91_300)
  monkeypatch.setattr(f"{kernels}.check_compute_capability", lambda capability: True)

  def loss(*qkv):
    return jnp.sum(attend(*qkv, jnp.bfloat16, machine=HOPPER))

  given = [jax.ShapeDtypeStruct((2, n, 2, 64), jnp.float32) for n in (395, 129, 129)]
  program = jax.jit(jax.grad(loss, (0, 1, 2))).trace(*given).lower(lowering_platforms=("cuda",))
  assert "fmhaSoftmaxBackward" in program.as_text()


@pytest.mark.parametrize("machine", [HOPPER, Machine("tpu")])
def test_every_layer_is_made_for_the_machine_of_the_network(machine, monkeypatch):
  asked = []

  def spy(query, dtype, mask, machine):
    asked.append(machine)
    return "xla"

  monkeypatch.setattr(layers, "attention_by", spy)
  dit = for_machine(DiT(4, 16, 2, 2, 16, text_encoder=TextEncoder(7, 16, 1, 2)), machine)
  given = Conditions(
    text=jnp.zeros((1, 3), jnp.int32),
    text_mask=jnp.ones((1, 3), bool),
    bpm=jnp.ones(1),
    context=jnp.zeros((1, 5, 4)),
    activity=jnp.zeros((1, 5), jnp.int8),
  )
  params = jax.eval_shape(functools.partial(init_dit, dit), KEY)
  asked.clear()
  jax.eval_shape(dit.apply, {"params": params}, jnp.zeros((1, 5, 4)), jnp.ones(1), given)
  assert len(asked) == 3  # of the text, of the frames to themselves and to the text
  assert set(asked) == {machine}


@pytest.mark.parametrize("groups", [1, 2])
def test_rows_and_heads_split_over_a_mesh_give_the_same(groups):
  mesh = jax.make_mesh(
    (2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 3
  )
  rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(("data", "fsdp")))
  given = arrays(groups, 4)
  run = with_gradients(lambda *qkv: attend(*qkv, jnp.float32))
  assert_close(run(*jax.device_put(given, rows)), run(*given), 1e-5)

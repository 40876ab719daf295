"""Attention on accelerators is attention on a CPU, and cuDNN computes it only where it can."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.models import layers
from stemphonic_jax.models.layers import attend, attend_at_once, attention_by

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


def test_values_of_masked_tokens_do_not_matter():
  q, k, v = arrays(H)
  mask = jnp.arange(S) < jnp.array([5, 2, 1])[:, None]
  hidden = jnp.where(mask[..., None, None], 0, 1e3)
  for implementation in (attend, lambda *a: attend_at_once(*a, "xla")):
    a, b = (implementation(q, k + more, v + more, jnp.float32, mask) for more in (0, hidden))
    np.testing.assert_array_equal(a, b)


def on(platform, monkeypatch, capability=None):
  device = types.SimpleNamespace()
  if capability:
    device.compute_capability = capability
  monkeypatch.setattr(jax, "default_backend", lambda: platform)
  monkeypatch.setattr(jax, "local_devices", lambda: [device])


def choice(dtype=jnp.bfloat16, width=64, mask=None):
  return attention_by(jnp.zeros((B, T, H, width)), dtype, mask)


@pytest.mark.parametrize("capability", ["8.0", "8.9", "9.0", "10.3"])
def test_cudnn_computes_it_on_gpus_of_today(capability, monkeypatch):
  on("gpu", monkeypatch, capability)
  assert choice() == choice(jnp.float16) == choice(width=8) == choice(width=128) == "cudnn"


def test_xla_computes_what_cudnn_does_not(monkeypatch):
  on("gpu", monkeypatch, "9.0")
  others = [
    choice(jnp.float32),
    choice(width=60),
    choice(width=136),
    choice(mask=jnp.ones((B, S), bool)),
  ]
  assert others == ["xla"] * len(others)
  monkeypatch.setattr(layers, "FLASH", False)
  assert choice() == "xla"


@pytest.mark.parametrize(
  ("platform", "capability"), [("gpu", "7.5"), ("gpu", "gfx942"), ("gpu", None), ("tpu", None)]
)
def test_xla_computes_it_on_other_accelerators(platform, capability, monkeypatch):
  on(platform, monkeypatch, capability)
  assert choice() == choice(jnp.float32) == "xla"


def test_old_gpus_are_not_asked_for_bfloat16_by_name(monkeypatch):
  """Turing has no such algorithm: XLA would refuse the program."""

  def program():
    return str(jax.make_jaxpr(lambda *a: attend_at_once(*a, jnp.bfloat16, None, "xla"))(*arrays(H)))

  on("gpu", monkeypatch, "7.5")
  assert "bf16" not in program()
  on("gpu", monkeypatch, "9.0")
  assert "bf16" in program()


def test_the_choice_reaches_jax(monkeypatch):
  seen = []

  def spy(query, *_, implementation, **__):
    seen.append((implementation, query.dtype))
    return query

  monkeypatch.setattr(jax.nn, "dot_product_attention", spy)
  on("gpu", monkeypatch, "9.0")
  for dtype in (jnp.bfloat16, jnp.float32):
    assert attend(*arrays(H), dtype).dtype == jnp.float32
  assert seen == [("cudnn", jnp.bfloat16), ("xla", jnp.float32)]


@pytest.mark.parametrize("groups", [1, 2])
def test_rows_and_heads_split_over_a_mesh_give_the_same(groups):
  mesh = jax.make_mesh(
    (2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 3
  )
  rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(("data", "fsdp")))
  given = arrays(groups, 4)
  run = with_gradients(lambda *qkv: attend(*qkv, jnp.float32))
  assert_close(run(*jax.device_put(given, rows)), run(*given), 1e-5)

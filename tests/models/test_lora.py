"""Adapters: nothing at the start, one kernel at the end, small and trainable in between."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from stemphonic_jax.models.conditioning import Conditions
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.models.lora import add_lora, merge_lora

KEY = jax.random.key(3)
B, T, C, S, DEPTH, RANK = 2, 5, 4, 3, 2, 3
DIT = DiT(channels=C, width=16, depth=DEPTH, heads=2, text_width=8)

X = jax.random.normal(KEY, (B, T, C))
TIME = jnp.array([0.2, 0.7])
CONDITIONS = Conditions(
  text=jax.random.normal(jax.random.fold_in(KEY, 3), (B, S, 8)),
  text_mask=jnp.array([[True, True, True], [True, False, False]]),
  bpm=jnp.array([120.0, jnp.nan]),
  context=jax.random.normal(jax.random.fold_in(KEY, 1), (B, T, C)),
  activity=jnp.ones((B, T), jnp.int8),
)


@functools.cache
def params():
  """Parameters away from their zero initialisation, so that every path carries something."""
  shapes = jax.eval_shape(DIT.init, KEY, X, TIME, CONDITIONS)["params"]
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda s: jnp.asarray(0.3 * rng.standard_normal(s.shape), s.dtype), shapes)


def trained():
  """Parameters with adapters beside every kernel, of which neither part is zero."""
  flat = traverse_util.flatten_dict(add_lora(params(), KEY, RANK, ["*"]))
  for i, (path, leaf) in enumerate(flat.items()):
    if path[-1] == "lora_out":
      flat[path] = 0.1 * jax.random.normal(jax.random.fold_in(KEY, i), leaf.shape)
  return traverse_util.unflatten_dict(flat)


def flat(tree):
  return traverse_util.flatten_dict(tree, sep="/")


@jax.jit
def velocity(params):
  return DIT.apply({"params": params}, X, TIME, CONDITIONS)


@jax.jit
def gradient(params):
  target = jax.random.normal(jax.random.fold_in(KEY, 2), X.shape)
  return jax.grad(lambda p: jnp.mean(jnp.square(velocity(p) - target)))(params)


def test_adapters_change_nothing_at_the_start():
  adapted = add_lora(params(), KEY, RANK, ["*"])
  np.testing.assert_array_equal(velocity(adapted), velocity(params()))


def test_merged_is_what_was_trained():
  adapted = trained()
  merged = merge_lora(adapted)
  assert jax.tree.structure(merged) == jax.tree.structure(params())
  expected, got = np.asarray(velocity(adapted)), np.asarray(velocity(merged))
  assert np.abs(expected - np.asarray(velocity(params()))).max() > 1e-2
  assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


def test_merging_without_adapters_changes_nothing():
  jax.tree.map(np.testing.assert_array_equal, merge_lora(params()), params())


def test_only_the_kernels_that_a_pattern_fits_are_adapted():
  before, after = flat(params()), flat(add_lora(params(), KEY, RANK, ["blocks/*/qkv/kernel"]))
  assert after.keys() - before.keys() == {
    "blocks/self_attention/qkv/lora_in",
    "blocks/self_attention/qkv/lora_out",
  }
  assert after["blocks/self_attention/qkv/lora_in"].shape == (DEPTH, 16, RANK)
  assert after["blocks/self_attention/qkv/lora_out"].shape == (DEPTH, RANK, 48)
  for path, leaf in before.items():
    assert after[path] is leaf


def test_embeddings_gains_and_biases_have_no_adapters():
  before, after = flat(params()), flat(add_lora(params(), KEY, RANK, ["*"]))
  kernels = {path for path in before if path.endswith("/kernel")}
  beside = {path.removesuffix("kernel") for path in kernels}
  new = {part + name for part in beside for name in ("lora_in", "lora_out")}
  assert after.keys() - before.keys() == new
  assert not any(word in path for path in new for word in ("embedding/lora", "gain", "norm"))


def test_adapters_of_different_kernels_and_blocks_start_differently():
  after = flat(add_lora(params(), KEY, RANK, ["blocks/self_attention/*"]))
  qkv, out = (np.asarray(after[f"blocks/self_attention/{n}/lora_in"]) for n in ("qkv", "out"))
  assert qkv.shape == out.shape
  drawn = [*qkv, *out]
  assert all(not np.allclose(drawn[i], drawn[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize("kernel", ["blocks/*/bias", "blocks/attention/*", "tokens", ""])
def test_a_pattern_that_fits_no_kernel_is_an_error_that_lists_them(kernel):
  with pytest.raises(ValueError, match="LoRA: no kernel fits") as error:
    add_lora(params(), KEY, RANK, ["blocks/*", kernel])
  message = str(error.value)
  assert repr(kernel) in message
  assert "blocks/cross_attention/key_value/kernel" in message
  assert "bias" not in message.partition("; ")[2]
  assert "\n" not in message


def test_the_gradient_reaches_the_outer_part_first_and_then_the_inner():
  adapted = add_lora(params(), KEY, RANK, ["*"])
  first = flat(gradient(adapted))
  inner, outer = ([p for p in first if p.endswith(n)] for n in ("lora_in", "lora_out"))
  assert len(inner) == len(outer) > 7
  assert all(np.all(first[path] == 0) for path in inner)
  assert all(np.abs(first[path]).max((-2, -1)).min() > 0 for path in outer), "in every block"

  moved = {path: leaf - 0.1 * first[path] for path, leaf in flat(adapted).items() if path in outer}
  second = flat(gradient(traverse_util.unflatten_dict(flat(adapted) | moved, sep="/")))
  assert all(np.abs(second[path]).max((-2, -1)).min() > 0 for path in inner), "in every block"


def test_gradients_are_those_of_the_merged_kernel():
  """With W + A·B in its place, dA = dW·Bᵀ and dB = Aᵀ·dW."""
  adapted = flat(trained())
  parts, whole = flat(gradient(trained())), flat(gradient(merge_lora(trained())))
  for path, expected in whole.items():
    kernels = {path: expected}
    if path.endswith("/kernel"):
      low, high = (path.removesuffix("kernel") + name for name in ("lora_in", "lora_out"))
      kernels[low] = expected @ adapted[high].swapaxes(-1, -2)
      kernels[high] = adapted[low].swapaxes(-1, -2) @ expected
    for name, gradients in kernels.items():
      scale = 1e-4 * np.abs(gradients).max()
      np.testing.assert_allclose(parts[name], gradients, rtol=1e-3, atol=scale, err_msg=name)


def test_adapters_go_through_rematerialised_and_coarse_products():
  coarse = jax.jit(DIT.clone(remat="blocks", dtype=jnp.bfloat16).apply)
  got = np.asarray(coarse({"params": trained()}, X, TIME, CONDITIONS))
  exact = np.asarray(velocity(trained()))
  error = np.sqrt(np.mean((got - exact) ** 2) / np.mean(exact**2))
  assert 0 < error < 3e-2

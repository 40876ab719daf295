"""Parameters in two parts: what is frozen costs nothing and stays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stemphonic_jax.models.lora import add_lora, merge_lora
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.optimizer import adamw

ONES = np.ones((2, 3), np.float32)
# Of numpy, because a step gives up the jax arrays it is given.
PARAMS = {"a": {"kernel": ONES, "bias": np.zeros(3, np.float32)}, "b": {"kernel": ONES.T}}


def test_the_parts_are_told_apart_by_patterns_and_joined_again():
  trained, frozen = state.split(PARAMS, ("a/*",))
  assert trained == {"a": PARAMS["a"]}
  assert frozen == {"b": PARAMS["b"]}
  assert state.join(trained, frozen) == PARAMS
  assert state.split(PARAMS, ("*",)) == (PARAMS, {})
  with pytest.raises(
    ValueError, match="no parameter fits 'c'; there are a/kernel, a/bias, b/kernel"
  ):
    state.split(PARAMS, ("*", "c"))


def loss(params, batch, key):
  y = batch @ params["a"]["kernel"] + params["a"]["bias"]
  if "lora_in" in params["a"]:
    y = y + batch @ params["a"]["lora_in"] @ params["a"]["lora_out"]
  return jnp.mean(jnp.square(y @ params["b"]["kernel"] - 1)), {}


def train(trainable, params=PARAMS, steps=3):
  optimizer = adamw(0.1, clip=1.0)
  trained, frozen = state.split(params, trainable)
  current = state.create(trained, frozen, optimizer)
  step = state.train_step(loss, optimizer, ema_decay=0.5)
  batch = jax.random.normal(jax.random.key(0), (4, 2))
  for _ in range(steps):
    current, metrics = step(current, batch, jax.random.key(1))
  return current, metrics


def test_frozen_parameters_stay_and_have_no_optimiser_state():
  current, _ = train(("a/kernel",))
  np.testing.assert_array_equal(current.model["b"]["kernel"], PARAMS["b"]["kernel"])
  np.testing.assert_array_equal(current.model["a"]["bias"], PARAMS["a"]["bias"])
  assert not np.array_equal(current.params["a"]["kernel"], PARAMS["a"]["kernel"])
  shapes = [leaf.shape for leaf in jax.tree.leaves(current.opt_state)]
  assert sorted(shapes) == [(), (2, 3), (2, 3)]  # a count and Adam's two moments


def test_the_trained_part_moves_as_if_nothing_were_frozen():
  def masked(params, batch, key):
    params = {"a": params["a"], "b": jax.lax.stop_gradient(params["b"])}
    return loss(params, batch, key)

  optimizer = optax.sgd(0.1)
  batch = jax.random.normal(jax.random.key(0), (4, 2))
  results = []
  for function, trainable in ((loss, ("a/*",)), (masked, ("*",))):
    trained, frozen = state.split(PARAMS, trainable)
    step = state.train_step(function, optimizer, ema_decay=0.5, micro_batches=2)
    results.append(step(state.create(trained, frozen, optimizer), batch, jax.random.key(1)))
  (ours, metrics), (theirs, expected) = results
  jax.tree.map(np.testing.assert_array_equal, ours.model, theirs.model)
  assert metrics["gradient_norm"] == expected["gradient_norm"]


def test_adapters_train_alone_and_merge_into_their_kernel():
  adapted = add_lora(PARAMS, jax.random.key(2), 1, ("a/kernel",))
  current, _ = train(("*/lora_*",), adapted, steps=20)
  merged = merge_lora(state.join(current.params, current.frozen))
  assert jax.tree.structure(merged) == jax.tree.structure(PARAMS)
  batch = jax.random.normal(jax.random.key(0), (4, 2))
  before, _ = loss(PARAMS, batch, None)
  after, _ = loss(merged, batch, None)
  assert after < 0.9 * before
  change = merged["a"]["kernel"] - PARAMS["a"]["kernel"]
  assert np.linalg.matrix_rank(np.asarray(change), tol=1e-5) == 1


def test_another_loss_takes_over_at_its_step():
  def later(params, batch, key):
    value, _ = loss(params, batch, key)
    return 2 * value, {"twice": (2 * value, jnp.ones(()))}

  batch = jax.random.normal(jax.random.key(0), (4, 2))
  current = state.create(PARAMS, {}, optax.sgd(0.0))
  step = state.train_step(loss, optax.sgd(0.0), ema_decay=0.5, micro_batches=2, then=(1, later))
  seen = []
  for _ in range(3):
    current, metrics = step(current, batch, jax.random.key(1))
    seen.append((float(metrics["loss"]), float(metrics["twice"])))
  first = seen[0][0]
  np.testing.assert_allclose(seen, [(first, np.nan), (2 * first,) * 2, (2 * first,) * 2], rtol=1e-6)

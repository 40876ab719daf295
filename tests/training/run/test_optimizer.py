"""The rate over the steps, and what AdamW and Muon make of a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from stemphonic_jax.errors import UsageError
from stemphonic_jax.training.run.optimizer import MUON_STEP, adamw, build_optimizer, muon, schedule

KEY = jax.random.key(3)
PARAMS = {"stack": {"kernel": jnp.zeros((3, 8, 4))}, "out": {"bias": jnp.ones(5)}}


def test_adamw_is_that_of_optax_with_clipping():
  params, gradient = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([3.0, 4.0])}
  ours, reference = adamw(1e-2, clip=1.0, weight_decay=0.1), optax.adamw(1e-2, weight_decay=0.1)
  a, b = ours.init(params), reference.init(params)
  for _ in range(3):
    update, a = ours.update(gradient, a, params)
    expected, b = reference.update({"w": gradient["w"] / 5}, b, params)
    np.testing.assert_allclose(update["w"], expected["w"], rtol=1e-5)


@pytest.mark.parametrize(
  ("options", "steps", "expected"),
  [
    ({}, (0, 1, 10**6), (2, 2, 2)),  # the paper's
    ({"warmup": 4}, (0, 2, 4, 100), (0, 1, 2, 2)),
    ({"steps": 20, "decay": 10}, (0, 10, 15, 20, 21), (2, 2, 1, 0, 0)),
    ({"warmup": 4, "steps": 20, "decay": 10}, (0, 2, 10, 15, 20), (0, 1, 2, 1, 0)),
    ({"warmup": 4, "steps": 6, "decay": 8}, (0, 2, 4, 6), (0, 1, 0.5, 0)),  # both at once
    ({"steps": 20, "decay": 10, "decay_to": 0.01}, (0, 10, 15, 20, 21), (2, 2, 0.2, 0.02, 0.02)),
  ],
)
def test_a_rate_rises_stays_and_falls(options, steps, expected):
  rate = schedule(2.0, **options)
  np.testing.assert_allclose([rate(step) for step in steps], expected, atol=1e-6)


def test_muon_makes_the_scales_of_every_matrix_equal():
  sizes = jnp.array([1e-3, 1.0, 1e3])[:, None, None]
  slopes = sizes * jax.random.normal(KEY, PARAMS["stack"]["kernel"].shape)
  gradient = {"stack": {"kernel": slopes}, "out": {"bias": jnp.zeros(5)}}
  ours = muon(1e-2, clip=jnp.inf, weight_decay=0.0)
  update, _ = ours.update(gradient, ours.init(PARAMS), PARAMS)
  for moved, slope in zip(update["stack"]["kernel"], slopes, strict=True):
    assert np.linalg.cond(moved) < 2 < np.linalg.cond(slope)
    assert np.vdot(moved, slope) < 0
    np.testing.assert_allclose(np.sqrt(np.square(moved).mean()), 1e-2 * MUON_STEP, rtol=0.3)


def test_what_is_no_kernel_is_moved_by_adam():
  gradient = jax.tree.map(lambda x: jax.random.normal(KEY, x.shape), PARAMS)
  ours, adam = muon(1e-2, clip=jnp.inf, weight_decay=0.1), optax.nadamw(1e-2, weight_decay=0.1)
  a, b = ours.init(PARAMS), adam.init(PARAMS)
  for _ in range(2):
    update, a = ours.update(gradient, a, PARAMS)
    expected, b = adam.update(gradient, b, PARAMS)
    np.testing.assert_allclose(update["out"]["bias"], expected["out"]["bias"], rtol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_run_goes_on_where_its_rate_begins_to_fall(name):
  """Its checkpoints hold the same, whether the rate rises, falls or neither."""
  config = base.get_config("tiny").train
  config.optimizer = name
  plain = build_optimizer(config).init(PARAMS)
  config.update(warmup=2, decay=3)
  changed = build_optimizer(config).init(PARAMS)
  assert jax.tree.structure(plain) == jax.tree.structure(changed)


def test_an_unknown_optimizer_is_refused():
  config = base.get_config("tiny").train
  config.optimizer = "sgd"
  with pytest.raises(UsageError, match="optimizer: got 'sgd', expected 'adamw' or 'muon'"):
    build_optimizer(config)

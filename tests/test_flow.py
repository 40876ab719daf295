"""Sign, time and noise of the rectified flow (Eq. 1 and 2)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from stemphonic_jax import flow, sampler

KEY = jax.random.key(0)
SHAPE = (25, 8)


def normal(name: str, *shape: int) -> jax.Array:
  return jax.random.normal(flow.named_key(KEY, name), shape)


def test_rows_are_equal_exactly_where_groups_are():
  group = jnp.array([7, 7, 3, 7, 0, 3], jnp.int32)
  noise = np.asarray(flow.shared_noise(KEY, group, SHAPE))
  equal = (noise[:, None] == noise[None]).all((2, 3))
  np.testing.assert_array_equal(equal, group[:, None] == group[None])


def test_turned_noise_is_noise_of_the_same_length_for_each_row_in_its_own_way():
  noise = flow.shared_noise(KEY, jnp.zeros(3, jnp.int32), SHAPE)
  rotation, _ = jnp.linalg.qr(normal("rotation", 8, 8))
  turned = flow.turn(noise, jnp.stack([jnp.eye(8), rotation, rotation.T]))
  np.testing.assert_array_equal(turned[0], noise[0])
  np.testing.assert_allclose(turned[1], np.asarray(noise[1]) @ np.asarray(rotation).T, atol=1e-5)
  np.testing.assert_allclose(flow.turn(turned[1:2], rotation.T[None]), noise[1:2], atol=1e-5)
  lengths = jnp.linalg.norm(turned, axis=2)
  np.testing.assert_allclose(lengths, jnp.linalg.norm(noise, axis=2), rtol=1e-5)


def test_noise_of_a_group_does_not_depend_on_where_its_rows_are():
  group = jnp.array([0, 0, 1, 1, 1, 2, 2, 2], jnp.int32)
  whole = flow.shared_noise(KEY, group, SHAPE)
  cut = [flow.shared_noise(KEY, part, SHAPE) for part in jnp.split(group, 4)]
  np.testing.assert_array_equal(whole, jnp.concatenate(cut))
  np.testing.assert_array_equal(whole[::-1], flow.shared_noise(KEY, group[::-1], SHAPE))


def test_noise_is_the_same_on_any_number_of_devices():
  devices = jax.devices()
  assert len(devices) == 8, "conftest.py simulates eight devices"
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  group = jnp.array([0, 0, 0, 1, 1, 2, 2, 2], jnp.int32)
  spread = jax.device_put(group, NamedSharding(mesh, PartitionSpec("data")))
  draw = jax.jit(flow.shared_noise, static_argnums=2)
  sharded = draw(KEY, spread, SHAPE)
  assert len(sharded.sharding.device_set) == 8
  np.testing.assert_array_equal(draw(KEY, group, SHAPE), sharded)


def test_noise_is_standard_normal_and_independent_across_groups():
  noise = np.asarray(flow.shared_noise(KEY, jnp.arange(64), (100, 16)))
  flat = noise.reshape(64, -1)
  assert abs(flat.mean()) < 5 / np.sqrt(flat.size)
  assert abs(flat.std() - 1) < 5 / np.sqrt(2 * flat.size)
  correlation = np.corrcoef(flat)[np.triu_indices(64, 1)]
  assert np.abs(correlation).max() < 5 / np.sqrt(flat.shape[1])


def test_path_runs_from_data_at_0_to_noise_at_1():
  x, noise = normal("x", 3, *SHAPE), normal("noise", 3, *SHAPE)
  np.testing.assert_array_equal(flow.interpolate(x, noise, jnp.zeros(3)), x)
  np.testing.assert_array_equal(flow.interpolate(x, noise, jnp.ones(3)), noise)
  np.testing.assert_allclose(
    flow.interpolate(x, noise, jnp.full(3, 0.25)), 0.75 * x + 0.25 * noise, rtol=1e-6
  )


def test_velocity_points_from_noise_to_data():
  x, noise, t = normal("x", 2, *SHAPE), normal("noise", 2, *SHAPE), jnp.array([0.3, 0.7])
  _, slope = jax.jvp(lambda t: flow.interpolate(x, noise, t), (t,), (jnp.ones(2),))
  np.testing.assert_allclose(flow.flow_loss(-slope, x, noise), 0, atol=1e-10)
  assert (flow.flow_loss(slope, x, noise) > 1).all()


def test_loss_is_the_mean_square_of_each_row_by_itself():
  x, noise = normal("x", 2, *SHAPE), normal("noise", 2, *SHAPE)
  off = jnp.array([0.5, 2.0])[:, None, None]
  np.testing.assert_allclose(flow.flow_loss(x - noise + off, x, noise), [0.25, 4.0], rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 32, 100])
def test_euler_with_the_exact_velocity_returns_the_data(steps):
  x, noise = normal("x", 4, *SHAPE), normal("noise", 4, *SHAPE)
  exact = lambda x_t, t: x - noise  # noqa: E731
  np.testing.assert_allclose(sampler.sample(noise, exact, exact, steps, None), x, atol=1e-4)


def test_times_are_logit_normal_strictly_inside_and_depend_on_the_row_alone():
  row = jnp.arange(20_000)
  t = np.asarray(flow.logit_normal(KEY, row, 0.5, 2.0))
  assert t.dtype == np.float32
  assert (t > 0).all()
  assert (t < 1).all()
  logit = np.log(t.astype(np.float64)) - np.log1p(-t.astype(np.float64))
  assert abs(logit.mean() - 0.5) < 5 * 2 / np.sqrt(len(t))
  assert abs(logit.std() - 2.0) < 5 * 2 / np.sqrt(2 * len(t))
  np.testing.assert_array_equal(flow.logit_normal(KEY, row[5:9], 0.5, 2.0), t[5:9])


def test_keys_of_different_names_differ():
  keys = {name: jax.random.key_data(flow.named_key(KEY, name)).tobytes() for name in "abc"}
  assert len(set(keys.values())) == 3

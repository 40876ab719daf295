"""The scan: which steps are guided, what they cost, and what guidance does (Sec. 4.1)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax import sampler
from stemphonic_jax.models.conditioning import Conditions

NOISE = jax.random.normal(jax.random.key(0), (3, 10, 4))


class Spy:
  """A velocity that notes the rows and times it is called with; only without jit."""

  def __init__(self):
    self.calls: list[tuple[int, float]] = []

  def __call__(self, x, t):
    self.calls.append((len(x), float(t[0])))
    return jnp.zeros_like(x)


def run_with_spies(steps, interval):
  conditional, both = Spy(), Spy()
  with jax.disable_jit():
    sampler.sample(NOISE, conditional, sampler.guide(both, 3.0), steps, interval)
  return conditional.calls, both.calls


def test_paper_guides_26_steps_and_pays_58_rows_a_stem():
  conditional, both = run_with_spies(32, (3, 28))
  assert len(both) == 26
  assert sum(rows for rows, _ in conditional + both) == 58 * len(NOISE)
  assert sampler.network_rows(32, (3, 28)) == 58
  assert sampler.network_rows(32, (1, 32)) == 64


def test_times_run_over_the_whole_grid_once():
  conditional, both = run_with_spies(32, (3, 28))
  times = [t for _, t in conditional[:2] + both + conditional[2:]]
  np.testing.assert_allclose(times, 1 - np.arange(32) / 32, atol=1e-6)
  assert both[0][1] == 0.9375
  assert both[-1][1] == 0.15625


def test_a_late_start_leaves_out_the_steps_before():
  spy = Spy()
  with jax.disable_jit():
    sampler.sample(NOISE, spy, sampler.guide(spy, 3.0), 4, (2, 3), start=2)
  assert spy.calls == [(6, 0.5), (3, 0.25)]


def velocities(scale):
  """A conditioned and a null field that differ, in the two forms `sample` takes."""

  def field(x, t, sign):
    return sign * jnp.tanh(x) + t[:, None, None]

  def both(x, t):
    half = len(x) // 2
    return jnp.concatenate([field(x[:half], t[:half], 1.0), field(x[half:], t[half:], -0.5)])

  return (lambda x, t: field(x, t, 1.0)), sampler.guide(both, scale)


def test_rows_have_the_share_of_their_noise_in_common():
  pairs = jnp.array([[7, 1], [7, 2], [8, 3]])
  text, mask, frames = jnp.zeros((3, 1), int), jnp.ones((3, 1), bool), jnp.zeros((3, 100), jnp.int8)
  rows = Conditions(text, mask, jnp.zeros(3), jnp.zeros((3, 100, 32)), frames)
  for share in (0.0, 0.3, 1.0):
    noise, _ = sampler.begin(jax.random.key(0), pairs, None, rows, steps=4, share=share)
    found = np.corrcoef(np.reshape(noise, (3, -1)))
    np.testing.assert_allclose(found[0, 1], share, atol=0.06)
    np.testing.assert_allclose(found[:2, 2], 0, atol=0.06)
    np.testing.assert_allclose(np.std(noise), 1, atol=0.03)


def test_an_empty_interval_is_the_conditional_model():
  conditional, guided = velocities(7.0)
  plain = sampler.sample(NOISE, conditional, conditional, 8, None)
  np.testing.assert_array_equal(sampler.sample(NOISE, conditional, guided, 8, None), plain)


def test_guidance_1_is_the_conditional_model():
  conditional, guided = velocities(1.0)
  plain = sampler.sample(NOISE, conditional, conditional, 8, None)
  np.testing.assert_allclose(
    sampler.sample(NOISE, conditional, guided, 8, (1, 8)), plain, atol=1e-5
  )


def test_guidance_extrapolates_from_the_null():
  conditional, guided = velocities(3.0)
  x, t = NOISE, jnp.full(3, 0.5)
  _, null = velocities(0.0)
  expected = null(x, t) + 3.0 * (conditional(x, t) - null(x, t))
  np.testing.assert_allclose(guided(x, t), expected, rtol=1e-6)


def test_three_scans_equal_a_plain_loop():
  conditional, guided = velocities(3.0)
  x = NOISE
  for i in range(1, 13):
    velocity = guided if 3 <= i <= 9 else conditional
    x = x + velocity(x, jnp.full(3, 1 - (i - 1) / 12)) / 12
  scanned = jax.jit(lambda n: sampler.sample(n, conditional, guided, 12, (3, 9)))(NOISE)
  np.testing.assert_allclose(scanned, x, atol=1e-5)


@pytest.mark.parametrize(("order", "rate"), [(1, 2), (2, 4)])
def test_an_error_falls_with_the_order_of_the_steps(order, rate):
  """Twice the steps, half or a quarter of the error, where the end of the path is known."""

  def velocity(x, t):
    return x - t[:, None, None]

  exact = NOISE * jnp.e - 1
  errors = [
    float(jnp.abs(sampler.sample(NOISE, velocity, velocity, n, None, order=order) - exact).max())
    for n in (20, 40)
  ]
  assert errors[0] / errors[1] == pytest.approx(rate, rel=0.1)


def test_a_late_start_of_order_2_begins_as_eulers():
  conditional, _ = velocities(1.0)
  late = sampler.sample(NOISE, conditional, conditional, 4, None, start=3, order=2)
  np.testing.assert_array_equal(
    late, sampler.sample(NOISE, conditional, conditional, 4, None, start=3)
  )


@pytest.mark.parametrize("interval", [(0, 4), (3, 2), (5, 9), (-1, 1)])
def test_intervals_outside_the_steps_are_refused(interval):
  with pytest.raises(ValueError, match="guided interval"):
    sampler.phases(8, interval)


@pytest.mark.parametrize(("steps", "expected"), [(32, (3, 28)), (64, (5, 55)), (16, (2, 14))])
def test_other_step_counts_guide_the_same_times(steps, expected):
  assert sampler.rescale_interval((3, 28), 32, steps) == expected
  times = 1 - np.arange(steps) / steps
  first, last = expected
  np.testing.assert_array_equal(
    (times <= 0.9375) & (times >= 0.15625),
    (np.arange(1, steps + 1) >= first) & (np.arange(1, steps + 1) <= last),
  )


def test_a_single_step_is_not_guided():
  assert sampler.rescale_interval((3, 28), 32, 1) is None

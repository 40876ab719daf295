"""A student that learns to do in a few steps what its teacher does in many."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemphonic_jax.flow import named_key, shared_noise, turn
from stemphonic_jax.sampler import begin, one_pass
from stemphonic_jax.training.losses.distilled import distilled_loss, passes
from stemphonic_jax.training.losses.velocity import conditions_of
from stemphonic_jax.weights.architecture import dit_shapes
from tests.tiny import random_params, turns
from tests.training.trainers.test_ensemble import DIT as DEEP
from tests.training.trainers.test_ensemble import batch

DIT = DEEP.clone(depth=1)
KEY = jax.random.key(7)
GUIDED = (2, 3)


@functools.cache
def of(**law):
  rates = dict.fromkeys(("text", "bpm", "context", "activity"), 0.0)
  law = {"to": 4, "of": 4, "guidance": 2.5, "interval": GUIDED} | law
  return jax.jit(distilled_loss(DIT, **law, dropout=rates))


@functools.cache
def params(scale=1.0):
  return jax.tree.map(lambda leaf: scale * leaf, random_params(dit_shapes(DIT)))


def test_a_step_goes_where_the_sampler_takes_the_teacher():
  rows = jax.tree.map(jnp.asarray, batch()) | {
    "turns": jnp.tile(jnp.asarray(turns(4)["keys"]), (len(batch()["row"]), 1, 1))
  }
  conditions = conditions_of(rows).replace(
    group=rows["group"], known=rows["known"], clean=rows["latents"]
  )
  noise_key = named_key(KEY, "noise")
  several = jax.jit(functools.partial(one_pass, DIT, steps=4, interval=GUIDED))
  reached = several(params(), noise_key, 2.5, rows["group"], rows["turns"], conditions)
  noise = shared_noise(noise_key, rows["group"], reached.shape[1:])
  noise = turn(noise, rows["turns"])
  # From pure noise, in one step: the student's velocity is that of a plain step.
  one = functools.partial(one_pass, DIT, steps=1, interval=None)
  own = jax.jit(one)(params(0.5), noise_key, 1.0, rows["group"], rows["turns"], conditions) - noise
  errors = jnp.square(own - (reached - noise)).mean(2)
  asked = ~rows["known"]
  each = (errors * asked).sum(1) / jnp.maximum(asked.sum(1), 1) * rows["weight"]
  value, _ = of(to=1)({"student": params(0.5), "teacher": params()}, rows, KEY)
  np.testing.assert_allclose(value, each.mean(), rtol=1e-4)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_songs_begin_from_the_noise_that_they_have_in_use(share):
  """In one plain step of a network that gives zero, a student's error is its teacher's way."""
  rows = jax.tree.map(jnp.asarray, batch())
  conditions = conditions_of(rows).replace(
    group=rows["group"], known=rows["known"], clean=rows["latents"]
  )
  key, pairs = named_key(KEY, "noise"), jnp.stack([rows["group"], rows["row"]], 1)
  several = jax.jit(functools.partial(one_pass, DIT, steps=4, interval=GUIDED, share=share))
  noise, _ = begin(key, pairs, None, conditions, steps=4, share=share)
  reached = several(params(), key, 2.5, pairs, None, conditions)
  errors = jnp.square(reached - noise).mean(2)
  asked = ~rows["known"]
  each = (errors * asked).sum(1) / jnp.maximum(asked.sum(1), 1) * rows["weight"]
  value, _ = of(to=1, share=share)({"student": params(0.0), "teacher": params()}, rows, KEY)
  np.testing.assert_allclose(value, each.mean(), rtol=1e-4)


def test_who_takes_as_many_steps_unguided_has_nothing_to_learn_and_the_teacher_never_has():
  loss = jax.jit(jax.value_and_grad(of(guidance=1.0), has_aux=True))
  both = {"student": params(), "teacher": params()}
  numbers = set()
  for seed in range(6):
    (value, sums), _ = loss(both, batch(), jax.random.key(seed))
    assert value < 1e-9
    numbers |= {name for name, (_, rows) in sums.items() if rows}
  assert len(numbers) > 2  # steps are drawn
  (value, _), gradient = loss({"student": params(0.9), "teacher": params()}, batch(), KEY)
  assert value > 1e-4
  assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient["student"]))
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["teacher"]))


def test_a_model_with_timing_is_told_how_much_is_music():
  timed = DIT.clone(timing=True)
  law = {"to": 4, "of": 4, "guidance": 2.5, "interval": GUIDED, "seconds": 8.0}
  law["dropout"] = dict.fromkeys(("text", "bpm", "context", "activity"), 0.0)
  rows = batch() | {"seconds": jnp.full(len(batch()["row"]), 5.0)}
  both = dict.fromkeys(("student", "teacher"), dit_shapes(timed))
  value, _ = jax.eval_shape(distilled_loss(timed, **law), both, rows, KEY)
  assert value.shape == ()


def test_what_it_costs_and_what_cannot_be():
  assert passes(8, 32, (1, 16)) == pytest.approx((3 + 3.5 + 48 / 8) / 3)
  for to in (0, 5, 33):
    with pytest.raises(ValueError, match="expected a divisor of the teacher's 32"):
      distilled_loss(DIT, to=to, of=32, guidance=3.0, interval=(1, 16), dropout={})
  with pytest.raises(ValueError, match=r"guided interval: got 0\.\.99, expected it within 1\.\.32"):
    distilled_loss(DIT, to=8, of=32, guidance=3.0, interval=(0, 99), dropout={})

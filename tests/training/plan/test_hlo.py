"""Products and collectives are counted as often as their loops run."""

import jax
import jax.numpy as jnp
import pytest

from configs import c_ii
from stemphonic_jax.models.machine import Machine
from stemphonic_jax.training.plan import compile as planned
from stemphonic_jax.training.plan import cost, describe, hlo

# As XLA writes it, without its layouts. 24 turns of a loop, in it one sum of 4 · 8 numbers in half
# precision; one gathering that goes on beside other work, under one channel in two computations; a
# sum of which each device keeps a part.
PROGRAM = """HloModule jit_step, is_scheduled=true

%limit (p: (s32[], bf16[4,8])) -> pred[] {
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %c = s32[]{:T(128)S(6)} constant(24)
  ROOT %less = pred[]{:T(512)} compare(%i, %c), direction=LT
}

%body (p: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %x = bf16[4,8]{1,0:T(8,128)(2,1)} get-tuple-element(%p), index=1
  %sum = bf16[4,8]{1,0:T(8,128)(2,1)} all-reduce(%x), channel_id=1, to_apply=%add
  ROOT %t = (s32[], bf16[4,8]) tuple(%i, %sum)
}

%begin (q: f32[2,8]) -> f32[8,8] {
  ROOT %gather.1 = f32[8,8]{1,0} all-gather(%q), channel_id=7, dimensions={0}
}

%end (q: f32[2,8]) -> f32[8,8] {
  ROOT %gather.2 = f32[8,8]{1,0} all-gather(%q), channel_id=7, dimensions={0}
}

%all-reduce-scatter.1 (r: f32[8,4]) -> f32[8,1] {
  %all = f32[8,4]{1,0:T(8,128)} all-reduce(%r), channel_id=4, to_apply=%add
  ROOT %mine = f32[8,1]{1,0:T(8,128)S(1)} dynamic-slice(%all, %zero, %place)
}

ENTRY %main.9 (a: bf16[4,8], b: f32[2,8]) -> f32[8,8] {
  %loop = (s32[], bf16[4,8]) while(%t0), condition=%limit, body=%body
  %one = f32[8,8] fusion(%b), kind=kCustom, calls=%begin
  %half = f32[8,1] fusion(%w), kind=kCustom, calls=%all-reduce-scatter.1
  %two = f32[8,8] fusion(%one), kind=kCustom, calls=%end
  %pair = (f32[3]{0}, f32[6]{0}) collective-permute-start(%z), channel_id=9
  ROOT %out = f32[6]{0} collective-permute-done(%pair)
}
"""


def test_collectives_are_counted_by_kind():
  assert hlo.collectives(PROGRAM) == {
    "all-reduce": (24, 24 * 4 * 8 * 2),
    "all-gather": (1, 8 * 8 * 4),
    "reduce-scatter": (1, 8 * 4),
    "collective-permute": (1, 6 * 4),
  }


def test_products_in_loops_and_branches():
  def program(x, w):
    x, _ = jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=5)
    return jax.lax.cond(x.sum() > 0, lambda x: x @ w @ w, lambda x: x @ w, x)

  traced = jax.jit(program).trace(jnp.ones((2, 3)), jnp.ones((3, 3)))
  assert hlo.product_flops(traced.jaxpr.jaxpr) == (5 + 2) * 2 * 2 * 3 * 3


@pytest.mark.parametrize(("remat", "share"), [("none", 1.0), ("blocks", 4 / 3)])
def test_a_step_has_the_products_of_the_model_and_those_computed_again(remat, share):
  config = c_ii.get_config("tiny")
  config.dit.remat = remat
  config.text.update(length=4)  # what is outside the blocks is not computed again
  dit = planned.network(config, Machine("tpu"))
  step, arguments = planned.train_step(config, Machine("tpu"))
  shapes = describe.abstract_state(config, dit)
  model = cost.step_flops(dit, shapes, **describe.step_size(config))
  found = hlo.product_flops(step.trace(*arguments).jaxpr.jaxpr)
  assert found == pytest.approx(share * model, rel=0.08)

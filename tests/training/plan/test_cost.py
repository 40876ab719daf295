"""FLOPs and memory of a step, counted from shapes, beside what XLA says of the same computation."""

import functools

import jax
import jax.numpy as jnp
import pytest

from configs import c_ii
from stemphonic_jax.bench import train
from stemphonic_jax.models.conditioning import Conditions, TextEncoder
from stemphonic_jax.models.dit import DiT, for_sampling
from stemphonic_jax.models.lora import add_lora
from stemphonic_jax.training.losses.velocity import velocity_loss
from stemphonic_jax.training.plan import cost, describe
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.optimizer import adamw
from stemphonic_jax.weights.architecture import init_dit

# One head and one row: attention on a CPU goes head by head, in a loop that XLA counts once.
WIDE = DiT(channels=64, width=512, depth=3, heads=1, text_width=256, dtype=jnp.bfloat16)
LEARNED = WIDE.clone(text_encoder=TextEncoder(64, 256, 2, 1))
# Rows that are one less than a multiple of 32: layers.py pads one gradient's product to that.
FRAMES, TOKENS = 126, 30
OPTIMIZER = adamw(1e-3, clip=1.0)


def create(dit, key):
  return state.create(init_dit(dit, key), {}, OPTIMIZER)


def shapes_of(dit):
  return jax.eval_shape(functools.partial(create, dit), jax.random.key(0))


def conditions(dit):
  text = (1, TOKENS) if dit.text_encoder else (1, TOKENS, dit.text_width)
  return Conditions(
    text=jnp.zeros(text, jnp.int32 if dit.text_encoder else jnp.float32),
    text_mask=jnp.ones((1, TOKENS), bool),
    bpm=jnp.ones((1,)),
    context=jnp.zeros((1, FRAMES, dit.channels)),
    activity=jnp.zeros((1, FRAMES), jnp.int8),
    seconds=jnp.zeros((1, 2)) if dit.timing else None,
  )


def counted_by_xla(function, dit, params, *inputs):
  """FLOPs with every block spelt out: XLA counts the body of a scan once."""
  unrolled = jax.eval_shape(functools.partial(for_sampling, dtype=dit.dtype), params)
  return jax.jit(function).lower({"params": unrolled}, *inputs).cost_analysis()["flops"]


@pytest.mark.parametrize(
  "dit",
  [
    WIDE,
    WIDE.clone(depth=1),
    WIDE.clone(ensemble=True),
    LEARNED,
    WIDE.clone(timing=True, memory_width=128),
    LEARNED.clone(modulation=True),
  ],
  ids=["frozen text", "one block", "ensemble", "learned text", "timing", "modulation"],
)
def test_flops_are_those_that_xla_counts(dit):
  params = shapes_of(dit).params
  x, t, given = jnp.zeros((1, FRAMES, dit.channels)), jnp.ones((1,)), conditions(dit)
  forward = cost.forward_flops(dit, params, FRAMES, TOKENS)
  # XLA also counts what is no product: norms, activation functions, softmax.
  assert counted_by_xla(dit.apply, dit, params, x, t, given) == pytest.approx(forward, rel=0.03)

  prepared = jax.eval_shape(
    functools.partial(dit.apply, method="prepare"), {"params": params}, given
  )
  velocity = functools.partial(dit.apply, method="velocity")
  network = cost.forward_flops(dit, params, FRAMES, TOKENS, prepared=True)
  assert counted_by_xla(velocity, dit, params, x, t, prepared) == pytest.approx(network, rel=0.03)
  assert network < forward


def test_a_step_is_three_forwards_of_every_row():
  shapes = shapes_of(WIDE)
  step = cost.step_flops(WIDE, shapes, rows=5, frames=FRAMES, tokens=TOKENS)
  forward = cost.forward_flops(WIDE, shapes.params, FRAMES, TOKENS)
  assert step == pytest.approx(15 * forward)
  x, t, given = jnp.zeros((1, FRAMES, 64)), jnp.ones((1,)), conditions(WIDE)
  gradient = jax.grad(lambda *inputs: jnp.mean(WIDE.apply(*inputs)))
  counted = counted_by_xla(gradient, WIDE, shapes.params, x, t, given)
  assert counted == pytest.approx(step / 5, rel=0.05)


def test_adapters_on_frozen_weights_save_a_third():
  def adapted(key):
    params = add_lora(init_dit(WIDE, key), key, 1, ("blocks/*/*/kernel",))
    return state.create(*state.split(params, ("*lora_*",)), OPTIMIZER)

  frozen = jax.eval_shape(adapted, jax.random.key(0))
  size = dict(rows=2, frames=FRAMES, tokens=TOKENS)
  share = cost.step_flops(WIDE, frozen, **size) / cost.step_flops(WIDE, shapes_of(WIDE), **size)
  assert 0.66 < share < 0.72
  row = cost.activations(WIDE, state.join(frozen.params, frozen.frozen), FRAMES, TOKENS)
  parts = cost.memory(WIDE, frozen, row, cost.abstract_mesh(1), **size)
  assert parts["average"] + parts["optimizer"] < 0.1 * parts["parameters"]


@pytest.mark.parametrize("remat", ["none", "blocks", "products"])
def test_memory_is_about_what_the_compiler_lays_out(remat):
  dit = DiT(channels=16, width=128, depth=3, heads=2, text_width=64, remat=remat)
  size = train.Size("", dit, 4, 120, 24)
  shapes, loss = (
    shapes_of(dit),
    velocity_loss(dit, dropout=train.DROPOUT, time_mean=0.0, time_std=1.0),
  )
  gradient = jax.jit(jax.grad(lambda params, batch: loss(params, batch, jax.random.key(0))[0]))
  laid = gradient.lower(shapes.params, train.host_batch(size)).compile().memory_analysis()
  row = cost.activations(dit, shapes.params, size.frames, size.tokens)
  options = dict(rows=size.rows, frames=size.frames, tokens=size.tokens, flash=True)
  parts = cost.memory(dit, shapes, row, cost.abstract_mesh(1), **options)
  given = laid.argument_size_in_bytes
  assert parts["parameters"] + parts["batch"] == pytest.approx(given, rel=0.01)
  needed = parts["gradients"] + parts["activations"]
  made = laid.output_size_in_bytes + laid.temp_size_in_bytes
  assert needed == pytest.approx(made, rel=0.2)


# GB on each device at the height of a step of configs/c_ii.py, as --mode=compile says with libtpu
# 0.0.42.1 and jax 0.10.2: chips, mesh, rematerialisation.
COMPILED = {
  (64, (16, 4, 1), "blocks"): 8.41,  # v5e:8x8
  (256, (64, 4, 1), "blocks"): 7.70,  # v5e:16x16
  (64, (16, 4, 1), "products"): 11.50,  # v5e:8x8
  (32, (8, 4, 1), "products"): 15.62,  # v5e:4x8
  (64, (8, 4, 2), "blocks"): 4.99,  # v5e:8x8
  (64, (32, 2, 1), "blocks"): 15.77,  # v6e:8x8
  (8, (8, 1, 1), "blocks"): 37.42,  # v5p:2x2x2
  (32, (32, 1, 1), "products"): 37.95,  # v5p:2x4x4
  (32, (32, 1, 1), "none"): 55.24,  # v5p:2x4x4
}


@functools.cache
def paper(remat):
  """The network of configs/c_ii.py, its state, what a row of it needs, and the size of a step."""
  config = c_ii.get_config()
  config.dit.remat = remat
  dit, size = describe.network(config), describe.step_size(config)
  shapes = describe.abstract_state(config, dit)
  return dit, shapes, cost.activations(dit, shapes.params, size["frames"], size["tokens"]), size


@pytest.mark.parametrize(("chips", "sizes", "remat"), COMPILED)
def test_memory_is_what_xla_says_of_tpus(chips, sizes, remat):
  dit, shapes, row, size = paper(remat)
  mesh = cost.abstract_mesh(*sizes)
  assert mesh.size == chips
  needed = cost.memory(dit, shapes, row, mesh, micro_batches=2, **size)
  found = sum(needed.values()) / cost.GB
  assert found == pytest.approx(COMPILED[chips, sizes, remat], rel=0.05)


def test_less_is_kept_the_more_is_computed_again():
  shapes = shapes_of(WIDE)
  rows = {
    remat: cost.activations(WIDE.clone(remat=remat), shapes.params, FRAMES, TOKENS)
    for remat in ("none", "products", "blocks")
  }
  inside = [row.inside for row in rows.values()]
  assert inside == sorted(inside, reverse=True)
  assert len({row.inputs for row in rows.values()}) == 1


def test_a_mesh_cuts_what_its_axes_are_for():
  dit = DiT(channels=64, width=512, depth=2, heads=4, text_width=256, remat="blocks")
  shapes = shapes_of(dit)
  row = cost.activations(dit, shapes.params, FRAMES, TOKENS)

  def on(*sizes):
    mesh = cost.abstract_mesh(*sizes)
    return cost.memory(dit, shapes, row, mesh, rows=64, frames=FRAMES, tokens=TOKENS)

  one, data, fsdp, tensor = on(1, 1, 1), on(8, 1, 1), on(1, 8, 1), on(1, 1, 4)
  for name in ("parameters", "average", "optimizer"):
    assert data[name] == one[name]
    # Small arrays are whole everywhere.
    assert one[name] / 8 < fsdp[name] < one[name] / 5
    assert one[name] / 4 < tensor[name] < one[name] / 3
  for name in ("batch", "activations"):
    assert data[name] == fsdp[name] == one[name] / 8
  assert tensor["batch"] == one["batch"]
  assert one["activations"] / 4 < tensor["activations"] < one["activations"]


def test_a_forecast_cuts_parameters_no_further_than_it_must():
  dit = DiT(channels=64, width=512, depth=2, heads=4, text_width=256, remat="blocks")
  shapes = shapes_of(dit)
  row = cost.activations(dit, shapes.params, FRAMES, TOKENS)
  options = dict(rows=16, frames=FRAMES, tokens=TOKENS, micro_batches=2)

  def chip(memory):
    return cost.Chip("", ("TPU",), 1e12, memory, "")

  roomy = cost.forecast(dit, shapes, row, chip(1e12), 8, **options)
  assert (roomy.fits, dict(roomy.mesh.shape)["fsdp"]) == (True, 1)
  tight = cost.forecast(dit, shapes, row, chip(0.6 * roomy.total), 8, **options)
  assert tight.fits
  assert dict(tight.mesh.shape)["fsdp"] > 1
  assert tight.seconds == roomy.seconds
  assert not cost.forecast(dit, shapes, row, chip(1e3), 8, **options).fits
  with pytest.raises(ValueError, match="16 rows do not divide by 2 micro-batches x 16 chips"):
    cost.forecast(dit, shapes, row, chip(1e12), 16, **options)


@pytest.mark.parametrize(
  ("kind", "name"),
  [
    ("NVIDIA A100-SXM4-80GB", "A100-80G"),
    ("NVIDIA A100 80GB PCIe", "A100-80G"),
    ("NVIDIA A100-SXM4-40GB", "A100-40G"),
    ("NVIDIA H200", "H200"),
    ("TPU v5 lite", "v5e"),
    ("TPU v5", "v5p"),
    ("TPU v5p", "v5p"),
    ("TPU v6 lite", "v6e"),
  ],
)
def test_chips_are_known_by_what_jax_calls_them(kind, name):
  assert cost.chip_of(kind).name == name


def test_a_cpu_has_no_peak():
  assert cost.chip_of("cpu") is None
  assert cost.peak(jax.devices()) is None

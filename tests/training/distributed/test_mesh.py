"""Places of arrays: every mesh computes what one device does, and moves parameters to rows."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.conditioning import TextEncoder
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.models.lora import add_lora
from stemphonic_jax.models.oobleck import Oobleck
from stemphonic_jax.models.spectral import Spectral
from stemphonic_jax.training.distributed import mesh
from stemphonic_jax.training.losses.velocity import velocity_loss
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.optimizer import adamw, muon, schedule
from stemphonic_jax.weights.architecture import dit_shapes, init_dit, init_vae

KEY = jax.random.key(6)
MESHES = [(8, 1, 1), (4, 2, 1), (2, 2, 2), (1, 8, 1)]
B, T, C, S = 8, 22, 4, 6  # 11 and 23 divide lengths of activations (T, T + 1), no parameter's
DIT = DiT(C, 64, 2, 2, text_width=16, frame_rate=12.3)
# The full setting (configs/c_ii.py), and one with a learned text encoder.
FULL = DiT(64, 1536, 24, 24, text_width=4096, dtype=jnp.bfloat16, remat="blocks")
LEARNED = FULL.clone(text_width=1024, text_encoder=TextEncoder(1_000, 1024, 1, 16))
BLOCKS = ("blocks/*_attention/*/kernel", "blocks/feed_forward/*/kernel")


def batch():
  rng = np.random.default_rng(5)
  return {
    "latents": rng.standard_normal((B, T, C), np.float32),
    "context": rng.standard_normal((B, T, C), np.float32),
    "activity": rng.integers(0, 2, (B, T)).astype(np.int8),
    "text": rng.standard_normal((B, S, 16), np.float32),
    "mask": np.arange(S) < rng.integers(1, S + 1, (B, 1)),
    "bpm": rng.uniform(60, 180, B).astype(np.float32),
    "group": np.array([0, 0, 0, 1, 1, 2, 2, 2], np.int32),
    "row": np.arange(B, dtype=np.int32),
  }


@functools.cache
def params():
  """Away from their zero initialisation, so that gradients reach everything."""
  rng = np.random.default_rng(0)
  shapes = dit_shapes(DIT)
  return jax.tree.map(lambda s: (0.2 * rng.standard_normal(s.shape)).astype(s.dtype), shapes)


def shapes_of(init, optimizer=optax.identity):
  """Shapes of the state of a run of the model that `init` makes."""
  return jax.eval_shape(lambda: state.create(init(KEY), {}, optimizer()))


def named(tree):
  return {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def close(got, expected, tolerance=1e-5):
  for (name, a), b in zip(named(got).items(), jax.tree.leaves(expected), strict=True):
    scale = np.abs(np.asarray(b)).max() + 1e-12
    error = np.abs(np.asarray(a) - np.asarray(b)).max() / scale
    assert error < tolerance, name


def make_step(optimizer, loss=None):
  loss = loss or velocity_loss(
    DIT,
    dropout=dict.fromkeys(("text", "bpm", "context", "activity"), 1 / 3),
    time_mean=0.0,
    time_std=1.0,
  )
  return state.train_step(loss, optimizer, ema_decay=0.9, micro_batches=1)


@functools.cache
def on_one_device():
  """The state after one step of descent at rate 1, so that the parameters show the gradient."""
  optimizer = optax.sgd(1.0)
  return make_step(optimizer)(state.create(params(), {}, optimizer), batch(), KEY)


def moved(hlo):
  """Shapes of the results of all collectives of a compiled program."""
  kinds = "all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute"
  results = re.findall(rf"= ([^=]*?) (?:{kinds})(?:-start)?\(", hlo)
  shapes = [re.findall(r"\[([\d,]*)\]", result) for result in results]
  return [tuple(int(n) for n in shape.split(",") if n) for some in shapes for shape in some]


@pytest.mark.parametrize("sizes", MESHES)
def test_every_mesh_trains_as_one_device(sizes, monkeypatch):
  monkeypatch.setattr(mesh, "SMALL", 0)
  devices = mesh.make_mesh(*sizes)
  optimizer = optax.sgd(1.0)
  before = state.create(params(), {}, optimizer)
  places = mesh.shardings(devices, before)
  before = jax.device_put(before, places)
  kernel = before.params["blocks"]["feed_forward"]["in"]["kernel"]
  assert kernel.addressable_shards[0].data.size == kernel.size // (sizes[1] * sizes[2])

  arguments = before, mesh.spread(devices, batch()), KEY
  lowered = make_step(optimizer).lower(*arguments)
  step = lowered.compile({"xla_backend_optimization_level": 0})  # in half the time
  after, metrics = step(*arguments)
  expected, expected_metrics = on_one_device()
  for name in ("loss", "gradient_norm"):
    np.testing.assert_allclose(metrics[name], expected_metrics[name], rtol=1e-5)
  close(after.params, expected.params)
  for leaf, place in zip(jax.tree.leaves(after), jax.tree.leaves(places), strict=True):
    assert leaf.sharding.is_equivalent_to(place, leaf.ndim)  # where it was
  # What moves are parameters and their gradients; activations stay where their rows are, and only
  # with tensor are they added up.
  shapes = moved(step.as_text())
  assert shapes, "gradients at least are added up"
  activations = [shape for shape in shapes if any(n and n % 11 * (n % 23) == 0 for n in shape)]
  assert bool(activations) == (sizes[2] > 1), activations


@pytest.mark.parametrize("sizes", [(8,), (-1, 2), (2, -1, 2), (1, 1, -1)])
def test_what_is_left_goes_to_one_axis(sizes):
  devices = mesh.make_mesh(*sizes)
  assert devices.axis_names == mesh.AXES
  assert devices.size == 8
  assert all(size in (-1, n) for size, n in zip(sizes, devices.devices.shape, strict=False))
  assert set(devices.axis_types) == {AxisType.Auto}


@pytest.mark.parametrize("sizes", [(3,), (-1, 3), (-1, -1), (4, 1, 1), (16,), (0, 2), (-2, -4, 1)])
def test_sizes_that_do_not_fit_are_refused(sizes):
  with pytest.raises(UsageError, match="number of devices, 8"):
    mesh.make_mesh(*sizes)


@dataclasses.dataclass(frozen=True)
class Device:
  """What a mesh asks of a device."""

  id: int
  process_index: int
  platform: str = "cpu"
  device_kind: str = "cpu"


def hosts_of(count, monkeypatch):
  """Eight devices of `count` hosts, in no order of hosts."""

  device = lambda i: Device(i, i % count)  # noqa: E731
  monkeypatch.setattr(jax, "process_count", lambda: count)
  monkeypatch.setattr(jax, "local_device_count", lambda: 8 // count)
  monkeypatch.setattr(jax, "devices", lambda: [device(i) for i in range(8)])


@pytest.mark.parametrize("sizes", [*MESHES, (2, 4, 1), (1, 4, 2)])
@pytest.mark.parametrize("hosts", [2, 4])
def test_each_host_has_one_run_of_rows(sizes, hosts, monkeypatch):
  hosts_of(hosts, monkeypatch)
  rows = mesh.make_mesh(*sizes).devices.reshape(sizes[0] * sizes[1], sizes[2])
  owners = [{device.process_index for device in row} for row in rows]
  assert owners == [{i * hosts // len(rows)} for i in range(len(rows))]


def test_devices_with_the_same_rows_are_of_one_host(monkeypatch):
  hosts_of(4, monkeypatch)
  with pytest.raises(UsageError, match="divides the devices of one host, 2"):
    mesh.make_mesh(1, 2, 4)


def test_rows_are_split_over_data_and_fsdp_together():
  devices = mesh.make_mesh(2, 2, 2)
  rows = mesh.spread(devices, batch())["row"]
  assert [shard.data.tolist() for shard in rows.addressable_shards[::2]] == [
    [0, 1], [2, 3], [4, 5], [6, 7]
  ]  # fmt: skip
  jax.tree.map(np.testing.assert_array_equal, mesh.spread(devices, batch()), batch())
  mesh.check_rows(devices, 24, 2)
  with pytest.raises(UsageError, match=r"batch_size 28 does not divide.*multiple of 8"):
    mesh.check_rows(devices, 28, 2)


def test_a_host_by_itself_has_its_devices_in_one_row():
  devices = mesh.local_mesh()
  assert devices.shape == {"data": 8}
  assert len(mesh.spread(devices, np.zeros((16, 3))).sharding.device_set) == 8
  mesh.check_rows(devices, 24, 3)
  assert mesh.replicate(devices, np.ones(3)).is_fully_replicated


@pytest.mark.parametrize(
  ("dit", "rule"),
  [
    (FULL, adamw),
    (LEARNED, adamw),
    (FULL.clone(modulation=True), muon),
    (LEARNED.clone(modulation=True), muon),
  ],
  ids=["t5", "learned", "muon and modulation", "and words"],
)
def test_every_large_parameter_of_the_full_model_is_split_both_ways(dit, rule):
  devices = mesh.make_mesh(1, 4, 2)
  shapes = shapes_of(functools.partial(init_dit, dit), lambda: rule(1e-4, clip=1.0))
  for (name, shape), place in zip(
    named(shapes).items(), jax.tree.leaves(mesh.shardings(devices, shapes)), strict=True
  ):
    parts = math.prod(shape.shape) // math.prod(place.shard_shape(shape.shape))
    wanted = 8 if math.prod(shape.shape) >= 2**21 else 1
    assert parts >= wanted, (name, shape.shape, place.spec)
    assert (place.spec == PartitionSpec()) == (parts == 1)
  state_bytes = sum(
    math.prod(place.shard_shape(shape.shape)) * shape.dtype.itemsize
    for shape, place in zip(
      jax.tree.leaves(shapes), jax.tree.leaves(mesh.shardings(devices, shapes)), strict=True
    )
  )
  whole = sum(math.prod(s.shape) * s.dtype.itemsize for s in jax.tree.leaves(shapes))
  assert state_bytes < 1.03 * whole / 8


def test_average_and_moments_lie_where_their_parameters_do():
  optimizer = functools.partial(adamw, schedule(1e-4, warmup=10), clip=1.0)
  shapes = shapes_of(functools.partial(init_dit, FULL), optimizer)
  places = mesh.shardings(mesh.make_mesh(2, 2, 2), shapes)
  moments = [part for part in jax.tree.leaves(places.opt_state, is_leaf=_is_adam) if _is_adam(part)]
  for tree in (places.ema, moments[0].mu, moments[0].nu):
    assert tree == places.params
  assert places.step.spec == moments[0].count.spec == PartitionSpec()


def _is_adam(part):
  return isinstance(part, optax.ScaleByAdamState)


def test_a_dimension_that_does_not_divide_is_whole():
  devices = mesh.make_mesh(1, 4, 2)

  def spec(*shape):
    tree = {"blocks": {"query": {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32)}}}
    return mesh.shardings(devices, tree)["blocks"]["query"]["kernel"].spec

  assert spec(3, 1024, 1024) == PartitionSpec(None, "fsdp", "tensor")
  assert spec(3, 1022, 1024) == PartitionSpec(None, None, "tensor")
  assert spec(3, 1024, 1023) == PartitionSpec(None, "fsdp", None)
  assert spec(2**20) == spec(3, 64, 64) == PartitionSpec()


def test_no_rule_is_dead(monkeypatch):
  """Each is needed for some parameter of a model that can be trained."""

  def learned(key):
    return add_lora(init_dit(LEARNED, key), key, 16, BLOCKS)

  vaes = [functools.partial(init_vae, vae) for vae in (Oobleck(), Spectral())]
  trees = [shapes_of(init).params for init in (learned, *vaes)]
  monkeypatch.setattr(mesh, "SMALL", 0)
  devices = mesh.make_mesh(1, 4, 2)
  places = [mesh.shardings(devices, tree) for tree in trees]
  rules = mesh.RULES
  for i, (pattern, _) in enumerate(rules):
    monkeypatch.setattr(mesh, "RULES", rules[:i] + rules[i + 1 :])
    assert [mesh.shardings(devices, tree) for tree in trees] != places, pattern


def test_adapters_are_cut_as_their_kernels_are():
  """Where what goes between their two halves is cut, it would have to be gathered."""
  sizes = {"kernel": (2, 1024, 1024), "lora_in": (2, 1024, 256), "lora_out": (2, 256, 1024)}
  shapes = {name: jax.ShapeDtypeStruct(size, jnp.float32) for name, size in sizes.items()}
  places = mesh.shardings(mesh.make_mesh(1, 4, 2), {"query": shapes, "out": shapes})
  specs = jax.tree.map(lambda place: tuple(place.spec), places)
  assert specs["query"] == {
    "kernel": (None, "fsdp", "tensor"),
    "lora_in": (None, "fsdp", None),
    "lora_out": (None, None, "tensor"),
  }
  assert specs["out"] == {
    "kernel": (None, "tensor", "fsdp"),
    "lora_in": (None, "tensor", None),
    "lora_out": (None, None, "fsdp"),
  }

"""Training steps of the DiT: groups survive every cut of a batch, resuming leaves no trace."""

import contextlib
import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stemphonic_jax.data.batching import pipeline
from stemphonic_jax.data.batching.records import Segment
from stemphonic_jax.data.preparing.shards import write_records
from stemphonic_jax.data.tokenizer import Tokenizer
from stemphonic_jax.errors import MismatchError
from stemphonic_jax.models.conditioning import TextEncoder
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.training.distributed import mesh
from stemphonic_jax.training.losses.velocity import velocity_loss
from stemphonic_jax.training.run import loop, state
from stemphonic_jax.training.run.checkpoints import Checkpoints
from stemphonic_jax.training.run.guard import Guard
from stemphonic_jax.training.run.metrics import MetricsLog
from stemphonic_jax.training.run.optimizer import adamw, schedule
from stemphonic_jax.training.trainers import stage
from stemphonic_jax.weights.architecture import dit_shapes, init_dit
from tests import tiny

T, C, S, B = 10, 4, 24, 8
KEY = jax.random.key(4)
RATES = {"text": 1 / 3, "bpm": 1 / 3, "context": 1 / 3, "activity": 1 / 3}
TYPES = ("drums", "basses", "keys", "guitars")


def piece(i: int) -> Segment:
  rng = np.random.default_rng(i)
  count = 2 + i % 3
  return Segment(
    id=f"piece-{i}",
    names=TYPES[:count],
    types=TYPES[:count],
    caption=f"Warm soul number {i}",
    bpm=80.0 + i,
    latents=rng.standard_normal((count, T, C)).astype(np.float16),
    activity=np.ones((count, T), np.int8),
    submixes={3: rng.standard_normal((T, C)).astype(np.float16)},
  )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  """Records, a tokenizer and a DiT, all of them small and real."""
  folder = tmp_path_factory.mktemp("world")
  records = write_records(folder / "records", (piece(i) for i in range(12)), hop=64, rate=8000)
  texts = [f"Generate the stem: [{t}] Warm soul number {i}" for t in TYPES for i in range(12)]
  tokenizer = Tokenizer.train(texts, folder / "tokenizer.model", 400)
  encoder = TextEncoder(len(tokenizer), 16, 1, 2)
  return records, tokenizer, DiT(C, 32, 2, 2, text_width=16, text_encoder=encoder)


def make_batches(world, **options):
  records, tokenizer, _ = world
  return pipeline.batches(
    records,
    functools.partial(tokenizer.encode, length=S),
    statistics=records.index.statistics,
    batch_size=B,
    seed=3,
    **options,
  )


def first_batch(world, **options):
  with contextlib.closing(make_batches(world, **options)) as batches:
    return loop.arrays(next(batches)[1])


def make_loss(world):
  return velocity_loss(world[2], dropout=RATES, time_mean=0.0, time_std=1.0)


def moved_params(world):
  """Parameters off their zero initialisation, so that gradients reach everything."""
  return jax.tree.map(jnp.asarray, tiny.random_params(dit_shapes(world[2])))


def close(a, b, tolerance=1e-5):
  def check(x, y):
    scale = np.abs(np.asarray(y)).max() + 1e-12
    np.testing.assert_allclose(np.asarray(x) / scale, np.asarray(y) / scale, atol=tolerance)

  jax.tree.map(check, a, b)


def cut_batch(world):
  """A batch whose middle goes through a group, so that any even cut does."""
  with contextlib.closing(make_batches(world)) as batches:
    group = np.zeros(B)
    while group[B // 2 - 1] != group[B // 2] or len(set(group)) == 1:
      _, batch = next(batches)
      group = batch["group"]
  return loop.arrays(batch)


def updated(world, micro_batches):
  """What a step makes of a batch, by plain descent: Adam divides by nearly zero where it may."""
  optimizer = optax.sgd(1.0)
  step = state.train_step(make_loss(world), optimizer, ema_decay=0.9, micro_batches=micro_batches)
  return step(state.create(moved_params(world), {}, optimizer), cut_batch(world), KEY)


@pytest.fixture(scope="module")
def uncut(world):
  return updated(world, 1)


@pytest.mark.parametrize("micro_batches", [2, 8])
def test_cutting_a_batch_into_micro_batches_changes_nothing(world, uncut, micro_batches):
  (whole, whole_metrics), (cut, cut_metrics) = uncut, updated(world, micro_batches)
  close(cut.params, whole.params)
  close(cut_metrics["loss"], whole_metrics["loss"])


def test_settings_b_and_c_differ_in_the_noise_alone(world):
  b, c = first_batch(world, share_noise=False), first_batch(world, share_noise=True)
  differing = [name for name in b if not np.array_equal(b[name], c[name], equal_nan=True)]
  assert differing == ["group"]
  a = first_batch(world, group_stems=False)
  assert len(set(a["group"])) == B
  loss = jax.jit(make_loss(world))
  params = moved_params(world)
  assert loss(params, b, KEY)[0] != loss(params, c, KEY)[0]
  as_c = b | {"group": c["group"]}
  assert loss(params, as_c, KEY)[0] == loss(params, c, KEY)[0]


def test_losses_by_time_add_up_to_the_loss(world):
  loss, sums = jax.jit(make_loss(world))(moved_params(world), first_batch(world), KEY)
  totals, counts = zip(*sums.values(), strict=True)
  assert sum(counts) == B
  np.testing.assert_allclose(sum(totals) / B, loss, rtol=1e-5)


def test_held_out_loss_is_a_function_of_the_parameters(world):
  loss, params = jax.jit(make_loss(world)), moved_params(world)
  batches = [first_batch(world), first_batch(world, share_noise=False)]
  once, again = (stage.held_out_loss(loss, batches, KEY, params) for _ in range(2))
  assert once == again
  assert np.isfinite(once["held_out_loss"])
  zero = stage.held_out_loss(loss, batches, KEY, jax.tree.map(jnp.zeros_like, params))
  assert zero["held_out_loss"] != once["held_out_loss"]


@pytest.fixture(scope="module")
def train_step(world):
  """The optimiser and the step of all runs here, which is compiled once."""
  optimizer = adamw(schedule(1e-3, warmup=3), clip=1.0)
  return optimizer, state.train_step(make_loss(world), optimizer, ema_decay=0.9, micro_batches=1)


def run(world, train_step, folder, steps, save_every=5):
  """Trains in `folder` as a trainer does, to step `steps`; returns the state and the log."""
  optimizer, step = train_step
  devices = mesh.make_mesh()
  with (
    contextlib.closing(Checkpoints(folder / "checkpoints", fingerprint={})) as checkpoints,
    MetricsLog(folder, steps=steps, seconds_per_step=1.0, every=1) as log,
  ):
    final = loop.run(
      lambda: state.create(init_dit(world[2], KEY), {}, optimizer),
      step,
      lambda start: make_batches(world, start=start),
      checkpoints,
      log,
      mesh=devices,
      run_key=KEY,
      steps=steps,
      save_every=save_every,
      place=functools.partial(mesh.spread, devices),
      evaluate=lambda s: {"seen": s.step},
      guard=Guard(folder),
    )
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return final, [json.loads(line) for line in lines]


def test_ten_steps_restore_and_ten_more_are_twenty_to_the_bit(world, train_step, tmp_path):
  straight, straight_log = run(world, train_step, tmp_path / "straight", 20, save_every=20)
  run(world, train_step, tmp_path / "broken", 10, save_every=10)
  resumed, resumed_log = run(world, train_step, tmp_path / "broken", 20, save_every=10)
  jax.tree.map(np.testing.assert_array_equal, resumed, straight)

  def losses(log):
    return [line["loss"] for line in log if "loss" in line]

  assert len(losses(straight_log)) == 20
  assert losses(resumed_log) == losses(straight_log)


def test_a_finished_run_does_nothing_more(world, train_step, tmp_path):
  final, _ = run(world, train_step, tmp_path, 5)
  again, log = run(world, train_step, tmp_path, 5)
  jax.tree.map(np.testing.assert_array_equal, again, final)
  assert len([line for line in log if "loss" in line]) == 5


def test_a_checkpoint_of_another_model_is_refused_by_name(world, train_step, tmp_path):
  run(world, train_step, tmp_path, 5)
  wider = (*world[:2], dataclasses.replace(world[2], width=64))
  with pytest.raises(MismatchError, match=r"params/activity|params/blocks|ema/blocks"):
    run(wider, train_step, tmp_path, 10)


def test_average_follows_the_parameters_by_its_formula():
  optimizer = optax.sgd(0.5)
  loss = lambda params, batch, key: (jnp.sum(params["w"] * batch), {})  # noqa: E731
  step = state.train_step(loss, optimizer, ema_decay=0.5)
  current = state.create({"w": jnp.zeros(1)}, {}, optimizer)
  expected = 0.0
  for i in range(6):
    current, metrics = step(current, jnp.ones((1, 1)), KEY)
    decay = min(0.5, (1 + i) / (10 + i))
    expected = decay * expected + (1 - decay) * (-0.5 * (i + 1))
    np.testing.assert_allclose(current.ema["w"], expected, rtol=1e-6)
    assert metrics["gradient_norm"] == 1.0

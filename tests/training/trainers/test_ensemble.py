"""Training of stems that hear each other: groups are whole wherever a batch is cut."""

import contextlib
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stemphonic_jax.data.batching import pipeline
from stemphonic_jax.data.batching.grouping import Known
from stemphonic_jax.data.batching.records import Segment
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.training.distributed import mesh
from stemphonic_jax.training.losses.velocity import velocity_loss
from stemphonic_jax.training.run import loop, state
from stemphonic_jax.weights.architecture import dit_shapes
from tests.tiny import InMemory, random_params

T, C, B, BLOCK = 10, 4, 32, 4
KEY = jax.random.key(4)
RATES = dict.fromkeys(("text", "bpm", "context", "activity"), 1 / 3)
DIT = DiT(C, 32, 2, 2, text_width=8, ensemble=True, rows=BLOCK)
LAW = Known(given=0.3, repair=0.3, extend=0.2)


def piece(i: int) -> Segment:
  rng = np.random.default_rng(i)
  count = 2 + i % 3
  return Segment(
    id=f"piece-{i}",
    names=("drums", "basses", "keys", "guitars")[:count],
    types=("drums", "basses", "keys", "guitars")[:count],
    caption=f"Warm soul number {i}",
    bpm=80.0 + i,
    latents=rng.standard_normal((count, T, C)).astype(np.float16),
    activity=np.ones((count, T), np.int8),
    submixes={},
  )


PIECES = InMemory(piece(i) for i in range(12))


def encode_text(prompts):
  """Embeddings of a text encoder that hears lengths alone."""
  lengths = np.array([len(prompt) for prompt in prompts], np.float32)
  return np.tile(lengths[:, None, None] / 50, (1, 3, 8)), np.ones((len(prompts), 3), bool)


def batches(**options):
  return pipeline.batches(
    PIECES,
    encode_text,
    statistics=PIECES.index.statistics,
    batch_size=B,
    seed=3,
    block=BLOCK,
    known=LAW,
    **options,
  )


@functools.cache
def batch(**options):
  with contextlib.closing(batches(**options)) as walk:
    return loop.arrays(next(walk)[1])


def loss(share=0.0, dit=DIT):
  return velocity_loss(dit, dropout=RATES, time_mean=0.0, time_std=1.0, share=share)


@functools.cache
def after_a_step(micro_batches=1):
  """The state after one step of descent at rate 1, so that the parameters show the gradient."""
  optimizer = optax.sgd(1.0)
  start = state.create(random_params(dit_shapes(DIT)), {}, optimizer)
  step = state.train_step(
    loss(), optimizer, ema_decay=0.9, micro_batches=micro_batches, block=BLOCK
  )
  end = step(jax.tree.map(jnp.copy, start), batch(), KEY)
  return SimpleNamespace(start=start, step=step, end=end)


def close(a, b, tolerance=1e-5):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    scale = np.abs(np.asarray(y)).max() + 1e-12
    np.testing.assert_allclose(np.asarray(x) / scale, np.asarray(y) / scale, atol=tolerance)


def test_a_batch_says_what_is_known_and_every_block_has_its_groups_whole():
  found = batch()
  assert found["known"].shape == (B, T)
  assert not found["weight"][found["known"].all(1)].any()
  np.testing.assert_allclose(found["weight"].mean(), 1, rtol=1e-6)
  for group in range(found["group"].max() + 1):
    rows = np.flatnonzero(found["group"] == group)
    assert len(set(rows // BLOCK)) == 1
    assert (np.diff(rows) == 1).all()
    assert not found["known"][rows].all()


@pytest.mark.parametrize("hosts", [2, 8])
def test_hosts_have_whole_blocks_of_the_same_batch(hosts):
  parts = [batch(host=host, hosts=hosts) for host in range(hosts)]
  for name, whole in batch().items():
    np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole)
  with pytest.raises(ValueError, match="32 does not divide by 16 hosts with blocks of 4 rows"):
    batches(hosts=16)


def test_micro_batches_change_nothing():
  close(after_a_step(4).end[0].params, after_a_step().end[0].params)
  close(after_a_step(4).end[1]["loss"], after_a_step().end[1]["loss"])


def test_a_mesh_trains_as_one_device(monkeypatch):
  monkeypatch.setattr(mesh, "SMALL", 0)
  devices, one = mesh.make_mesh(2, 2, 2), after_a_step()
  before = jax.device_put(one.start, mesh.shardings(devices, one.start))
  after, metrics = one.step(before, mesh.spread(devices, batch()), KEY)
  close(after.params, one.end[0].params)
  close(metrics["loss"], one.end[1]["loss"])


def test_stems_of_a_group_are_at_one_time_and_noise_is_shared_as_far_as_asked(monkeypatch):
  seen = {}

  def look(x, noise, t):
    seen.update(noise=noise, t=t)
    raise LookupError  # the network has other lengths

  monkeypatch.setattr("stemphonic_jax.training.losses.velocity.interpolate", look)
  group, long = np.asarray(batch()["group"]), jax.tree.map(jnp.asarray, dict(batch()))
  long["latents"] = jnp.zeros((B, 4_000, C))  # to measure correlations of its noise
  for share in (0.0, 0.5, 1.0):
    with pytest.raises(LookupError):
      loss(share)({}, long, KEY)
    assert len(set(np.asarray(seen["t"]))) == group.max() + 1
    flat = np.asarray(seen["noise"]).reshape(B, -1)
    expected = np.where(group[:, None] == group[None], share, 0)
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(np.corrcoef(flat), expected, atol=0.05)
    np.testing.assert_allclose(flat.std(1), 1, atol=0.03)


def test_known_frames_count_for_nothing():
  params, value, found = random_params(dit_shapes(DIT)), jax.jit(loss()), dict(batch())
  assert value(params, found, KEY)[0] != 0
  assert ((found["weight"] > 0) == ~found["known"].all(1)).all()
  all_known = {"known": np.ones((B, T), bool), "weight": np.ones(B, np.float32)}
  assert value(params, found | all_known, KEY)[0] == 0

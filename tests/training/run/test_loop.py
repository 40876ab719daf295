"""A run goes on as if it had never stopped, on whatever devices, and never makes them wait."""

import jax
import numpy as np
import pytest

from stemphonic_jax.errors import MismatchError
from stemphonic_jax.training.distributed import mesh
from stemphonic_jax.training.run import state
from tests.training import tiny_run


def equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_ten_steps_restore_and_ten_more_are_twenty_to_the_bit(tmp_path):
  straight, _ = tiny_run.train(tmp_path / "straight", 20, save_every=20)
  tiny_run.train(tmp_path / "broken", 10, save_every=10)
  resumed, _ = tiny_run.train(tmp_path / "broken", 20, save_every=10)
  equal(resumed, straight)
  losses = tiny_run.losses(tmp_path / "straight")
  assert sorted(losses) == list(range(1, 21))
  assert tiny_run.losses(tmp_path / "broken") == losses


def test_a_run_goes_on_on_another_mesh(tmp_path):
  straight, _ = tiny_run.train(tmp_path / "straight", 6, save_every=6)
  for steps, shape in ((2, {"fsdp": 8}), (4, {"fsdp": 2, "tensor": 2}), (6, {"tensor": 4})):
    moved, _ = tiny_run.train(tmp_path / "moved", steps, devices=mesh.make_mesh(**shape))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    moved.params,
    straight.params,
  )


def test_a_finished_run_does_nothing_more(tmp_path):
  final, _ = tiny_run.train(tmp_path, 3)
  equal(tiny_run.train(tmp_path, 3)[0], final)
  assert len((tmp_path / "losses").read_text().splitlines()) == 3


def test_a_run_is_evaluated_and_saved_where_it_should_be(tmp_path):
  seen = []

  def evaluate(current):
    seen.append(int(current.step))
    return {"held_out_loss": abs(current.step - 4.0)}

  tiny_run.train(tmp_path, 8, save_every=2, evaluate=evaluate, keep={"keep": 1, "keep_best": 1})
  assert seen == [2, 4, 6, 8]
  kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
  assert kept == {"4", "8", "trash"}  # the best and the newest


def test_every_part_of_a_state_stays_where_it_was(tmp_path, monkeypatch):
  """Else the second step would be compiled anew, and buffers could not be given on."""
  monkeypatch.setattr(mesh, "SMALL", 0)
  devices = mesh.make_mesh(fsdp=2, tensor=2)
  step = state.train_step(tiny_run.loss, tiny_run.OPTIMIZER, ema_decay=0.9, micro_batches=2)
  before = state.initial(tiny_run.create, devices)
  places = jax.tree.map(lambda leaf: leaf.sharding, before)
  assert any(not place.is_fully_replicated for place in jax.tree.leaves(places))
  batch = mesh.spread(devices, tiny_run.next_batch())
  after, _ = step(before, batch, jax.random.key(0))
  same = lambda leaf, place: leaf.sharding.is_equivalent_to(place, leaf.ndim)  # noqa: E731
  assert all(jax.tree.leaves(jax.tree.map(same, after, places)))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.params))


def test_micro_batches_are_dealt_out_where_their_rows_are():
  rows = np.arange(16).reshape(8, 2)
  dealt = state.deal(rows, 2)
  np.testing.assert_array_equal(dealt, [rows[0::2], rows[1::2]])


def test_a_checkpoint_of_another_model_is_refused(tmp_path, monkeypatch):
  tiny_run.train(tmp_path, 1)
  monkeypatch.setattr(tiny_run, "FINGERPRINT", {"seed": 4, "data": {"batch_size": 16}})
  with pytest.raises(MismatchError, match=r"data.batch_size: checkpoint 8, now 16"):
    tiny_run.train(tmp_path, 2)

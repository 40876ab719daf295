"""Updates that are not finite are left out; a run of only such, or that is told, ends."""

import functools
import json
import os
import signal

import jax
import numpy as np
import pytest

from stemphonic_jax.errors import DivergedError, OutputError, PreemptedError
from stemphonic_jax.training.run import state
from stemphonic_jax.training.run.checkpoints import verify
from tests.training import tiny_run


def data(*bad):
  return functools.partial(tiny_run.batches, bad=lambda position: position in bad)


def finite(tree):
  return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def test_ten_bad_batches_of_ten_are_left_out_and_counted(tmp_path):
  bad = [3, 4, 5, 6, 10, 11, 12, 13, 17, 19]
  final, log = tiny_run.train(tmp_path, 24, save_every=8, data=data(*bad))
  assert finite(final)
  assert [final.step, final.skipped, final.in_a_row] == [24, 10, 0]
  assert log.skipped == [sum(b < step for b in bad) for step in range(1, 25)]
  assert verify(tmp_path / "checkpoints") == {16: [], 24: []}


def test_a_skipped_update_leaves_all_but_the_counts(tmp_path):
  step = state.train_step(tiny_run.loss, tiny_run.OPTIMIZER, ema_decay=0.9, micro_batches=2)
  good = tiny_run.next_batch()
  bad = {"x": np.where(np.arange(8)[:, None] == 5, np.inf, good["x"]).astype(np.float32)}
  key = jax.random.key(0)
  before, _ = step(tiny_run.create(), good, key)
  kept = jax.device_get(before)
  after, metrics = step(before, bad, key)
  for part in ("params", "ema", "opt_state"):
    jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(kept, part))
  assert [after.step, after.skipped, after.in_a_row] == [2, 1, 1]
  assert [metrics["skipped"], metrics["skipped_in_a_row"]] == [1, 1]
  again, metrics = step(after, good, key)
  assert [again.skipped, again.in_a_row] == [1, 0]


def test_five_in_a_row_end_the_run_and_the_last_good_state_is_kept(tmp_path):
  with pytest.raises(DivergedError, match=r"step 12: loss nan, .* update 5 in a row") as caught:
    tiny_run.train(tmp_path, 30, save_every=5, data=data(2, *range(7, 30)))
  assert caught.value.exit_code == 76
  assert str(tmp_path / "bad_batches.json") in str(caught.value)
  batches = json.loads((tmp_path / "bad_batches.json").read_text())
  assert [batch["step"] for batch in batches] == [8, 9, 10, 11, 12]
  assert batches[0] == {
    "step": 8, "loss": "nan", "gradient_norm": "nan", "ids": ["piece-7"],
  }  # fmt: skip
  newest = max(verify(tmp_path / "checkpoints"))
  final, _ = tiny_run.train(tmp_path, newest)
  assert finite(final)
  # With other data it goes on from there.
  final, _ = tiny_run.train(tmp_path, 15)
  assert [final.step, finite(final), final.in_a_row] == [15, True, 0]


@pytest.mark.parametrize(("steps", "good"), [(7, 2), (3, 0), (1, 0)])
def test_a_streak_that_ends_with_the_run_ends_it_each_time(tmp_path, steps, good):
  for _ in range(2):
    with pytest.raises(DivergedError, match=f"step {steps}: .* update {steps - good} in a row"):
      tiny_run.train(tmp_path, steps, data=data(*range(good, steps)))
    assert max(verify(tmp_path / "checkpoints"), default=0) == steps - 1


def test_sigterm_is_honoured_after_evaluation_and_several_times(tmp_path):
  def evaluate(current):
    for _ in range(3):
      os.kill(os.getpid(), signal.SIGTERM)
    return {}

  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(PreemptedError, match="step 5 of 9 is saved") as caught:
    tiny_run.train(tmp_path, 9, save_every=4, evaluate=evaluate)
  assert caught.value.exit_code == 75
  assert signal.getsignal(signal.SIGTERM) == before
  assert max(verify(tmp_path / "checkpoints")) == 5
  straight, _ = tiny_run.train(tmp_path / "straight", 9, save_every=9)
  resumed, _ = tiny_run.train(tmp_path, 9, save_every=9)
  jax.tree.map(np.testing.assert_array_equal, resumed, straight)


def test_what_cannot_be_shown_costs_nothing_until_the_end(tmp_path):
  def show(current):
    shown.append(int(current.step))
    raise OutputError("the disk is full")

  shown = []
  with pytest.raises(OutputError, match="the disk is full"):
    tiny_run.train(tmp_path, 6, save_every=2, show=show)
  assert shown == [2, 4, 6]
  assert max(verify(tmp_path / "checkpoints")) == 4  # what is made at the end is not made yet
  final, _ = tiny_run.train(tmp_path, 6, save_every=2)
  assert final.step == 6


def test_a_sigterm_that_comes_after_the_last_step_is_passed_on(tmp_path):
  heard = []
  before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
  try:
    tiny_run.train(
      tmp_path, 2, evaluate=lambda _: os.kill(os.getpid(), signal.SIGTERM) or {}, save_every=9
    )
  finally:
    signal.signal(signal.SIGTERM, before)
  assert heard == [1]

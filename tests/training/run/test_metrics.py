"""Metrics of a run: what is written when, and rates that are those of the steps since."""

import json

import pytest

from stemphonic_jax.training.run import metrics


class Value:
  """A loss on a device: says when it is fetched."""

  def __init__(self, step, fetched):
    self.step, self.fetched = step, fetched

  def __float__(self):
    self.fetched.append(self.step)
    return 1.0


def written(folder, monkeypatch, seconds, *, steps, every, **options):
  """The lines of a run whose step n takes seconds[n - 1], and the order of dispatch and fetch."""
  clock, order = [0.0], []
  monkeypatch.setattr(metrics.time, "monotonic", lambda: clock[0])
  with metrics.MetricsLog(
    folder, steps=steps, seconds_per_step=80.0, every=every, **options
  ) as log:
    for step in range(1, steps + 1):
      order.append(f"step {step}")
      log.step(step, {"loss": Value(step, order)})
      clock[0] += seconds[step - 1]
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines], order


def test_rates_are_of_the_steps_since_the_line_before(tmp_path, monkeypatch):
  seconds = [100.0] + [1.0] * 9 + [4.0] * 10
  lines, _ = written(
    tmp_path, monkeypatch, seconds, steps=20, every=10, stems_per_step=10, flops_per_step=3e12,
    peak=6e12,
  )  # fmt: skip
  assert [line["step"] for line in lines] == [10, 20]
  for line, rate in zip(lines, (1.0, 0.25), strict=True):
    assert line["steps_per_second"] == pytest.approx(rate)
    assert line["audio_seconds_per_second"] == pytest.approx(80 * rate)
    assert line["stems_per_second"] == pytest.approx(10 * rate)
    assert line["mfu"] == pytest.approx(rate / 2)


def test_a_step_is_fetched_after_the_next_is_dispatched(tmp_path, monkeypatch):
  _, order = written(tmp_path, monkeypatch, [1.0] * 6, steps=6, every=3)
  for step in (1, 3):
    assert order.index(step) > order.index(f"step {step + 1}")
  assert {1, 3, 6} == {entry for entry in order if isinstance(entry, int)}


def test_the_first_step_which_compiles_has_no_rate(tmp_path, monkeypatch):
  lines, _ = written(tmp_path, monkeypatch, [50.0, 2.0, 2.0], steps=3, every=1)
  assert "steps_per_second" not in lines[0]
  assert [line["steps_per_second"] for line in lines[1:]] == [0.5, 0.5]


@pytest.mark.parametrize("options", [{}, {"flops_per_step": 1e12, "peak": None}])
def test_there_is_no_mfu_of_an_unknown_device(tmp_path, monkeypatch, options):
  lines, _ = written(tmp_path, monkeypatch, [1.0] * 4, steps=4, every=2, **options)
  assert not any({"mfu", "stems_per_second"} & line.keys() for line in lines)

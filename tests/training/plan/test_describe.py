"""What --mode=describe says of a step: from shapes alone, for machines that are not there."""

import re

from configs import base, c_ii
from stemphonic_jax.training.plan import describe
from stemphonic_jax.weights.architecture import build_dit, build_vae, parameter_count

SLICES = [name for name, _, _ in describe.SLICES]


def rows_of(config):
  lines = describe.describe(config).splitlines()
  return {name: next(line for line in lines if line.startswith(name)) for name in SLICES}


def test_the_paper_trains_on_every_slice():
  rows = rows_of(c_ii.get_config())
  audio = base.get_config().train.batch_size * 32.0
  for (name, chip, count), row in zip(describe.SLICES, rows.values(), strict=True):
    chips, data, fsdp, tensor, *parts = re.findall(r"[\d.,]+", row.removeprefix(name))
    assert int(chips) == count == int(data) * int(fsdp) * int(tensor)
    *parts, total, memory, seconds, speed = (float(part.replace(",", "")) for part in parts)
    assert abs(sum(parts) - total) < 0.05
    assert (memory, " fits " in row) == (chip.memory / 1e9, True)
    assert abs(audio / seconds / speed - 1) < 0.1  # seconds are rounded
  # Four copies of a billion parameters do not fit in 16 GB.
  assert "x 1 x 1 " in rows["8 x A100-80G"]
  assert "x 1 x 1 " not in rows["v5e-64"]


def test_rows_that_do_not_divide_are_said():
  rows = rows_of(c_ii.get_config("tiny"))
  assert "8 rows do not divide by 2 micro-batches x 64 chips" in rows["v5e-64"]


def test_adapters_leave_little_to_the_optimiser():
  config = c_ii.get_config("tiny")
  whole = describe.abstract_state(config, dit_of(config))
  config.train.trainable = ("*lora_*",)
  config.train.lora.rank = 2
  adapted = describe.abstract_state(config, dit_of(config))
  assert parameter_count(adapted.opt_state) < 0.3 * parameter_count(whole.opt_state)
  assert parameter_count(adapted.frozen) == parameter_count(whole.params)


def dit_of(config):
  return build_dit(config.dit, config.text, build_vae(config.vae).latent, 12.3)

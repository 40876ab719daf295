"""What the network is given, for tests of all kinds of requests."""

import jax
import pytest

from stemphonic_jax.generation import rows
from tests import tiny


class Calls(list):
  """Rows that the network was given, as (group, Conditions), and the options of each call."""

  def __init__(self):
    super().__init__()
    self.options = []


@pytest.fixture
def calls(monkeypatch):
  """All that the network is given from here on, one row after the other."""
  pipe, seen = tiny.pipeline(), Calls()
  monkeypatch.setattr(rows, "THREADS", 1)
  sample = pipe._sample

  def spy(params, key, guidance, group, turns, conditions, **options):
    seen.options.append(options)
    for row in range(len(group)):
      seen.append((int(group[row]), jax.tree.map(lambda a, row=row: a[row], conditions)))
    return sample(params, key, guidance, group, turns, conditions, **options)

  monkeypatch.setattr(pipe, "_sample", spy)
  return seen

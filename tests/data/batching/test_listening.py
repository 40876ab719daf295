import contextlib
import itertools

import numpy as np
import pytest

from stemphonic_jax.data.batching import listening
from stemphonic_jax.data.batching.records import Segment
from tests.tiny import InMemory

TYPES = ("drums", "basses", "keys")
FRAMES, LEVELS = 12, 2
OPTIONS = dict(frames=8, types=TYPES, batch_size=4, seed=5)


def segment(number):
  """Codes say which stem, or sum of stems, they are of: 1 + its mask, and the frame."""
  frame = np.arange(FRAMES, dtype=np.uint16)[:, None]
  codes = [np.tile(100 * (1 + (1 << k)) + frame, (1, LEVELS)) for k in range(3)]
  activity = np.ones((3, FRAMES), np.int8)
  activity[2] = number % 2  # of every other piece the keys are silent
  submixes = {mask: np.tile(100 * (1 + mask) + frame, (1, LEVELS)) for mask in (3, 5, 6)}
  submixes = {mask: codes for mask, codes in submixes.items() if number % 2 or mask == 3}
  return Segment(str(number), TYPES, TYPES, "music", 100.0, np.stack(codes), activity, submixes)


SOURCE = InMemory(map(segment, range(5)))


@pytest.fixture(scope="module", autouse=True)
def listed():
  SOURCE.__dict__["index"] = None  # batches are planned without it


def take(count, **options):
  with contextlib.closing(listening.batches(SOURCE, **{**OPTIONS, **options})) as found:
    return list(itertools.islice(found, count))


def test_a_batch_is_a_function_of_its_position_and_hosts_share_it():
  whole = take(5)
  assert [position for position, _ in whole] == [4, 8, 12, 16, 20]
  (after, later), *_ = take(1, start=8)
  halves = [take(3, host=host, hosts=2)[2][1] for host in range(2)]
  assert after == 12
  for name, array in whole[2][1].items():
    np.testing.assert_array_equal(later[name], array)
    np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), array)


def test_a_context_is_of_other_stems_that_sound_at_the_same_time():
  heard = set()
  names = ("codes", "context", "hears", "instrument", "id")
  batches = [batch for _, batch in take(40)]
  rows = [row for batch in batches for row in zip(*map(batch.get, names), strict=True)]
  for codes, context, hears, instrument, name in rows:
    target = int(codes[0, 0] // 100 - 1).bit_length() - 1
    assert target == instrument
    assert target < 2 or int(name) % 2
    if not hears:
      assert not context.any()
      continue
    mask = int(context[0, 0] // 100 - 1)
    assert not mask & 1 << target
    assert mask < 4 or int(name) % 2
    np.testing.assert_array_equal(codes % 100, context % 100)  # one crop
    heard.add((target, mask))
  assert heard == {(0, 2), (0, 4), (0, 6), (1, 1), (1, 4), (1, 5), (2, 1), (2, 2), (2, 3)}

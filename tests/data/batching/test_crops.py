"""Crops to train an autoencoder on: of everything it will meet, and a function of their number."""

import contextlib
import itertools

import numpy as np
import pytest

from stemphonic_jax.data.batching.crops import crops
from stemphonic_jax.data.stems import Mix, Stem

SAMPLES = 8


def mix(number, silent=0):
  """Two stems that can be told from a sample: 2 and 3, times ten to the number of the mix."""
  stems = {}
  for name, level in (("drums", 2.0), ("keys", 3.0)):
    stems[name] = Stem(name, np.full((50, 2), level * 10.0**number, np.float32))
    stems[name].audio[:silent] = 0
  return Mix(str(number), stems, "", None, 8000)


MIXES = [mix(number) for number in range(6)]


def take(count, mixes=MIXES, **options):
  made = crops(mixes, **dict(samples=SAMPLES, batch_size=4, seed=0) | options)
  with contextlib.closing(made):
    return [(after, batch["audio"]) for after, batch in itertools.islice(made, count)]


def test_stems_and_mixes_are_drawn_and_each_epoch_has_every_piece_once():
  levels = np.concatenate([batch for _, batch in take(90)])[:, 0, 0]
  piece = np.floor(np.log10(levels)).astype(int)
  for epoch in piece.reshape(-1, 6):
    assert sorted(epoch) == list(range(6))
  drums, keys, both = (np.mean(np.isclose(levels / 10.0**piece, value)) for value in (2, 3, 5))
  # A third is one stem, a third a sub-mix of one or of two, a third is all.
  np.testing.assert_allclose([drums, keys, both], [1 / 4, 1 / 4, 1 / 2], atol=0.08)


@pytest.mark.parametrize(
  ("kinds", "levels"), [(("stem",), {2, 3}), (("mix",), {5}), (("stem", "mix"), {2, 3, 5})]
)
def test_other_kinds_are_left_out(kinds, levels):
  first = np.concatenate([batch for _, batch in take(20, kinds=kinds)])[:, 0, 0]
  assert set((first / 10.0 ** np.floor(np.log10(first))).round().astype(int)) == levels


def test_a_number_is_all_that_leads_on():
  straight = take(7)
  assert [after for after, _ in straight] == list(range(1, 8))
  for (after, batch), (expected, other) in zip(take(4, start=3), straight[3:], strict=True):
    assert after == expected
    np.testing.assert_array_equal(batch, other)


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_share_a_batch(hosts):
  shares = [take(5, host=host, hosts=hosts) for host in range(hosts)]
  for (_, whole), parts in zip(take(5), zip(*shares, strict=True), strict=True):
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), whole)


def test_rows_that_hosts_cannot_share_are_refused():
  with pytest.raises(ValueError, match="batch_size 4 does not divide by 3 hosts"):
    take(1, hosts=3)


def test_crops_know_their_mixes():
  with contextlib.closing(crops(MIXES, samples=SAMPLES, batch_size=4, seed=0)) as made:
    for _, batch in itertools.islice(made, 5):
      scale = np.floor(np.log10(batch["audio"][:, 0, 0])).astype(int)
      assert batch["id"].tolist() == [str(number) for number in scale]


def test_silence_is_drawn_again():
  quiet = [mix(0, silent=25)]  # half of the places are silent: one in two hundred is left by chance
  audio = np.concatenate([batch for _, batch in take(50, quiet)])
  assert np.mean(audio.any((1, 2))) > 0.97

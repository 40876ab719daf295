"""The laws of Sec. 3.1, as properties of many draws with fixed seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stemphonic_jax.data.batching import grouping

ALL = np.ones(4, bool)


def assert_distributed(counts, probabilities):
  """Chi-square: fails by chance about once in 30 000 seeds, and the seeds are fixed."""
  expected = np.sum(counts) * np.asarray(probabilities)
  statistic = np.sum(np.square(counts - expected) / expected)
  freedom = len(expected) - 1
  assert statistic < freedom + 4 * math.sqrt(2 * freedom)


def test_every_non_empty_set_of_targets_is_equally_likely_and_sizes_are_binomial():
  rng = np.random.default_rng(0)
  masks = [grouping.mask_of(grouping.draw_targets(rng, ALL)) for _ in range(6000)]
  assert_distributed(np.bincount(masks, minlength=16)[1:], np.full(15, 1 / 15))
  sizes = np.bincount([mask.bit_count() for mask in masks], minlength=5)
  assert sizes[0] == 0
  assert_distributed(sizes[1:], [math.comb(4, size) / 15 for size in (1, 2, 3, 4)])


def test_silent_stems_are_never_targets():
  rng = np.random.default_rng(1)
  audible = np.array([True, False, True, False, True])
  targets = np.array([grouping.draw_targets(rng, audible) for _ in range(1000)])
  assert not targets[:, ~audible].any()
  assert targets[:, audible].mean(0) == pytest.approx(np.full(3, 4 / 7), abs=0.06)


def test_one_stem_is_the_target_and_none_is_an_error():
  rng = np.random.default_rng(2)
  assert grouping.draw_targets(rng, np.array([True])).tolist() == [True]
  with pytest.raises(ValueError, match="no stem is audible"):
    grouping.draw_targets(rng, np.zeros(3, bool))


def test_as_many_stems_as_a_mask_holds_can_be_drawn():
  every = np.ones(grouping.MAX_STEMS, bool)
  drawn = [grouping.draw_targets(np.random.default_rng(seed), every) for seed in range(200)]
  assert np.mean(drawn) == pytest.approx(0.5, abs=0.02)


def test_the_context_is_uniform_over_the_subsets_of_what_is_left_out():
  rng = np.random.default_rng(3)
  stored = grouping.subsets_to_store(rng, ALL, 100)
  left_out = np.array([True, True, False, True])
  masks = [grouping.draw_context(rng, left_out, stored) for _ in range(4000)]
  counts = np.bincount(masks, minlength=16)
  inside = [0b0001, 0b0010, 0b0011, 0b1000, 0b1001, 0b1010, 0b1011]
  assert counts[inside].sum() == 4000
  assert_distributed(counts[inside], np.full(7, 1 / 7))


def test_the_context_is_a_single_stem_where_no_submix_is_stored():
  rng = np.random.default_rng(4)
  masks = {grouping.draw_context(rng, np.array([True, False, True]), []) for _ in range(50)}
  assert masks == {0b001, 0b100}


def test_there_is_no_context_where_nothing_is_left_out():
  assert grouping.draw_context(np.random.default_rng(5), np.zeros(4, bool), [0b11]) == 0


def test_exactly_half_of_the_groups_are_conditional_and_a_coin_rounds():
  rng = np.random.default_rng(6)
  even = np.array([grouping.draw_conditional(rng, 8) for _ in range(500)])
  odd = np.array([grouping.draw_conditional(rng, 7) for _ in range(500)])
  assert set(even.sum(1)) == {4}
  assert set(odd.sum(1)) == {3, 4}
  assert odd.sum(1).mean() == pytest.approx(3.5, abs=0.1)
  assert even.mean(0) == pytest.approx(np.full(8, 0.5), abs=0.1)
  assert {int(grouping.draw_conditional(rng, 1).sum()) for _ in range(20)} == {0, 1}


def test_filling_takes_groups_until_the_rows_are_reached_and_cuts_the_last():
  groups = iter(["abc", "de", "fghi", "j"])
  assert grouping.fill(groups, 7) == [("abc", 3), ("de", 2), ("fghi", 2)]
  assert list(groups) == ["j"]
  assert grouping.fill(iter(["abc"]), 3) == [("abc", 3)]


def test_group_ids_are_shared_within_groups_or_not_at_all():
  assert grouping.group_ids([3, 1, 2], share=True).tolist() == [0, 0, 0, 1, 2, 2]
  assert grouping.group_ids([3, 1, 2], share=False).tolist() == [0, 1, 2, 3, 4, 5]
  assert grouping.group_ids([3, 1, 2], share=True).dtype == np.int32


def test_all_submixes_of_audible_stems_are_stored_within_the_limit():
  rng = np.random.default_rng(7)
  assert len(grouping.subsets_to_store(rng, np.ones(6, bool), 56)) == 56
  audible = np.array([True, False, True, True])
  assert grouping.subsets_to_store(rng, audible, 56) == [0b0101, 0b1001, 0b1100]
  for stems in range(3):
    assert grouping.subsets_to_store(rng, np.arange(4) < stems, 56) == []


@pytest.mark.parametrize(("stems", "limit"), [(6, 55), (8, 32), (30, 16), (6, 0)])
def test_above_the_limit_a_deterministic_sample_of_submixes_is_stored(stems, limit):
  audible = np.arange(stems) != 1
  masks, again = (
    grouping.subsets_to_store(np.random.default_rng(8), audible, min(limit, 20)) for _ in range(2)
  )
  assert masks == again
  assert len(set(masks)) == min(limit, 20)
  assert all(2 <= mask.bit_count() < audible.sum() and not mask & 0b10 for mask in masks)


def test_masks_and_sets_of_stems_are_the_same_thing():
  stems = np.array([True, False, False, True, True])
  assert grouping.mask_of(stems) == 0b11001
  assert grouping.stems_of(0b11001, 5).tolist() == stems.tolist()
  assert not grouping.stems_of(0, 5).any()


def test_blocks_are_full_and_no_group_crosses_one():
  rng, rows, block = np.random.default_rng(0), 64, 8
  cut = []
  for _ in range(50):
    sizes = rng.binomial(10, 0.4, 100).clip(1)
    parts = grouping.fill_blocks((range(n) for n in sizes), rows, block)
    counts = [count for *_, count in parts]
    ends = np.cumsum(counts)
    assert ends[-1] == rows
    assert set(range(block, rows + 1, block)) <= set(ends)  # a group begins where a block does
    numbers = [number for number, *_ in parts]
    assert sorted(numbers) == list(range(len(parts)))  # of those drawn, none is left out or twice
    assert all(len(group) == sizes[number] for number, group, _ in parts)
    cut += [count < len(group) for _, group, count in parts]
  assert np.mean(cut) < 0.25


def test_groups_larger_than_a_block_are_cut_to_it():
  parts = grouping.fill_blocks((range(n) for n in (11, 3, 9, 2, 2)), 16, 8)
  assert [(number, count) for number, _, count in parts] == [(0, 8), (2, 5), (1, 3)]
  with pytest.raises(ValueError, match="12 rows do not divide into blocks of 8"):
    grouping.fill_blocks(iter([]), 12, 8)


def test_frames_are_known_as_often_as_the_law_says():
  law = grouping.Known(given=0.25, repair=0.25, extend=0.125)
  rng, frames, draws = np.random.default_rng(0), 16, 4_000
  kinds = {"none": 0, "given": 0, "repair": 0, "extend": 0}
  for _ in range(draws):
    known = grouping.draw_known(rng, 4, frames, law)
    assert known.shape == (4, frames)
    assert not known.all()
    whole, hole = known.all(1), ~known
    if not known.any():
      kinds["none"] += 1
    elif (whole | hole.all(1)).all():
      kinds["given"] += 1
    elif whole.sum() == 3:
      kinds["repair"] += 1
    else:
      assert (known == known[0]).all()
      kinds["extend"] += 1
    edges = np.diff(hole.astype(int), axis=1)
    assert (np.abs(edges).sum(1) <= 2).all()  # one range
  # Of four stems, a sixteenth of those "given" are none.
  expected = {"given": 0.25 * 14 / 15, "repair": 0.25, "extend": 0.125}
  for kind, share in expected.items():
    assert kinds[kind] / draws == pytest.approx(share, abs=0.03)

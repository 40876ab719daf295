"""Batches as Sec. 3.1 wants them, from a source whose latents say which stems they are.

Every latent frame of the test's segments holds (mix + 1, mask of the stems in it), so what is in a
row, and what is in its context, can be read off the batch.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import re

import grain
import numpy as np
import orbax.checkpoint as ocp
import pytest

from stemphonic_jax.data import grouping, pipeline, records
from stemphonic_jax.data.prompts import mix_prompt, stem_prompt
from stemphonic_jax.data.shards import write_records
from stemphonic_jax.data.taxonomy import STEM_TYPES
from stemphonic_jax.data.text import Tokenizer

T, B = 4, 8
IDENTITY = records.Statistics(np.zeros(2, np.float32), np.ones(2, np.float32))


def latents(mix, mask):
  return np.tile(np.array([mix + 1, mask], np.float16), (T, 1))


def segment(mix, stems, silent=(), limit=100):
  activity = (np.arange(1, stems + 1)[:, None] >> np.arange(T) & 1).astype(np.int8)  # all differ
  activity[list(silent)] = 0
  masks = grouping.subsets_to_store(np.random.default_rng(mix), activity.any(1), limit)
  return records.Segment(
    id=str(mix),
    names=tuple(f"stem {k}" for k in range(stems)),
    types=STEM_TYPES[:stems],
    caption=f"song {mix}",
    bpm=math.nan if mix % 5 == 4 else 100.0 + mix,
    latents=np.stack([latents(mix, 1 << k) for k in range(stems)]),
    activity=activity,
    submixes={mask: latents(mix, mask) for mask in masks},
  )


# Eighty, because a shuffle of ten takes grain a millisecond per record, and one of eighty a tenth.
SIX = [segment(mix, 6) for mix in range(80)]  # every sub-mix stored
MIXED = [segment(mix, 1 + mix % 6, silent=(1, 4) if mix % 6 == 5 else ()) for mix in range(80)]
TEN = [segment(mix, 10, limit=0) for mix in range(80)]  # something is nearly always left out


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  texts = [stem_prompt(t, f"song {i}", STEM_TYPES) for i, t in enumerate(STEM_TYPES)]
  return Tokenizer.train(texts, tmp_path_factory.mktemp("text") / "tokens.model", 600)


def reader(tokenizer):
  return functools.partial(tokenizer.encode, length=128)


@pytest.fixture(scope="module")
def make(tokenizer):
  """Batches of B rows with short defaults; iterators are closed when the module ends."""
  with contextlib.ExitStack() as stack:

    def build(source, **options):
      defaults = dict(statistics=IDENTITY, batch_size=B, seed=0)
      iterator = pipeline.batches(source, reader(tokenizer), **defaults | options)
      stack.callback(iterator.close)
      return iterator

    yield build


def take(iterator, count):
  return list(itertools.islice(iterator, count))


def contents(array):
  """(mix, mask) of each row of latents or context; mix is -1 where the row is zero."""
  assert (array == array[:, :1]).all()
  return [(int(mix) - 1, int(mask)) for mix, mask in array[:, 0]]


def groups(batch):
  """The groups of a batch: (mix, masks of the targets, mask of the context), in order."""
  found = []
  rows = zip(batch["group"], contents(batch["latents"]), contents(batch["context"]), strict=True)
  for _, members in itertools.groupby(rows, key=lambda row: row[0]):
    _, targets, context = zip(*members, strict=True)
    assert len(set(context)) == 1
    assert len({mix for mix, _ in targets}) == 1
    assert context[0][0] in (-1, targets[0][0])
    found.append((targets[0][0], tuple(mask for _, mask in targets), context[0][1]))
  return found


def assert_equal(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], strict=True)


def test_a_batch_has_exactly_its_rows_in_the_shapes_of_the_contract(make):
  for batch in take(make(MIXED), 30):
    assert {name: (array.shape, str(array.dtype)) for name, array in batch.items()} == {
      "latents": ((B, T, 2), "float32"),
      "context": ((B, T, 2), "float32"),
      "activity": ((B, T), "int8"),
      "text": ((B, 128), "int32"),
      "mask": ((B, 128), "bool"),
      "bpm": ((B,), "float32"),
      "group": ((B,), "int32"),
    }


def test_rows_carry_what_belongs_to_their_stem(make, tokenizer):
  for batch in take(make(MIXED), 30):
    rows = zip(contents(batch["latents"]), contents(batch["context"]), strict=True)
    for row, ((mix, target), (_, context)) in enumerate(rows):
      source, stem = MIXED[mix], target.bit_length() - 1
      np.testing.assert_array_equal(batch["activity"][row], source.activity[stem])
      np.testing.assert_equal(batch["bpm"][row], np.float32(source.bpm))
      told = [source.types[k] for k in range(len(source.types)) if context >> k & 1]
      prompt = tokenizer.decode(batch["text"][row])
      assert prompt in {
        stem_prompt(source.types[stem], source.caption, types) for types in ((), told)
      }


def test_a_group_is_one_mix_with_different_targets_and_no_target_in_its_context(make):
  conditional = 0
  for batch in take(make(MIXED), 100):
    assert len(set(batch["group"])) == len(groups(batch))
    for mix, targets, context in groups(batch):
      assert len(set(targets)) == len(targets)
      assert not context & sum(targets)
      audible = grouping.mask_of(MIXED[mix].audible)
      assert (context | sum(targets)) & ~audible == 0
      conditional += context > 0
  assert conditional > 100


def test_exactly_half_of_the_groups_are_conditional(make):
  counts = []
  for batch in take(make(TEN, batch_size=24), 60):
    contexts = [context > 0 for _, _, context in groups(batch)]
    counts.append((len(contexts), sum(contexts)))
  assert all(half in (total // 2, (total + 1) // 2) for total, half in counts)
  odd = [half - total // 2 for total, half in counts if total % 2]
  assert 0.25 < np.mean(odd) < 0.75


def test_group_sizes_are_binomial_and_contexts_of_all_sizes_occur(make):
  sizes, contexts = np.zeros(7), set()
  for batch in take(make(SIX), 500):
    drawn = groups(batch)
    sizes[len(drawn[0][1])] += 1  # the first group is never cut: it has at most 6 of the 8 rows
    contexts |= {context.bit_count() for *_, context in drawn}
  expected = 500 * np.array([math.comb(6, size) / 63 for size in range(1, 7)])
  # Chi-square with 5 degrees of freedom exceeds 20.5 once in a thousand seeds.
  assert np.sum(np.square(sizes[1:] - expected) / expected) < 20.5
  assert contexts >= set(range(5))


def test_no_stem_is_cut_more_often_than_another(make):
  seen = np.zeros(6)
  for batch in take(make(SIX), 250):
    for _, mask in contents(batch["latents"]):
      seen[mask.bit_length() - 1] += 1
  np.testing.assert_allclose(seen / seen.sum(), 1 / 6, atol=0.02)


def test_settings_b_and_c_differ_in_nothing_but_the_group(make):
  for b, c in zip(take(make(SIX, share_noise=False), 10), take(make(SIX), 10), strict=True):
    assert b.pop("group").tolist() == list(range(B))
    assert len(set(c.pop("group"))) < B
    assert_equal(b, c)


def test_setting_a_draws_one_stem_of_each_mix_and_half_of_the_rows_are_conditional(make):
  batches = take(make(SIX, group_stems=False), 60)
  rows = [row for batch in batches for row in groups(batch)]
  assert all(len(targets) == 1 for _, targets, _ in rows)
  assert all(batch["group"].tolist() == list(range(B)) for batch in batches)
  assert all(sum(context > 0 for *_, context in groups(batch)) == B // 2 for batch in batches)
  stems = np.bincount([targets[0].bit_length() - 1 for _, targets, _ in rows])
  np.testing.assert_allclose(stems / len(rows), 1 / 6, atol=0.06)


def test_the_clause_is_in_half_of_the_conditional_groups_and_in_no_other(make, tokenizer):
  told = []
  for batch in take(make(TEN), 60):
    prompts = [tokenizer.decode(tokens) for tokens in batch["text"]]
    clauses = [re.findall(r"given context stems: \[(.*)\]\)", prompt) for prompt in prompts]
    for row, (_, context) in enumerate(contents(batch["context"])):
      types = [kind.upper() for k, kind in enumerate(TEN[0].types) if context >> k & 1]
      assert clauses[row] in ([], [", ".join(types)] if context else [])
    for group in set(batch["group"]):
      members = np.flatnonzero(batch["group"] == group)
      assert len({bool(clauses[row]) for row in members}) == 1
      if batch["context"][members[0]].any():
        told.append(bool(clauses[members[0]]))
  assert len(told) > 60
  assert 0.35 < np.mean(told) < 0.65


@pytest.mark.parametrize(("dropout", "told"), [(0.0, True), (1.0, False)])
def test_the_clause_can_be_kept_or_dropped_always(make, tokenizer, dropout, told):
  for batch in take(make(TEN, clause_dropout=dropout), 5):
    for row, tokens in enumerate(batch["text"]):
      clause = "given context" in tokenizer.decode(tokens)
      assert clause == (told and batch["context"][row].any())


@pytest.mark.parametrize("options", [{}, {"group_stems": False}])
def test_every_epoch_has_every_record_once_in_another_order(make, options):
  walk = [mix for batch in take(make(MIXED, **options), 120) for mix, *_ in groups(batch)]
  count = len(MIXED)
  epochs = [walk[start : start + count] for start in range(0, len(walk) - count + 1, count)]
  assert len(epochs) > 3
  assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
  assert len(set(map(tuple, epochs))) == len(epochs)


def test_the_seed_decides_everything(make):
  one, again, other = (take(make(SIX, seed=seed), 5) for seed in (3, 3, 4))
  for a, b in zip(one, again, strict=True):
    assert_equal(a, b)
  assert any((a["latents"] != b["latents"]).any() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_share_one_walk_without_gaps_or_repeats(make, hosts):
  whole = take(make(MIXED, batch_size=1), 100)  # one row, so every batch is one group of the walk
  shares = [make(MIXED, batch_size=1, host=host, hosts=hosts) for host in range(hosts)]
  for batch, share in zip(whole, itertools.cycle(shares), strict=False):
    mine = next(share)
    assert mine.pop("group") == shares.index(share)
    assert batch.pop("group") == 0
    assert_equal(mine, batch)


def test_group_ids_are_unique_over_hosts(make):
  shares = [take(make(MIXED, host=host, hosts=3), 10) for host in range(3)]
  for step in zip(*shares, strict=True):
    ids = [set(batch["group"].tolist()) for batch in step]
    assert len(set().union(*ids)) == sum(map(len, ids))


def test_hosts_do_not_draw_alike(make):
  one = [segment(0, 10, limit=0)]
  shares = [take(make(one, host=host, hosts=2), 5) for host in range(2)]
  assert any(
    [g[1] for g in groups(a)] != [g[1] for g in groups(b)] for a, b in zip(*shares, strict=True)
  )


def test_the_state_is_tiny_and_exact_in_the_middle_of_an_epoch(make):
  iterator = make(MIXED)
  take(iterator, 7)
  state = json.dumps(iterator.get_state())
  following = take(iterator, 6)
  assert len(state) < 100
  for other in (make(MIXED), iterator):
    other.set_state(json.loads(state))
    for a, b in zip(take(other, 6), following, strict=True):
      assert_equal(a, b)


def test_the_state_is_saved_and_restored_beside_the_model_by_orbax(make, tmp_path):
  iterator = make(MIXED)
  take(iterator, 7)
  model = {"weight": np.arange(3.0)}
  with ocp.CheckpointManager(tmp_path / "checkpoints") as manager:
    saved = ocp.args.Composite(
      state=ocp.args.StandardSave(model), data=grain.checkpoint.CheckpointSave(iterator)
    )
    manager.save(7, args=saved)
    following = take(iterator, 6)
  fresh = make(MIXED)
  with ocp.CheckpointManager(tmp_path / "checkpoints") as manager:
    manager.restore(
      7,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(model), data=grain.checkpoint.CheckpointRestore(fresh)
      ),
    )
  for a, b in zip(take(fresh, 6), following, strict=True):
    assert_equal(a, b)


def test_held_out_batches_are_the_same_at_every_call_and_walk_in_order(tokenizer):
  options = dict(statistics=IDENTITY, batch_size=B, seed=0)
  one, again = (pipeline.held_out(TEN[:5], reader(tokenizer), count=6, **options) for _ in range(2))
  assert len(one) == 6
  for a, b in zip(one, again, strict=True):
    assert_equal(a, b)
  walk = [mix for batch in one for mix, *_ in groups(batch)]
  assert walk == [position % 5 for position in range(len(walk))]
  assert len(walk) > 5


def test_latents_are_standardised_and_from_scratch_stays_zero(make):
  statistics = records.Statistics(np.float32([3, -1]), np.float32([2, 0.5]))
  for plain, standard in zip(
    take(make(TEN), 5), take(make(TEN, statistics=statistics), 5), strict=True
  ):
    np.testing.assert_allclose(statistics.restore(standard["latents"]), plain["latents"])
    given = plain["context"].any((1, 2))
    assert given.any()
    assert not given.all()
    np.testing.assert_allclose(
      statistics.restore(standard["context"])[given], plain["context"][given]
    )
    assert not standard["context"][~given].any()


def test_a_mix_of_one_stem_is_always_from_scratch(make):
  for batch in take(make([segment(0, 1)]), 3):
    assert contents(batch["latents"]) == [(0, 1)] * B
    assert not batch["context"].any()
    assert batch["group"].tolist() == list(range(B))


def test_whole_mixes_for_pretraining_are_rows_of_their_own(make, tokenizer):
  mixes = [
    records.Segment(
      id=str(mix),
      names=(records.MIX,),
      types=(records.MIX,),
      caption=f"song {mix}",
      bpm=120.0,
      latents=latents(mix, 1)[None],
      activity=np.ones((1, T), np.int8),
    )
    for mix in range(4)
  ]
  for batch in take(make(mixes), 3):
    assert batch["group"].tolist() == list(range(B))
    assert not batch["context"].any()
    for (mix, _), tokens in zip(contents(batch["latents"]), batch["text"], strict=True):
      assert tokenizer.decode(tokens) == mix_prompt(f"song {mix}")


def test_batches_from_records_on_disk_are_those_from_memory(make, tmp_path):
  folder = write_records(tmp_path / "r", MIXED, hop=8, rate=8000)
  for a, b in zip(take(make(folder), 5), take(make(MIXED), 5), strict=True):
    assert_equal(a, b)

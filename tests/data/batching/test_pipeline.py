"""Batches as Sec. 3.1 wants them, from segments whose latents say which stems they are."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import re

import numpy as np
import pytest

from stemphonic_jax.data.batching import grouping, pipeline, records
from stemphonic_jax.data.batching.prompts import mix_prompt, stem_prompt
from stemphonic_jax.data.preparing.shards import write_records
from stemphonic_jax.data.taxonomy import MIX, STEM_TYPES
from stemphonic_jax.data.tokenizer import Tokenizer
from tests.data.batching.marked import MIXED, SIX, TEN, T, contents, groups, latents, segment
from tests.tiny import InMemory

B = 8
WORDED = InMemory(
  dataclasses.replace(
    segment, captions=("", "slow"), words=tuple(f"word {kind}" for kind in segment.types)
  )
  for segment in MIXED
)
IDENTITY = records.Statistics(np.zeros(2, np.float32), np.ones(2, np.float32))


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
  return [batch for _, batch in itertools.islice(iterator, count)]


def assert_equal(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], strict=True)


def test_a_batch_has_exactly_its_rows_in_the_shapes_of_the_contract(make):
  for batch in take(make(MIXED), 30):
    for name in ("id", "type"):
      batch[name] = batch[name].astype("<U8")  # as long as its longest
    assert {name: (array.shape, str(array.dtype)) for name, array in batch.items()} == {
      "latents": ((B, T, 2), "float32"),
      "context": ((B, T, 2), "float32"),
      "activity": ((B, T), "int8"),
      "text": ((B, 128), "int32"),
      "mask": ((B, 128), "bool"),
      "bpm": ((B,), "float32"),
      "seconds": ((B,), "float32"),
      "group": ((B,), "int32"),
      "row": ((B,), "int32"),
      "id": ((B,), "<U8"),
      "type": ((B,), "<U8"),
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


def test_rows_share_a_caption_and_a_row_has_its_own_words_or_none(make, tokenizer):
  seen = {}
  for batch in take(make(WORDED, words_dropout=0.25), 60):
    for row, ((_, target), group) in enumerate(
      zip(contents(batch["latents"]), batch["group"], strict=True)
    ):
      tag, caption = tokenizer.decode(batch["text"][row]).split("described as:")
      kind = STEM_TYPES[target.bit_length() - 1]
      told = f"[{kind.upper()}: word {kind}]" in tag
      assert told or f"[{kind.upper()}]" in tag
      seen.setdefault((id(batch), group), []).append((caption.strip(), told))
  assert all(len({caption for caption, _ in rows}) == 1 for rows in seen.values())
  assert {rows[0][0].split(" ")[0] for rows in seen.values()} == {"song", "", "slow"}
  assert np.mean([told for rows in seen.values() for _, told in rows]) == pytest.approx(
    0.75, abs=0.1
  )


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


@pytest.mark.parametrize("hosts", [2, 4, 8])
@pytest.mark.parametrize("share_noise", [True, False])
def test_however_many_hosts_there_are_the_batch_is_the_same(make, hosts, share_noise):
  options = dict(share_noise=share_noise, clause_dropout=0.2)
  shares = [make(WORDED, host=host, hosts=hosts, **options) for host in range(hosts)]
  for (position, whole), parts in zip(
    itertools.islice(make(WORDED, **options), 12), zip(*shares, strict=True), strict=False
  ):
    assert {after for after, _ in parts} == {position}
    assert whole["row"].tolist() == list(range(B))
    for name in whole:
      np.testing.assert_array_equal(np.concatenate([part[name] for _, part in parts]), whole[name])


def test_a_host_reads_its_own_rows_only(make):
  read = []

  class Counted(InMemory):
    def __getitem__(self, position):
      read.append(position)
      return super().__getitem__(position)

  source = Counted(MIXED)
  source.index  # noqa: B018  reads all, once
  read.clear()
  with contextlib.closing(make(source, host=0, hosts=8)) as share:
    take(share, 20)
  assert len(read) <= 20 + 1  # one row each, and the batch made ahead


def test_rows_that_hosts_cannot_share_are_refused(make):
  with pytest.raises(ValueError, match="batch_size 8 does not divide by 3 hosts"):
    make(MIXED, host=0, hosts=3)


def test_a_position_is_all_that_leads_on(make):
  walk = list(itertools.islice(make(MIXED), 13))
  for stop in (1, 7):
    position, _ = walk[stop - 1]
    for (after, batch), (expected, other) in zip(
      make(MIXED, start=position), walk[stop:], strict=False
    ):
      assert after == expected
      assert_equal(batch, other)


def test_worker_processes_change_nothing(make, tmp_path):
  """Nor does going on with another number of them."""
  folder = write_records(tmp_path / "r", MIXED, hop=8, rate=8000)
  alone, shared = (list(itertools.islice(make(folder, workers=n), 7)) for n in (0, 3))
  resumed = list(itertools.islice(make(folder, workers=1, start=alone[2][0]), 4))
  for some in (shared, [*alone[:3], *resumed]):
    for (a, one), (b, other) in zip(some, alone, strict=True):
      assert a == b
      assert_equal(one, other)


def test_what_is_drawn_is_planned_without_reading(make):
  class Closed(InMemory):
    def __getitem__(self, position):
      raise AssertionError("a record was read")

  closed = Closed(MIXED)
  closed.__dict__["index"] = MIXED.index
  plain = pipeline.Walk(closed, 0, group_stems=True, shuffle=True)
  position = 0
  for after, batch in itertools.islice(make(MIXED), 20):
    planned = plain.plan(position, B)
    assert [len(targets) for _, targets, _ in groups(batch)] == [group.rows for group in planned]
    assert batch["id"][0] == str(plain.order[position])
    position = after


def test_names_of_records_and_lengths_come_along(make):
  short = [dataclasses.replace(s, seconds=1.5 if i % 2 else None) for i, s in enumerate(MIXED)]
  for batch in take(make(InMemory(short)), 10):
    assert [int(name) for name in batch["id"]] == [mix for mix, _ in contents(batch["latents"])]
    expected = [1.5 if int(name) % 2 else np.inf for name in batch["id"]]
    np.testing.assert_array_equal(batch["seconds"], np.float32(expected))


def test_waveforms_are_summed_and_left_to_be_encoded(make):
  """Instead of the latents of a stored sub-mix there is its waveform, and all else is equal."""

  def with_waveforms(s):
    audio = np.stack([np.full((3, 2), 1 << k) for k in range(len(s.names))]) / 2**15
    waveforms = records.Waveforms.of(audio, s.masks)
    return dataclasses.replace(s, submixes={}, waveforms=waveforms)

  online = InMemory(map(with_waveforms, SIX))
  seen = 0
  for batch, other in zip(take(make(SIX), 40), take(make(online), 40), strict=True):
    latents = contents(batch["context"])
    submixes = other.pop("submixes", np.zeros((0, 3, 2)))
    submix_of = other.pop("submix_of", np.full(B, -1))
    for row, (_, mask) in enumerate(latents):
      assert (submix_of[row] >= 0) == (mask.bit_count() > 1)
      if mask.bit_count() > 1:
        np.testing.assert_array_equal(submixes[submix_of[row]] * 2**15, mask)
        batch["context"][row] = 0
        seen += 1
    assert_equal(batch, other)
  assert seen > 40


def test_latents_are_drawn_around_their_means_where_deviations_are_kept(make):
  spread = [dataclasses.replace(s, deviations=np.full_like(s.latents, 0.25)) for s in SIX]
  options = dict(batch_size=24)
  pairs = zip(
    take(make(SIX, **options), 40), take(make(InMemory(spread), **options), 40), strict=True
  )
  errors = np.concatenate([drawn["latents"] - mean["latents"] for mean, drawn in pairs])
  assert abs(errors.mean()) < 0.01
  assert errors.std() == pytest.approx(0.25, rel=0.03)
  one, again = (take(make(InMemory(spread)), 2) for _ in range(2))
  for a, b in zip(one, again, strict=True):
    assert_equal(a, b)


def test_held_out_batches_are_the_same_at_every_call_and_walk_in_order(tokenizer):
  options = dict(statistics=IDENTITY, batch_size=B, seed=0)
  one, again = (
    pipeline.held_out(InMemory(TEN[:5]), reader(tokenizer), count=6, **options) for _ in range(2)
  )
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
  for batch in take(make(InMemory([segment(0, 1)])), 3):
    assert contents(batch["latents"]) == [(0, 1)] * B
    assert not batch["context"].any()
    assert batch["group"].tolist() == list(range(B))


def test_whole_mixes_for_pretraining_are_rows_of_their_own(make, tokenizer):
  mixes = [
    records.Segment(
      id=str(mix),
      names=(MIX,),
      types=(MIX,),
      caption=f"song {mix}",
      bpm=120.0,
      latents=latents(mix, 1)[None],
      activity=np.ones((1, T), np.int8),
    )
    for mix in range(4)
  ]
  for batch in take(make(InMemory(mixes)), 3):
    assert batch["group"].tolist() == list(range(B))
    assert not batch["context"].any()
    for (mix, _), tokens in zip(contents(batch["latents"]), batch["text"], strict=True):
      assert tokenizer.decode(tokens) == mix_prompt(f"song {mix}")


def test_batches_from_records_on_disk_are_those_from_memory(make, tmp_path):
  folder = write_records(tmp_path / "r", MIXED, hop=8, rate=8000)
  for a, b in zip(take(make(folder), 5), take(make(MIXED), 5), strict=True):
    assert_equal(a, b)

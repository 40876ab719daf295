"""Rotations of the noise by type: what they bring together, and what they leave alone."""

import dataclasses

import numpy as np
import pytest

from stemphonic_jax.data.batching import alignment
from stemphonic_jax.data.batching.records import Segment
from tests import tiny

C, T = 6, 40
TYPES = ("basses", "drums", "keys")


def turned(rng):
  return np.linalg.qr(rng.standard_normal((C, C)))[0]


def songs(count, sound, types=TYPES):
  """Records of `count` songs; `sound` makes the latents of a song's stems, [K, T, C]."""
  rng = np.random.default_rng(0)
  segments = []
  for number in range(count):
    activity = np.ones((len(types), T), np.int8)
    activity[rng.integers(len(types)), : rng.integers(T)] = 0
    latents = sound(rng).astype(np.float16)
    segments.append(Segment(str(number), types, types, "", 100.0, latents, activity, {}))
  return tiny.InMemory(segments)


def agreement(shared, turns):
  return sum(np.trace(turns[a].T @ m @ turns[b]) for (a, b), m in shared.items())


def test_what_moves_together_is_turned_to_one_place():
  """Stems that play the same thing, each in channels of its own, would be given it by one noise."""
  places = {name: turned(np.random.default_rng(k)) for k, name in enumerate(TYPES)}
  spread = np.linspace(1.0, 2.0, C)

  def sound(rng):
    music = rng.standard_normal((T, C)) * spread
    return np.stack([music @ place.T + k for k, place in enumerate(places.values())])

  records = songs(30, sound)
  shared = alignment.covariances(records, records.index.statistics)
  turns = alignment.rotations(shared, stay=1e-3)
  for a in TYPES:
    for b in TYPES:
      np.testing.assert_allclose(turns[b] @ turns[a].T, places[b] @ places[a].T, atol=0.02)
  still = {name: np.eye(C) for name in TYPES}
  assert agreement(shared, turns) > 5 * abs(agreement(shared, still))


def test_stems_that_have_nothing_to_do_with_each_other_stay_as_they_are():
  records = songs(200, lambda rng: rng.standard_normal((3, T, C)))
  for turn in alignment.align(records, records.index.statistics).values():
    np.testing.assert_allclose(turn, np.eye(C), atol=0.05)


def test_a_type_that_is_always_alone_has_no_rotation():
  records = songs(3, lambda rng: rng.standard_normal((1, T, C)), types=("keys",))
  assert alignment.align(records, records.index.statistics) == {}


def test_covariances_are_of_the_frames_in_which_both_play():
  rng = np.random.default_rng(1)
  records = songs(4, lambda rng: rng.normal(3.0, 1.0, (3, T, C)))
  statistics = dataclasses.replace(
    records.index.statistics, mean=rng.standard_normal(C), std=rng.uniform(1, 2, C)
  )
  latents = {
    name: np.stack([statistics.standardize(s.latents[k].astype(float)) for s in records])
    for k, name in enumerate(TYPES)
  }
  plays = {name: np.stack([s.activity[k] > 0 for s in records]) for k, name in enumerate(TYPES)}
  off = {name: latents[name] - latents[name][plays[name]].mean(axis=0) for name in TYPES}
  sums, counts = {}, {}
  for a in TYPES:
    for b in set(TYPES) - {a}:
      both = plays[a] & plays[b]
      sums[a, b], counts[a, b] = off[a][both].T @ off[b][both], both.sum()
  shared = alignment.covariances(records, statistics)
  assert shared.keys() == sums.keys()
  for pair, found in shared.items():
    expected = sums[pair] / np.mean(list(counts.values()))
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("stay", [0.0, 0.3, 3.0])
def test_rotations_are_orthogonal_and_agree_better_than_none(stay):
  rng = np.random.default_rng(2)
  shared = {}
  for k, a in enumerate(TYPES):
    for b in TYPES[k + 1 :]:
      shared[a, b] = rng.standard_normal((C, C))
      shared[b, a] = shared[a, b].T
  turns = alignment.rotations(shared, stay)
  for turn in turns.values():
    np.testing.assert_allclose(turn @ turn.T, np.eye(C), atol=1e-6)
  assert agreement(shared, turns) > agreement(shared, {name: np.eye(C) for name in TYPES})

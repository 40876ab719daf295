"""Rotations by which one noise means the same to stems of all types. Not in the paper.

Stems of a song share a noise ε (Sec. 3.2), and fit together as far as it moves them alike. The loss
of a row knows nothing of the others, so nothing in training makes it: it takes latents in which the
same channels hold the same thing, whatever plays. Onsets are so, notes are not: those of a bass lie
in other channels than those of the keys above it, and a noise that asks one for C asks the other
for anything.

But a rotation of Gaussian noise is Gaussian noise. So each type k is given R_k·ε, for which a model
needs no other training, and R_k are chosen such that channels which move together in songs are
moved by the same noise. With M_ab the covariance of the latents of types a and b, over the frames
in which a song has both, R maximises

    Σ_{a<b} tr(R_aᵀ·M_ab·R_b) + λ·Σ_a tr(R_a)

one R_a after the other, each of which is an orthogonal Procrustes problem (Schönemann 1966). λ
keeps channels as they are of which songs say nothing. A model that is trained on keeps those of the
one it started from, as it does the statistics, unless it is told otherwise (sample.own_alignment):
no training depends on them but a distillation.
"""

from collections import defaultdict
from collections.abc import Mapping
from itertools import permutations

import numpy as np
from jaxtyping import Float, Float32

from stemphonic_jax.data.batching.records import Records, Statistics

FRAMES = 160_000  # that covariances are taken over, of segments from all of the records
STAY = 2.0  # λ, of covariances of standardised latents added up over the other types
ROUNDS, CLOSE = 500, 1e-6

Turns = dict[str, Float32[np.ndarray, "C C"]]
Covariances = Mapping[tuple[str, str], Float[np.ndarray, "C C"]]


def align(records: Records, statistics: Statistics) -> Turns:
  """The rotation of each type in `records`, whose latents `statistics` standardise."""
  return rotations(covariances(records, statistics), STAY)


def covariances(records: Records, statistics: Statistics) -> Covariances:
  """M_ab of each ordered pair of types; (b, a) is the transpose of (a, b).

  Pairs count by the frames they have: M_ab is divided by those of an average pair. Latents are
  deviations from the mean of their type.
  """
  channels = records.index.channels
  total, frames = defaultdict(lambda: np.zeros(channels)), defaultdict(int)
  product = defaultdict(lambda: np.zeros((channels, channels)))
  count = min(len(records), max(FRAMES // records.index.frames, 1))
  for number in np.linspace(0, len(records) - 1, count).round().astype(int):
    segment = records[int(number)]
    latents = statistics.standardize(segment.latents.astype(np.float64))
    stems = list(zip(segment.types, latents, segment.activity > 0, strict=True))
    for a, x, plays in stems:
      total[a, a] += x[plays].sum(axis=0)
      frames[a, a] += plays.sum()
    for (a, x, one), (b, y, other) in permutations(stems, 2):
      both = one & other
      if a != b and both.any():
        product[a, b] += x[both].T @ y[both]
        total[a, b] += x[both].sum(axis=0)
        frames[a, b] += both.sum()
  mean = {a: total[a, a] / frames[a, a] for a, _ in product}
  average = sum(frames[pair] for pair in product) / max(len(product), 1)
  found = {}
  for a, b in product:
    off = np.outer(total[a, b], mean[b]) + np.outer(mean[a], total[b, a])
    found[a, b] = (product[a, b] - off + frames[a, b] * np.outer(mean[a], mean[b])) / average
  return found


def rotations(shared: Covariances, stay: float) -> Turns:
  """R of each type in `shared`, for λ = `stay`; orthogonal, and the identity where M is zero."""
  turns = {a: np.eye(len(shared[a, b])) for a, b in sorted(shared)}
  for _ in range(ROUNDS):
    before = turns.copy()
    for a in turns:
      pull = sum(m @ turns[b] for (one, b), m in shared.items() if one == a)
      left, _, right = np.linalg.svd(pull + stay * np.eye(len(pull)))
      turns[a] = left @ right
    if all(np.abs(turns[a] - before[a]).max() < CLOSE for a in turns):
      break
  return {a: turn.astype(np.float32) for a, turn in turns.items()}

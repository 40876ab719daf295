"""Mixes as bass, drums and other, the three stems of MusicGen-Stem, whatever stems they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stemphonic_jax.data.stems import Mix, Stem
from stemphonic_jax.data.taxonomy import ROLES, role_of


def in_parts(mix: Mix) -> Mix:
  """The mix with one stem for each of ROLES, silent where it has none; what is sung is left out."""
  stems = {}
  for role in ROLES:
    audio = np.zeros((mix.samples, 2), np.float32)
    for stem in mix.stems.values():
      if role_of(stem.type) == role:
        audio += stem.audio
    stems[role] = Stem(role, audio)
  return replace(mix, stems=stems)


@dataclass(frozen=True, eq=False)
class InParts(Sequence):
  """Mixes in parts, made when they are asked for."""

  mixes: Sequence[Mix]

  def __len__(self) -> int:
    return len(self.mixes)

  def __getitem__(self, index: int) -> Mix:
    return in_parts(self.mixes[index])

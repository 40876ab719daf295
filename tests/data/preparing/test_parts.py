"""Stems of any type as bass, drums and other."""

import numpy as np

from stemphonic_jax.data.preparing.parts import InParts
from stemphonic_jax.data.stems import Mix, Stem


def test_stems_of_a_part_are_summed_and_what_is_sung_is_left_out():
  kinds = {"drums": 1, "percussion": 2, "guitars": 4, "theremin": 8, "vocals": 16}
  stems = {kind: Stem(kind, np.full((5, 2), number, np.float32)) for kind, number in kinds.items()}
  (mix,) = InParts([Mix("song", stems, "a song", None)])
  heard = {name: stem.audio[0, 0] for name, stem in mix.stems.items()}
  assert heard == {"bass": 0, "drums": 3, "other": 12}
  assert [stem.type for stem in mix.stems.values()] == list(heard)

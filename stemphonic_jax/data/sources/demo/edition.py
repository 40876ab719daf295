"""Which edition of the corpus: what is composed, and what plays it."""

from __future__ import annotations

from dataclasses import dataclass

from stemphonic_jax.errors import UsageError

VERSIONS = (1, 2)


@dataclass(frozen=True)
class Edition:
  """Version 1 is what the packaged model has learned; version 2 has captions as people write them.

  UsageError for a version there is not.
  """

  version: int = 1

  def __post_init__(self):
    if self.version not in VERSIONS:
      known = ", ".join(map(str, VERSIONS))
      raise UsageError(f"data.corpus: got {self.version!r}, expected one of {known}")

"""Which edition of the corpus: what is composed and said, and what plays it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stemphonic_jax.data.sources.demo import sampled
from stemphonic_jax.errors import UsageError

VERSIONS = (1, 2)


@dataclass(frozen=True)
class Edition:
  """Version 1 is what the packaged model learned first; version 2 has more music, and captions as
  people write them.

  With the path of a General-MIDI `soundfont`, it plays a `share` of the pieces, all but their
  synths and effects. UsageError for what there is not.
  """

  version: int = 1
  soundfont: str = ""
  share: float = 0.7

  def __post_init__(self):
    if self.version not in VERSIONS:
      known = ", ".join(map(str, VERSIONS))
      raise UsageError(f"data.corpus: got {self.version!r}, expected one of {known}")
    if not 0 <= self.share <= 1:
      raise UsageError(f"data.soundfont_share: got {self.share}, expected a share from 0 to 1")

  def check(self, rate: int) -> Edition:
    """This edition, if its font can be played at `rate` Hz; errors are those of sampled.check."""
    if self.soundfont:
      sampled.check(self.soundfont, rate)
    return self

  def described(self) -> dict[str, Any]:
    """What records and models say of it; not where a font lay."""
    share = self.share if self.soundfont else 0.0
    return {"version": self.version, "soundfont_share": share}

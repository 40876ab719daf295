"""The one schema of the project: a *mix* is a piece of music given as its synchronised stems."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from stemphonic_jax.audio import levels
from stemphonic_jax.errors import DataError, UsageError

BPM_RANGE = (20.0, 400.0)


@dataclass(frozen=True, eq=False)
class Stem:
  """One instrument's part: its type (taxonomy.py, or a free one) and its audio [samples, 2].

  `label` is what its data set calls it ("grand piano"), `bleed` that others are heard in it;
  `words` say how it is played and sounds ("muted, palm-picked"), where that is known.
  """

  type: str
  audio: np.ndarray
  label: str = ""
  bleed: bool = False
  words: str = ""


@dataclass(frozen=True, eq=False)
class Mix:
  """A piece: stems of equal length by unique name ("drums", "guitars", "guitars 2"), and its text.

  `caption` describes the whole mix, and so do `captions` in other words, where there are any; `bpm`
  is beats per minute or None where unknown, and `rate` is in Hz. DataError where the parts do not
  fit together.
  """

  id: str
  stems: dict[str, Stem]
  caption: str
  bpm: float | None
  rate: int = 44100
  captions: tuple[str, ...] = ()

  def __post_init__(self):
    if not self.stems:
      raise DataError(f"mix {self.id}: has no stems, expected at least one")
    for name, stem in self.stems.items():
      shape, dtype = np.shape(stem.audio), getattr(stem.audio, "dtype", type(stem.audio).__name__)
      if len(shape) != 2 or shape[0] == 0 or shape[1] != 2 or dtype != np.float32:
        raise DataError(
          f"mix {self.id}: stem {name!r} is {dtype} {list(shape)}, expected float32 [samples, 2]"
        )
    lengths = {name: len(stem.audio) for name, stem in self.stems.items()}
    if len(set(lengths.values())) > 1:
      listed = ", ".join(f"{name} {samples}" for name, samples in lengths.items())
      raise DataError(f"mix {self.id}: stems differ in samples ({listed}); pad or cut them first")
    if self.bpm is not None and not BPM_RANGE[0] <= self.bpm <= BPM_RANGE[1]:
      raise DataError(
        f"mix {self.id}: bpm {self.bpm}, expected {BPM_RANGE[0]:g} to {BPM_RANGE[1]:g} or None"
      )

  @property
  def samples(self) -> int:
    return len(next(iter(self.stems.values())).audio)

  @property
  def seconds(self) -> float:
    return self.samples / self.rate

  def audio(self, names: Iterable[str] | None = None) -> np.ndarray:
    """The (sub-)mix of the stems in `names`, all of them by default: float32 [samples, 2].

    No names give silence, which is the sub-mix of a piece made from scratch (Sec. 3.1).
    """
    names = list(self.stems if names is None else names)
    if unknown := [name for name in names if name not in self.stems]:
      raise UsageError(f"mix {self.id}: no stem {unknown[0]!r}; it has {', '.join(self.stems)}")
    if not names:
      return np.zeros((self.samples, 2), np.float32)
    return levels.mix({name: self.stems[name].audio for name in names})

  def pad(self, samples: int) -> Mix:
    """The same mix with silence at its end, if it is shorter than `samples`."""
    if samples <= self.samples:
      return self
    silence = ((0, samples - self.samples), (0, 0))
    stems = {n: replace(s, audio=np.pad(s.audio, silence)) for n, s in self.stems.items()}
    return replace(self, stems=stems)

  def crop(self, start: int, samples: int) -> Mix:
    """The same mix from sample `start` on, `samples` long; DataError where it ends before."""
    if start < 0 or samples < 1 or start + samples > self.samples:
      raise DataError(
        f"mix {self.id}: cannot cut samples {start} to {start + samples} out of {self.samples}"
      )
    end = start + samples
    cut = {n: replace(s, audio=s.audio[start:end]) for n, s in self.stems.items()}
    return replace(self, stems=cut)

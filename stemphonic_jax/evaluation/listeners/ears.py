"""What hears more in songs than `features`: each listener once, and what it heard is kept on disk.

    OUT/heard/NAME-KEY/DIGEST.npz       arrays "STEM/WHAT" of each stem, "/WHAT" of the mix
    OUT/heard/features-CODE-HOP/…       features of songs that no model here made (kept.py)

A digest is that of all that sounds and of the caption, a key that of what listens. So a second run
hears only what is new, whoever made the songs, and nothing of a song stays in memory.
"""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.errors import DataError, first_line
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.features import LATENT_HOP, SongFeatures, StemFeatures, features
from stemphonic_jax.evaluation.kept import Heard
from stemphonic_jax.evaluation.scores import Score

FEATURES = ("audio", "data/stems.py")
FEATURES += tuple(f"evaluation/{part}.py" for part in ("features", "kept", "listeners/ears"))

Recall = Callable[[SongFeatures | StemFeatures, str], np.ndarray | None]
Scored = tuple[dict[str, Score], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Listener:
  """Something that hears songs, and what it says of a set of them.

  `key` is all that what it hears depends on, besides the song. `hear` returns arrays by
  "STEM/WHAT", or "/WHAT" of the mix. `score` gives the `metrics` of songs compared with real ones,
  and what stands beside them in JSON; it gets at arrays by `Recall`, which returns None of what was
  never heard. `note` is for those who read the table. Where it is not `parallel`, one song is heard
  at a time: it has all cores, or an accelerator, to itself.
  """

  name: str
  key: Mapping[str, Any]
  metrics: tuple[str, ...]
  hear: Callable[[Mix], Mapping[str, np.ndarray]]
  score: Callable[[Sequence[SongFeatures], Sequence[SongFeatures], Recall], Scored]
  note: str = ""
  parallel: bool = False


@dataclass(frozen=True, eq=False)
class Ears:
  """Listeners, and the folder in which is kept what they heard; without any, only features."""

  folder: Path | None = None
  listeners: Sequence[Listener] = ()
  _alone: threading.Lock = field(default_factory=threading.Lock)
  _locks: Sequence[threading.Lock] = field(
    default_factory=lambda: tuple(threading.Lock() for _ in range(64))
  )

  @property
  def metrics(self) -> tuple[str, ...]:
    return tuple(name for listener in self.listeners for name in listener.metrics)

  @property
  def note(self) -> str:
    return " ".join(listener.note for listener in self.listeners if listener.note)

  def listen(self, mix: Mix, hop: int = LATENT_HOP, keep: bool = True) -> SongFeatures:
    """The features of a song (`features`), and what all listeners hear in it, kept if it is new.

    With `keep` so are its features, and what is large of them is left on disk.
    """
    if self.folder is None:
      return features(mix, hop)
    digest = digest_of(mix)
    with self._locks[int(digest[:8], 16) % len(self._locks)]:  # the same song may come twice
      song = self._features(mix, hop, digest) if keep else features(mix, hop)
      for listener in self.listeners:
        path = self._path(listener, digest)
        if not path.is_file():
          _write(path, self._heard(listener, mix))
    stems = {name: replace(stem, heard=f"{digest}/{name}") for name, stem in song.stems.items()}
    return replace(song, heard=digest, stems=stems)

  def complete(self, song: SongFeatures) -> bool:
    """Whether all listeners have heard a song; one that is no sound has nothing to hear."""
    if not song.stems or not self.listeners:
      return True
    return bool(song.heard) and all(
      self._path(listener, song.heard).is_file() for listener in self.listeners
    )

  def recall(self, listener: Listener) -> Recall:
    """What a listener heard in a song or a stem, by name of what it is."""

    def of(one: SongFeatures | StemFeatures, what: str) -> np.ndarray | None:
      digest, _, name = one.heard.partition("/")
      if not digest:
        return None
      path = self._path(listener, digest)
      try:
        with np.load(path) as found:
          return found.get(f"{name}/{what}")
      except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
          f"{path}: is damaged ({first_line(error)}); remove it, and it is heard again"
        ) from None

    return of

  def scored(
    self, listener: Listener, songs: Sequence[SongFeatures], reference: Sequence[SongFeatures]
  ) -> Scored:
    """What a listener says of songs that were heard, beside real ones."""
    return listener.score(songs, reference, self.recall(listener))

  def _features(self, mix: Mix, hop: int, digest: str) -> SongFeatures:
    code = kept.code(FEATURES)[:16]
    path = self.folder / "heard" / f"features-{code}-{hop}" / f"{digest}.npz"
    if not path.is_file():
      path.parent.mkdir(parents=True, exist_ok=True)
      kept.write(path, Heard(features(mix, hop), 0.0))
    return replace(kept.read(path).song, id=mix.id, bpm=mix.bpm)

  def _heard(self, listener: Listener, mix: Mix) -> Mapping[str, np.ndarray]:
    if listener.parallel:
      return listener.hear(mix)
    with self._alone:
      return listener.hear(mix)

  def _path(self, listener: Listener, digest: str) -> Path:
    key = kept.digest(dict(listener.key))[:16]
    return self.folder / "heard" / f"{listener.name}-{key}" / f"{digest}.npz"


def digest_of(mix: Mix) -> str:
  """Equal for mixes whose stems sound alike and are called alike, and that have one caption."""
  whole = hashlib.sha256(json.dumps([mix.rate, mix.caption]).encode())
  for name, stem in mix.stems.items():
    whole.update(json.dumps([name, stem.type, stem.audio.shape]).encode())
    whole.update(np.ascontiguousarray(stem.audio))
  return whole.hexdigest()[:32]


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  with whole_file(path) as partial, partial.open("wb") as file:
    np.savez(file, **arrays)

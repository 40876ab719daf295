"""What a number is read beside: songs of stems shuffled, or that start anywhere, and noise."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from stemphonic_jax.audio.levels import dbfs
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.evaluation.features import SongFeatures, StemFeatures


def shuffled(songs: Sequence[SongFeatures], seed: int = 0) -> list[SongFeatures]:
  """Songs of stems of the same types, each out of another song; the tempo stays that of the song.

  Each stem is used once, and no two of a song come out of the same one, as far as that can be; a
  stem stays where no other song has its type.
  """
  rng = np.random.default_rng(seed)
  by_type = defaultdict(list)
  for number, song in enumerate(songs):
    for stem in song.stems.values():
      by_type[stem.type].append((number, stem))
  unused = {kind: list(rng.permutation(len(found))) for kind, found in by_type.items()}

  mixed = []
  for number, song in enumerate(songs):
    taken, stems = {number}, {}
    for name, stem in song.stems.items():
      found, left = by_type[stem.type], unused[stem.type]
      every = [*left, *rng.permutation(len(found))]
      free = [place for place in every if found[place][0] not in taken]
      free = free or [place for place in every if found[place][0] != number]
      if free and free[0] in left:
        left.remove(free[0])
      source, stems[name] = found[free[0]] if free else (number, stem)
      taken.add(source)
    mixed.append(replace(song, stems=stems, heard=""))
  return mixed


def together(
  songs: Sequence[SongFeatures], real: Sequence[SongFeatures], read: Callable[[str], Mix]
) -> Iterator[Mix]:
  """Songs of stems out of `real` ones with their audio, for those who hear mixes; `read` by id."""
  ids = {song.heard: song.id for song in real}
  for song in songs:
    stems, rate = {}, None
    for name, stem in song.stems.items():
      digest, _, source = stem.heard.partition("/")
      mix = read(ids[digest])
      stems[name], rate = mix.stems[source], mix.rate
    yield Mix(song.id, stems, song.caption, song.bpm, rate)


def adrift(songs: Sequence[SongFeatures], seed: int = 0) -> list[SongFeatures]:
  """The same songs, but each stem starts somewhere else: it ends, and goes on from its beginning.

  Tempo, key and what stems sound like are untouched: it is what a common prompt alone can give.
  """
  rng = np.random.default_rng(seed)
  return [
    replace(song, stems={name: _slid(s, rng.random()) for name, s in song.stems.items()}, heard="")
    for song in songs
  ]


def _slid(stem: StemFeatures, share: float) -> StemFeatures:
  parts = {"bands": stem.bands, "chroma": stem.chroma, "lane": stem.lane}
  slid = {name: np.roll(part, int(share * len(part)), axis=0) for name, part in parts.items()}
  return replace(stem, **slid)


def noise_like(mix: Mix, seed: int = 0) -> Mix:
  """White noise in place of each stem, from end to end and as loud as the stem is on average."""
  rng = np.random.default_rng([seed, zlib.crc32(mix.id.encode())])  # no two songs share theirs
  stems = {}
  for name, stem in mix.stems.items():
    noise = rng.standard_normal(stem.audio.shape, dtype=np.float32)
    stems[name] = replace(stem, audio=noise * np.float32(10.0 ** (dbfs(stem.audio) / 20.0)))
  return replace(mix, stems=stems)

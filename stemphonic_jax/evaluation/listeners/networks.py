"""VGGish and CLAP as listeners: the paper's FAD of stems and of mixes, and its CLAP (Sec. 4.4).

A song is heard at the gain that brings its mix to -16 dBFS, as in the paper, its stems too: how
loud they are in the mix is part of what they sound like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from stemphonic_jax.audio.levels import MIX_DBFS, dbfs
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.evaluation import kept, scores
from stemphonic_jax.evaluation.distances import populations
from stemphonic_jax.evaluation.distances.populations import Views
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.listeners.ears import Listener, Recall, Scored

# Files of the package that say what is heard, besides the weights.
CODE = ("audio/levels.py", "evaluation/judges/judge.py", "evaluation/listeners/networks.py")
PLACES = ("evaluation/judges", "models", "weights")  # of a judge's files
VGGISH = (*CODE, *(f"{place}/vggish.py" for place in PLACES))
VGGISH += ("evaluation/judges/resampling.py", "models/layers.py", "models/machine.py")
CLAP = (
  *CODE,
  "data/bpe.py",
  *(f"{place}/clap.py" for place in PLACES),
  *(f"models/{part}.py" for part in ("htsat", "layers", "machine", "roberta")),
)
NAME = "vggish"  # of the columns, whatever network hears; the note says which
DISTANCES = ("fad_stem", "fad_mix", "fad_inf_stem", "fad_inf_mix", "kad_stem", "kad_mix")
SECOND = 16_000  # samples, of silence
AUDIO, TEXT, MIX = "audio", "text", "mix"
SILENT = 1e-3  # of an embedding: nearer than that to silence's, a window is silent


def fad(judge: Any, mode: str = "default") -> Listener:
  """Distances of stems by type, averaged over types, and of mixes, in the embeddings of a judge.

  `judge` has `embed_each(clips, rate)`, which returns [n, size] of each, and `key` and `note`, as
  those of judge.py; `mode` is one of frechet.ROOTS, and that which the judge was opened with.
  """
  silence = None

  def hear(mix: Mix) -> dict[str, np.ndarray]:
    names = ["", *mix.stems]
    found = judge.embed_each(levelled(mix), mix.rate)
    return {f"{name}/{AUDIO}": one for name, one in zip(names, found, strict=True)}

  def score(
    songs: Sequence[SongFeatures], reference: Sequence[SongFeatures], recall: Recall
  ) -> Scored:
    nonlocal silence
    if silence is None:
      silence = judge.embed_each([np.zeros((SECOND, 2), np.float32)], SECOND)[0][:1]
    found: dict[str, scores.Score] = {}
    detail = {}
    for what, views in (("stem", stem_views(songs, reference, recall)),
                        ("mix", mix_views(songs, reference, recall))):  # fmt: skip
      some, of = populations.distances(views.enough(f"FAD of a {what}"), mode)
      found |= {f"{NAME}_{name}_{what}": score for name, score in some.items()}
      for view, entry in of.items():
        entry["silent"] = [_silent(side[view], silence) for side in (views.made, views.real)]
      detail |= {f"{NAME}_{what}": of}
    return found, detail

  return Listener(
    name=NAME,
    key={"judge": judge.key, "code": kept.code(VGGISH), "mode": mode},
    metrics=tuple(f"{NAME}_{name}" for name in DISTANCES),
    hear=hear,
    score=score,
    note=f"FAD and KAD: {judge.note}.",
  )


def clap(judge: Any) -> Listener:
  """How near mixes are to the text that they were asked for with: cosines times 100, their mean.

  `judge` is that of judge.py: the windows of a longer mix are compared one by one.
  """

  def hear(mix: Mix) -> dict[str, np.ndarray]:
    found = {f"/{AUDIO}": judge.embed_each(levelled(mix)[:1], mix.rate)[0]}
    if mix.caption:
      found[f"/{TEXT}"] = judge.embed_texts([mix.caption])
    return found

  def score(songs: Sequence[SongFeatures], _: Sequence[SongFeatures], recall: Recall) -> Scored:
    values = []
    for song in songs:
      audio, text = recall(song, AUDIO), recall(song, TEXT)
      heard = audio is not None and text is not None and len(audio)
      values.append([100.0 * float((audio @ text[0]).mean())] if heard else [])
    return {"clap": scores.mean(values)}, {}

  return Listener(
    name="clap",
    key={"judge": judge.key, "code": kept.code(CLAP)},
    metrics=("clap",),
    hear=hear,
    score=score,
    note=f"CLAP: {judge.note}.",
  )


def levelled(mix: Mix) -> list[Float32[np.ndarray, "N 2"]]:
  """The mix at -16 dBFS, and each stem at the same gain; silence stays silence."""
  whole = mix.audio()
  level = dbfs(whole)
  gain = np.float32(10.0 ** ((MIX_DBFS - level) / 20.0)) if np.isfinite(level) else np.float32(1)
  return [part * gain for part in (whole, *(stem.audio for stem in mix.stems.values()))]


def stem_views(
  songs: Sequence[SongFeatures], reference: Sequence[SongFeatures], recall: Recall
) -> Views:
  """What was heard in stems, by each type that the reference has."""

  def windows(song: SongFeatures) -> Mapping[str, np.ndarray]:
    heard: dict[str, list[np.ndarray]] = {}
    for stem in song.stems.values():
      found = recall(stem, AUDIO)
      if found is not None:
        heard.setdefault(stem.type, []).append(found)
    return {kind: np.concatenate(some) for kind, some in heard.items()}

  sides = [[windows(song) for song in some] for some in (songs, reference)]
  kinds = sorted(set().union(*sides[0]) & set().union(*sides[1]))
  return _views(kinds, *sides)


def mix_views(
  songs: Sequence[SongFeatures], reference: Sequence[SongFeatures], recall: Recall
) -> Views:
  """What was heard in mixes."""
  sides = []
  for some in (songs, reference):
    found = [recall(song, AUDIO) for song in some]
    sides.append([{} if one is None else {MIX: one} for one in found])
  there = all(any(side) for side in sides)
  return _views([MIX] if there else [], *sides)


def _views(
  kinds: Sequence[str],
  songs: Sequence[Mapping[str, np.ndarray]],
  reference: Sequence[Mapping[str, np.ndarray]],
) -> Views:
  def by_kind(some: Sequence[Mapping[str, np.ndarray]]) -> dict[str, list[np.ndarray]]:
    found = {}
    for kind in kinds:
      size = next(song[kind] for song in some if kind in song).shape[1]
      nothing = np.zeros((0, size), np.float32)
      found[kind] = [song.get(kind, nothing) for song in some]
    return found

  return Views(by_kind(songs), by_kind(reference))


def _silent(songs: Sequence[np.ndarray], silence: np.ndarray) -> float:
  """The share of windows that are embedded as silence is: they shrink the covariance."""
  every = np.concatenate(songs)
  if not len(silence):  # a judge to which silence is nothing
    return 0.0
  near = np.abs(every - silence).max(axis=1) <= SILENT * max(float(np.abs(silence).max()), 1e-6)
  return float(near.mean())

"""BEAT and HAR of MusicGen-Stem (Sec. IV-B) and MIRDD of StemGen (Sec. 3.1), as a listener.

A song is heard as three parts: bass, drums, and other, the sum of what is neither these nor sung,
each silenced where it is under -35 dB. What is told with other tools than the papers' is in
beats.py, notes.py and descriptors.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from stemphonic_jax.data.stems import Mix
from stemphonic_jax.data.taxonomy import ROLES, role_of
from stemphonic_jax.evaluation import kept, scores
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.listeners import beats, descriptors, notes
from stemphonic_jax.evaluation.listeners.ears import Listener, Recall, Scored
from stemphonic_jax.evaluation.listeners.networks import levelled
from stemphonic_jax.evaluation.scores import Score

GATE_DB, BLOCK = -35.0, 0.4  # dBFS of the RMS, and seconds of which it is
PARTS = ("beats", "descriptors", "music", "networks", "notes")
CODE = tuple(f"evaluation/listeners/{part}.py" for part in PARTS)
CODE += ("audio/levels.py", "data/taxonomy.py")
WHOLE, PITCH, CHORDS = "song", "pitch of bass", "chords of other"
HEARD = (WHOLE, *ROLES, PITCH, CHORDS, *descriptors.NAMES)
METRICS = ("har", *(f"beat_{role}" for role in ROLES), "mirdd")
NOTE = (
  "HAR, BEAT and MIRDD are told with open tools, not with the papers'; of real pieces they say what"
  " can be reached."
)

Tracks = Mapping[str, np.ndarray]


def listener() -> Listener:
  """What hears beats, basses and chords; MissingError where mir_eval is not installed."""
  beats.check_installed()

  def score(
    songs: Sequence[SongFeatures], reference: Sequence[SongFeatures], recall: Recall
  ) -> Scored:
    tracks, real = (recalled(some, recall) for some in (songs, reference))
    mirdd, each = descriptors.distances(tracks, real)
    beat = {f"beat_{role}": rhythm(tracks, role) for role in ROLES}
    return {"har": harmony(tracks), **beat, "mirdd": mirdd}, {"mirdd": each}

  return Listener(
    name="music",
    key={"code": kept.code(CODE)},
    metrics=METRICS,
    hear=hear,
    score=score,
    note=NOTE,
    parallel=True,
  )


def hear(mix: Mix) -> dict[str, np.ndarray]:
  """Beats of a song and of its parts, pitch of its bass, chords of its other part; descriptors."""
  whole, *stems = levelled(mix)
  parts: dict[str, list[np.ndarray]] = {}
  for stem, audio in zip(mix.stems.values(), stems, strict=True):
    if role := role_of(stem.type):
      parts.setdefault(role, []).append(audio)
  found = {f"/{WHOLE}": beats.beats(whole, mix.rate)}
  for role, some in parts.items():
    audio = gated(sum(some), mix.rate)
    found[f"/{role}"] = beats.beats(audio, mix.rate)
    if role == "bass":
      found[f"/{PITCH}"] = notes.pitches(audio, mix.rate)
    if role == "other":
      semitones = notes.semitones(audio, mix.rate)
      found[f"/{CHORDS}"] = notes.triads(notes.chroma(semitones))
  described = descriptors.describe(whole, mix.rate)
  return found | {f"/{name}": value for name, value in described.items()}


def recalled(songs: Sequence[SongFeatures], recall: Recall) -> list[Tracks]:
  """What was heard in those songs that were heard."""
  found = []
  for song in songs:
    every = {name: recall(song, name) for name in HEARD}
    if every[WHOLE] is not None:
      found.append({name: heard for name, heard in every.items() if heard is not None})
  return found


def gated(audio: Float32[np.ndarray, "N 2"], rate: int) -> Float32[np.ndarray, "N 2"]:
  """The sound, silent in every 0.4 s whose RMS is under -35 dBFS."""
  size = round(BLOCK * rate)
  count = -(-len(audio) // size)
  padded = np.pad(audio, ((0, count * size - len(audio)), (0, 0))).reshape(count, size, -1)
  power = np.square(padded, dtype=np.float64).mean(axis=(1, 2))
  return (padded * (power >= 10.0 ** (GATE_DB / 10.0))[:, None, None]).reshape(-1, 2)[: len(audio)]


def harmony(songs: Sequence[Tracks]) -> Score:
  """The share of steps in which a sure bass pitch is a note of the chord, by song, and its mean."""
  shares = [
    har(song[PITCH], song[CHORDS]) if {PITCH, CHORDS} <= song.keys() else np.nan for song in songs
  ]
  return scores.mean([share] if np.isfinite(share) else [] for share in shares)


def har(pitch: np.ndarray, chords: np.ndarray) -> float:
  """That share of one song, NaN where there is no such step."""
  count = min(len(pitch), len(chords))
  known = np.isfinite(pitch[:count]) & (chords[:count] != notes.NONE)
  if not known.any():
    return np.nan
  classes = np.round(pitch[:count][known]).astype(int) % 12
  return float(notes.in_triad(classes, chords[:count][known]).mean())


def rhythm(songs: Sequence[Tracks], role: str) -> Score:
  """How well the beats of a part agree with those of its song: mean F-measure."""
  return scores.mean(
    [beats.agreement(song[WHOLE], song[role])] if role in song else [] for song in songs
  )

"""Every metric of a set of songs, by name, in the order of the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8

from stemphonic_jax.evaluation.distances.cepstra import mix_distance, stem_distance
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.measures.baselines import adrift, noise_like, shuffled
from stemphonic_jax.evaluation.measures.control import activity
from stemphonic_jax.evaluation.measures.form import form
from stemphonic_jax.evaluation.measures.harmony import chords, harmony
from stemphonic_jax.evaluation.measures.identity import identity
from stemphonic_jax.evaluation.measures.key import key
from stemphonic_jax.evaluation.measures.synchrony import synchrony
from stemphonic_jax.evaluation.measures.tempo import tempo
from stemphonic_jax.evaluation.scores import NOTHING, Score

__all__ = ["JUDGED", "LABELS", "METRICS", "Metric", "adrift", "measure", "noise_like", "shuffled"]


@dataclass(frozen=True)
class Metric:
  """What a number is called, whether "higher" or "lower" is better, and a line for its reader.

  Where higher is better it lies between 0 and `most`.
  """

  name: str
  label: str
  better: str
  summary: str
  most: float = 1.0

  @property
  def within(self) -> tuple[float, float]:
    """Where its values lie."""
    return (0.0, self.most) if self.better == "higher" else (-math.inf, math.inf)


_ALL = (
  Metric(
    "synchrony",
    "Synchrony",
    "higher",
    "Onsets of a song's stems coincide, more than when slid, more than with other songs'"
    " (AUC; chance 0.5)",
  ),
  Metric(
    "harmony",
    "Harmony",
    "higher",
    "Pitched stems of a song sound the same notes, more than with other songs' (AUC; chance 0.5)",
  ),
  Metric(
    "chords",
    "Chords",
    "higher",
    "They do so at the right moment: more than when slid in time, so that a common key does not"
    " suffice (AUC; chance 0.5)",
  ),
  Metric(
    "key",
    "Key",
    "higher",
    "Pitched stems sound notes of the scale that the prompt names, more than of the same one on"
    " eleven other tonics (AUC; chance 0.5)",
  ),
  Metric(
    "form",
    "Form",
    "higher",
    "Stems of a song come and go whole four-bar phrases apart, more than other songs'"
    " (AUC; chance 0.5)",
  ),
  Metric(
    "identity",
    "Identity",
    "higher",
    "Stems whose nearest real stem is of the type that was asked for (share)",
  ),
  Metric("tempo", "Tempo", "higher", "Mixes whose tempo is within 4 % of that asked for (share)"),
  Metric(
    "tempo_octave",
    "Tempo or octave",
    "higher",
    "The same, where half and double the tempo are right too, in 6/8 its eighths (share)",
  ),
  Metric(
    "activity",
    "Activity F1",
    "higher",
    "Frames sound that were asked to, in stems asked to be silent for a while (F1)",
  ),
  Metric(
    "fad_stem",
    "FD stem",
    "lower",
    "Fréchet distance of mel cepstra to real stems, mean over types (0 is alike)",
  ),
  Metric(
    "fad_mix", "FD mix", "lower", "Fréchet distance of mel cepstra to real mixes (0 is alike)"
  ),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}

_JUDGED = (
  Metric(
    "vggish_fad_stem",
    "FAD stem",
    "lower",
    "Fréchet audio distance of VGGish to real stems, mean over types (Sec. 4.4); it grows where"
    " songs are few",
  ),
  Metric("vggish_fad_mix", "FAD mix", "lower", "The same of mixes to real mixes (Sec. 4.4)"),
  Metric(
    "vggish_fad_inf_stem",
    "FAD∞ stem",
    "lower",
    "What FAD stem would be of infinitely many songs, along a line in 1 / n; without an interval",
  ),
  Metric("vggish_fad_inf_mix", "FAD∞ mix", "lower", "The same of FAD mix"),
  Metric(
    "vggish_kad_stem",
    "KAD stem",
    "lower",
    "Kernel distance of the same embeddings × 100, which is 0 on average for sets of one kind,"
    " however few songs they are",
  ),
  Metric("vggish_kad_mix", "KAD mix", "lower", "The same of mixes to real mixes"),
  Metric(
    "clap",
    "CLAP",
    "higher",
    "Mixes and the text that they were asked for with: mean cosine × 100 (Sec. 4.4)",
    most=100.0,
  ),
  Metric(
    "har",
    "HAR",
    "higher",
    "Steps of 0.1 s in which the bass plays a note of the chord that the other stems play (share)",
  ),
  Metric("har_bass", "HAR, bass edited", "higher", "HAR where the bass is the new one"),
  Metric("har_other", "HAR, other edited", "higher", "HAR where the chords are the new ones"),
  *(
    Metric(
      f"beat_{role}",
      f"BEAT {role}",
      "higher",
      f"Beats of {part} and of the song agree within 70 ms (F-measure)",
    )
    for role, part in (
      ("bass", "the bass"),
      ("drums", "drums and percussion"),
      ("other", "all that is neither, nor sung,"),
    )
  ),
  Metric(
    "mirdd",
    "MIRDD",
    "lower",
    "Divergence of ten descriptors (key, pitches, chords, onsets …) of mixes from those of real"
    " ones (mean KL; 0 is alike)",
  ),
)
_OTHERS = (
  Metric("silent", "Silent", "lower", "Stems that were to sound and stay below −45 dBFS (share)"),
  Metric("diverged", "Diverged", "lower", "Songs left out: NaN, or far beyond full scale (share)"),
  Metric("fad", "FAD", "lower", "Fréchet distance to the real embeddings, mean over kinds"),
  Metric("fad_inf", "FAD∞", "lower", "What it would be of infinitely many songs; no interval"),
  Metric("kad", "KAD", "lower", "Kernel distance × 100, 0 on average for sets of one kind"),
)
# Those of listeners, which are measured where there are any; LABELS are of all.
JUDGED: Mapping[str, Metric] = {metric.name: metric for metric in _JUDGED}
LABELS: Mapping[str, Metric] = {**METRICS, **JUDGED, **{one.name: one for one in _OTHERS}}


def measure(
  songs: Sequence[SongFeatures],
  reference: Sequence[SongFeatures],
  lanes: Sequence[Mapping[str, Int8[np.ndarray, "T"]]] | None = None,
) -> dict[str, Score]:
  """All metrics of `songs` by name; what cannot be measured is NaN, with n = 0.

  `reference` are real pieces other than those that the songs were asked after: they say what types
  sound like. `lanes` are the activities that were asked for, per song by name of stem.
  """
  right, right_or_octave = tempo(songs)
  return {
    "synchrony": synchrony(songs),
    "harmony": harmony(songs),
    "chords": chords(songs),
    "key": key(songs),
    "form": form(songs),
    "identity": identity(songs, reference),
    "tempo": right,
    "tempo_octave": right_or_octave,
    "activity": NOTHING if lanes is None else activity(songs, lanes),
    "fad_stem": stem_distance(songs, reference),
    "fad_mix": mix_distance(songs, reference),
  }

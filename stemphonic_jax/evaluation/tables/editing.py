"""Table II of MusicGen-Stem: one of bass, drums and other is made anew to the rest of a piece.

Does the new bass play notes of the chords, and the new stem on the beats, of the song as it was?
The paper's own rows are of an internal set, so none stands below ours; docs/results.md has them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stemphonic_jax.data.stems import Mix
from stemphonic_jax.data.taxonomy import ROLES, role_of
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.kept import Cell
from stemphonic_jax.evaluation.listeners import music
from stemphonic_jax.evaluation.listeners.ears import Ears
from stemphonic_jax.evaluation.listeners.music import Tracks
from stemphonic_jax.evaluation.scores import Score
from stemphonic_jax.evaluation.shown.sheet import Line, Sheet
from stemphonic_jax.evaluation.tables import remade
from stemphonic_jax.evaluation.tables.basis import Measured, Options

HARMONY = {"bass": "har_bass", "other": "har_other"}
METRICS = (*HARMONY.values(), *(f"beat_{role}" for role in ROLES))
NOTE = (
  "Of each piece bass, drums and all that is neither, nor sung, are made anew in turn, to the other"
  " two, with the text; beats are compared with those of the piece as it was. Shuffled: the stem is"
  " that of the next piece."
)


def measure(path: Path, out: Path, options: Options) -> Measured:
  """The sheet of a model; MissingError where mir_eval is not installed."""
  listener = music.listener()
  ears = Ears(out, [listener])
  recall = ears.recall(listener)
  what = "with bass, drums and other stems"
  of = remade.setting(__name__, path, out, options, ears, whole, what, roles=True)

  def tracks(songs: Sequence[SongFeatures | None]) -> list[Tracks | None]:
    return [None if song is None else music.recalled([song], recall)[0] for song in songs]

  real = tracks(remade.heard(of.pieces, ears, "real pieces"))
  names = {role: functools.partial(_of_role, role) for role in ROLES}
  made = {
    role: tracks(remade.anew(of, f"edit {role}", remade.to_the_others(names[role])))
    for role in ROLES
  }
  rows = {"generated": made, "real": {role: real for role in ROLES}}
  if len(real) > 1:
    rows["shuffled"] = {role: [*real[1:], real[0]] for role in ROLES}
  lines = []
  for name, by_role in rows.items():
    cell = Cell(scored(real, by_role))
    models = {of.model.name: cell} if name == "generated" else {}
    lines.append(Line(name, (name,), cell.scores, models=models))
  title, note = "MusicGen-Stem, Table II. Editing a stem", f"{NOTE} {of.said} {ears.note}"
  sheet = Sheet("musicgen-stem", title, note, ("Stems",), METRICS, lines, of.about)
  return Measured([sheet], {}, of.pieces, {None: len(of.pieces)})


def whole(mix: Mix, _: int) -> Mix | None:
  """A piece without what is sung, None where bass, drums or other are missing."""
  stems = {name: stem for name, stem in mix.stems.items() if role_of(stem.type)}
  roles = {role_of(stem.type) for stem in stems.values()}
  return replace(mix, stems=stems) if roles == set(ROLES) else None


def scored(
  real: Sequence[Tracks], edited: Mapping[str, Sequence[Tracks | None]]
) -> dict[str, Score]:
  """HAR and BEAT of pieces one part of which is another, by that part; None does not count."""
  found = {}
  for role, songs in edited.items():
    both = [(one, song) for one, song in zip(real, songs, strict=True) if song is not None]
    mixed = [_with(one, song, role) for one, song in both]
    found[f"beat_{role}"] = music.rhythm(mixed, role)
    if role in HARMONY:
      found[HARMONY[role]] = music.harmony(mixed)
  return found


def _with(real: Tracks, song: Tracks, role: str) -> Tracks:
  """What was heard in a piece, but for one of its parts, which is that of a song."""
  own = {"bass": (music.PITCH,), "other": (music.CHORDS,)}.get(role, ())
  return dict(real) | {name: song[name] for name in (role, *own) if name in song}


def _of_role(role: str, mix: Mix) -> list[str]:
  return [name for name, stem in mix.stems.items() if role_of(stem.type) == role]

"""Distances of embeddings that any other network made, out of two .npz files.

    MADE.npz, REAL.npz                  an array [windows, size] of each song, by its name; or by
                                        "KIND/SONG": distances are of each kind, then averaged

Names tell which windows are of one song: songs are drawn whole, for intervals and for the limit.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from stemphonic_jax.errors import DataError, MissingError, first_line
from stemphonic_jax.evaluation import kept
from stemphonic_jax.evaluation.distances import populations
from stemphonic_jax.evaluation.distances.populations import Views
from stemphonic_jax.evaluation.shown.sheet import Line, Sheet
from stemphonic_jax.evaluation.tables import basis
from stemphonic_jax.evaluation.tables.basis import Measured, Options

ALL = "all"  # the kind of songs that are of none
METRICS = ("fad", "fad_inf", "kad")
NOTE = (
  "FAD and KAD of embeddings that other code made; halves: of the real songs, one half beside the"
  " other, which is what no difference looks like."
)

Songs = Mapping[str, Mapping[str, Float[np.ndarray, "W D"]]]


def measure(made: Path, real: Path, out: Path, options: Options, mode: str = "default") -> Measured:
  """A sheet of one file of embeddings beside another; `mode` is one of frechet.ROOTS.

  MissingError, DataError where a file is not there, or holds something else.
  """
  kept.begin(out)
  ours, theirs = read(made), read(real)
  sizes = {found.shape[1] for side in (ours, theirs) for kind in side.values()
           for found in kind.values()}  # fmt: skip
  if len(sizes) > 1:
    raise DataError(f"{made}, {real}: embeddings of {sorted(sizes)} numbers; expected one size")
  halves = [{kind: _every_other(songs, first) for kind, songs in theirs.items()}
            for first in (0, 1)]  # fmt: skip
  lines = []
  for name, (some, others) in {made.stem: (ours, theirs), "halves": halves}.items():
    found, detail = populations.distances(_views(some, others).enough(f"FAD of {name}"), mode)
    lines.append(Line(name, (name,), found, detail=detail))
  about = basis.about({}, {"made": [str(made)], "real": [str(real)]}, np.nan, options)
  sheet = Sheet("embeddings", f"{made.stem} beside {real.stem}", NOTE, ("Embeddings",), METRICS,
                lines, about)  # fmt: skip
  return Measured([sheet], {}, [], {})


def read(path: Path) -> Songs:
  """The embeddings of a file by kind and song."""
  if not path.is_file():
    raise MissingError(f"{path}: no such file of embeddings")
  found: dict[str, dict[str, np.ndarray]] = {}
  try:
    with np.load(path) as arrays:
      for name in arrays.files:
        kind, _, song = name.rpartition("/")
        found.setdefault(kind or ALL, {})[song] = _checked(path, name, arrays[name])
  except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
    raise DataError(f"{path}: is no .npz of embeddings ({first_line(error)})") from None
  if not found:
    raise DataError(f"{path}: is empty; expected an array [windows, size] of each song")
  return found


def _checked(path: Path, name: str, array: np.ndarray) -> Float[np.ndarray, "W D"]:
  if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating) or not array.shape[1]:
    raise DataError(
      f"{path}: {name} is {array.dtype} {list(array.shape)}, expected floats [windows, size]"
    )
  if not np.isfinite(array).all():
    raise DataError(f"{path}: {name} holds NaN or infinity")
  return array


def _views(ours: Songs, theirs: Songs) -> Views:
  """By kind the windows of each song; those of all kinds that have a name are of one song."""
  kinds = sorted(ours.keys() & theirs.keys())

  def side(songs: Songs) -> dict[str, Sequence[np.ndarray]]:
    names = sorted({name for kind in kinds for name in songs[kind]})
    found = {}
    for kind in kinds:
      size = next(iter(songs[kind].values())).shape[1] if songs[kind] else 1
      found[kind] = [songs[kind].get(name, np.zeros((0, size))) for name in names]
    return found

  return Views(side(ours), side(theirs))


def _every_other(songs: Mapping[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
  return {name: songs[name] for name in sorted(songs)[first::2]}

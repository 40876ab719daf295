"""Audio that is given: a folder of stems that stay as they are, or one file of an existing mix."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float32

from stemphonic_jax.audio.files import check_samples, is_audio, read_audio
from stemphonic_jax.audio.folders import settled
from stemphonic_jax.audio.lengths import at_least, at_most, samples_of
from stemphonic_jax.audio.metre import COMMON
from stemphonic_jax.data.sources import folder
from stemphonic_jax.data.taxonomy import STEM_TYPES, guess_type, knows
from stemphonic_jax.errors import DataError, MissingError, TooLongError, UsageError
from stemphonic_jax.generation import song_json, values
from stemphonic_jax.generation.song_folder import INFO, MIX_FILE

WHOLE = "context"  # the name of a given mix, of which the stem types are not known
UNTYPED = (WHOLE, "music")  # and that of a generated one
MAX_NAME = 240  # bytes of a stem's name; 255 with what is around it while its file is written


@dataclass(frozen=True, eq=False)
class Context:
  """Given audio by name, [samples, 2] each, and the stem type of each name where it is known.

  `bpm` and `metre` are what a saved song says of itself.
  """

  audio: Mapping[str, Float32[np.ndarray, "samples 2"]]
  types: Mapping[str, str]
  bpm: float | None = None
  metre: str | None = None


def read_context(
  path: str | Path, rate: int, max_seconds: float, free_types: Collection[str] = ()
) -> Context:
  """Reads a folder as stems, as `stemphonic prepare folder` reads a mix, and a file as a mix.

  A file that is named as a stem, as drums.wav, is one. A saved song's own mix is left out. Stems of
  a type that is neither one of the eleven nor one of `free_types` are heard, but have no type.
  Errors are those of `read_audio` and of the folder, and MissingError for one without audio.
  """
  path = Path(path)
  about: dict[str, Any] = {}
  if not path.is_dir():
    name = path.stem if knows(path.stem) else WHOLE
    found = [(name, guess_type(name), path)]
  elif (settled(path) / INFO).is_file():
    names, about = _song(path)
    found = [(name, guess_type(name), path / f"{name}.wav") for name in names]
  else:
    found = _folder_files(path)
  _check_names(name for name, _, _ in found)
  audio = {name: read_audio(file, rate, max_seconds) for name, _, file in found}
  return Context(audio, _known({name: kind for name, kind, _ in found}, free_types), **about)


def given_context(
  context: Mapping[str, np.ndarray] | np.ndarray,
  rate: int,
  max_seconds: float,
  free_types: Collection[str] = (),
) -> Context:
  """The same for arrays at `rate` Hz: a mix [samples, 2], or stems by name; mono is duplicated."""
  stems = context if isinstance(context, Mapping) else {WHOLE: context}
  if not stems:
    raise UsageError("context holds no stems; leave it out to make music from scratch")
  named = {values.text("context", name): array for name, array in stems.items()}
  _check_names(named)
  audio = {name: _stereo(name, array, rate, max_seconds) for name, array in named.items()}
  return Context(audio, _known({name: guess_type(name) for name in audio}, free_types))


def fit(context: Context, samples: int, rate: int, hop: int) -> Context:
  """Pads with silence to `samples`, or cuts off less than a latent frame of `hop` samples.

  DataError where the context is longer than that.
  """
  longest = max(len(audio) for audio in context.audio.values())
  if longest - samples >= hop:
    lasts, most = at_least(longest / rate), at_most(samples / rate)
    raise DataError(
      f"context lasts {lasts} s and the song {most} s; cut it, or ask for a longer --duration"
    )
  if longest > samples:
    logging.info("context: cut to the song's length, by %d samples", longest - samples)
  padded = {
    name: np.pad(audio[:samples], ((0, max(0, samples - len(audio))), (0, 0)))
    for name, audio in context.audio.items()
  }
  return replace(context, audio=padded)


def _song(folder: Path) -> tuple[list[str], dict[str, Any]]:
  """Names of the stems of a saved song, its tempo and metre; DataError where it has no stems."""
  try:
    info = json.loads((folder / INFO).read_text())
    names, request = [str(name) for name in info["stems"]], info.get("request", {})
    song_json.check_time(request)
    about = {name: request[name] for name in ("bpm", "metre") if name in request}
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise DataError(f"{folder}/song.json: not a song's ({error})") from None
  if not names:
    raise DataError(f"{folder}/song.json: not a song's (it names no stems)")
  return names, about


def timed(
  context: Context | None, bpm: float | None, metre: str | None, tempo: bool = True
) -> tuple[float | None, str | None]:
  """Tempo and metre that are asked for, or else those of a song that is given; the log says so.

  Its tempo is left where it is without `tempo`, as for a model that hears none.
  """
  if context is None:
    return bpm, metre
  if tempo and bpm is None and context.bpm is not None:
    bpm = context.bpm
    logging.info("bpm: %g, that of the song that is given", bpm)
  if metre is None and context.metre is not None:
    metre = context.metre
    if metre != COMMON:
      logging.info("metre: %s, that of the song that is given", metre)
  return bpm, metre


def _folder_files(path: Path) -> list[tuple[str, str, Path]]:
  """Name, type and file of each stem in a folder; what was left out or guessed is in the log."""
  try:
    entry = folder.read(Path(path.absolute().anchor), path.absolute(), path.name)
  except (DataError, MissingError) as error:
    only_mixes = isinstance(error, MissingError) and any(map(is_audio, path.iterdir()))
    hint = "; to play along with a mix, name its file" if only_mixes else ""
    raise type(error)(f"{path}: {error}{hint}") from None
  except OSError as error:
    raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
  for note in entry.notes:
    logging.info("context: %s", note)
  return [(part.label, part.type, part.files[0]) for part in entry.parts]


def _check_names(names: Iterable[str]) -> None:
  """UsageError for a stem whose name cannot be that of its file in a song's folder."""
  for name in names:
    taken = f"{name}.wav".lower() == MIX_FILE
    if taken or not name or name.startswith(".") or not _is_plain(name):
      shown = "the name of a song's own mix" if taken else "of which no file name can be made"
      raise UsageError(
        f"context: a stem is called {name[:60]!r}, {shown}; call it what it is, as 'drums'"
      )
    if len(name.encode()) > MAX_NAME:
      raise UsageError(f"context: the name {name[:40]!r}… is too long for a file; shorten it")


def _is_plain(name: str) -> bool:
  return name.isprintable() and not set("/\\") & set(name)


def _known(types: Mapping[str, str], free_types: Collection[str]) -> dict[str, str]:
  """The types that a model has words for."""
  named = {name: kind for name, kind in types.items() if name not in UNTYPED}
  known = {name: kind for name, kind in named.items() if kind in {*STEM_TYPES, *free_types}}
  if others := [name for name in named if name not in known]:
    logging.info("context: %s: of no known type, heard but not named", ", ".join(others))
  return known


def _stereo(name: str, array: np.ndarray, rate: int, max_seconds: float) -> np.ndarray:
  try:
    with np.errstate(over="ignore"):  # to infinity, which is refused below
      given = np.asarray(array)
      if np.issubdtype(given.dtype, np.complexfloating):
        raise TypeError
      audio = given.astype(np.float32)
  except (TypeError, ValueError):
    raise DataError(
      f"context {name!r}: is not an array of numbers, expected [samples, 2]"
    ) from None
  if audio.ndim == 1 or (audio.ndim == 2 and audio.shape[1] == 1):
    audio = np.repeat(audio.reshape(-1, 1), 2, axis=1)
  if audio.ndim != 2 or audio.shape[1] != 2 or not len(audio):
    raise DataError(f"context {name!r}: got shape {list(np.shape(array))}, expected [samples, 2]")
  check_samples(f"context {name!r}", audio, rate)
  if np.issubdtype(given.dtype, np.integer) and np.abs(audio).max() > 1:
    raise DataError(
      f"context {name!r}: holds integers ({given.dtype}) up to {np.abs(audio).max():.0f}, expected"
      f" numbers within ±1; divide 16-bit samples by 32768"
    )
  if len(audio) > samples_of(max_seconds, rate):
    lasts, most = at_least(len(audio) / rate), at_most(max_seconds)
    raise TooLongError(f"context {name!r}: lasts {lasts} s, at most {most} s fit; cut it")
  return audio

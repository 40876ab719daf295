"""Audio that is given: a folder of stems that stay as they are, or one file of an existing mix."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemphonic_jax.audio.files import read_audio
from stemphonic_jax.data.taxonomy import parse_type
from stemphonic_jax.errors import DataError, MissingError, UsageError

WHOLE = "context"  # the name of a given mix, of which the stem types are not known
UNTYPED = (WHOLE, "music")  # and that of a generated one
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")


@dataclass(frozen=True, eq=False)
class Context:
  """Given audio by name, [samples, 2] each, and the stem type of each name where it is known."""

  audio: Mapping[str, Float32[np.ndarray, "samples 2"]]
  types: Mapping[str, str]


def read_context(path: str | Path, rate: int, max_seconds: float) -> Context:
  """Reads a file as a mix, or a folder of files named after their stem types as stems.

  A saved song's own mix is left out. Errors are those of `read_audio`, and MissingError for a
  folder without audio.
  """
  path = Path(path)
  if not path.is_dir():
    return Context({WHOLE: read_audio(path, rate, max_seconds)}, {})
  files = sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES and f.is_file())
  if (path / "song.json").is_file():
    files = _song_files(path)
  if not files:
    raise MissingError(f"{path}: no audio files; expected stems such as drums.wav, basses.wav")
  names = [file.stem for file in files]
  if twins := [name for name in names if names.count(name) > 1]:
    raise UsageError(f"{path}: {twins[0]!r} is there twice; rename one, as {twins[0]} 2")
  audio = {file.stem: read_audio(file, rate, max_seconds) for file in files}
  return Context(audio, _types_of(path, audio))


def given_context(
  context: Mapping[str, np.ndarray] | np.ndarray, rate: int, max_seconds: float
) -> Context:
  """The same for arrays at `rate` Hz: a mix [samples, 2], or stems by name; mono is duplicated."""
  stems = context if isinstance(context, Mapping) else {WHOLE: context}
  if not stems:
    raise UsageError("context holds no stems; leave it out to make music from scratch")
  audio = {name: _stereo(name, array, rate, max_seconds) for name, array in stems.items()}
  return Context(audio, _types_of("context", audio))


def fit(context: Context, samples: int, rate: int) -> Context:
  """Pads with silence to `samples`; DataError where the context is longer."""
  longest = max(len(audio) for audio in context.audio.values())
  if longest > samples:
    raise DataError(
      f"context lasts {longest / rate:.2f} s and the song {samples / rate:g} s; cut the context or"
      f" ask for a longer --duration"
    )
  padded = {
    name: np.pad(audio, ((0, samples - len(audio)), (0, 0)))
    for name, audio in context.audio.items()
  }
  return Context(padded, context.types)


def _song_files(folder: Path) -> list[Path]:
  try:
    names = list(json.loads((folder / "song.json").read_text())["stems"])
  except (ValueError, KeyError, TypeError) as error:
    raise DataError(f"{folder}/song.json: not a song's ({error})") from None
  return [folder / f"{name}.wav" for name in names]


def _types_of(where: str | Path, names: Iterable[str]) -> dict[str, str]:
  """The stem type that each name stands for: "guitars 2" is guitars."""
  try:
    return {n: parse_type(re.sub(r"[ _-]*\d+$", "", n)) for n in names if n not in UNTYPED}
  except UsageError as error:
    raise UsageError(f"{where}: {error}") from None


def _stereo(name: str, array: np.ndarray, rate: int, max_seconds: float) -> np.ndarray:
  audio = np.asarray(array, np.float32)
  if audio.ndim == 1 or (audio.ndim == 2 and audio.shape[1] == 1):
    audio = np.repeat(audio.reshape(-1, 1), 2, axis=1)
  if audio.ndim != 2 or audio.shape[1] != 2 or not len(audio):
    raise DataError(f"context {name!r}: got shape {list(np.shape(array))}, expected [samples, 2]")
  if not np.isfinite(audio).all():
    raise DataError(f"context {name!r}: holds NaN or infinity")
  if len(audio) > max_seconds * rate:
    raise DataError(f"context {name!r}: lasts {len(audio) / rate:.2f} s, at most {max_seconds:g} s")
  return audio

"""A song: stems of equal length, the mix of them, and what they were made from."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int8
from safetensors import numpy as safetensors

from stemphonic_jax.audio import levels
from stemphonic_jax.audio.activity import frame_activity
from stemphonic_jax.audio.figures import stems_figure
from stemphonic_jax.audio.files import check_samples, write_wav
from stemphonic_jax.audio.folders import aside, refuse_taken, settled, whole_folder
from stemphonic_jax.errors import OutputError, UsageError
from stemphonic_jax.generation import values
from stemphonic_jax.generation.colours import colour_of

TITLE = 120  # letters of a prompt in the header of a WAV
INFO, MIX_FILE, LATENTS, FIGURE = "song.json", "mix.wav", "latents.safetensors", "stems.png"


@dataclass(frozen=True, eq=False)
class Song:
  """Stems by name, float32 [samples, 2] at `rate` Hz; given ones (context) first and untouched.

  `latents` [T, C] are those of the generated stems, `lanes` the activity asked for, `info` what
  song.json records.
  """

  stems: Mapping[str, Float32[np.ndarray, "samples 2"]]
  rate: int
  hop: int
  latents: Mapping[str, Float32[np.ndarray, "T C"]]
  lanes: Mapping[str, Int8[np.ndarray, "T"]]
  info: Mapping[str, Any]

  def mix(self, gains: Mapping[str, float] | None = None) -> Float32[np.ndarray, "samples 2"]:
    """Sum of the stems times their linear gains (1 where none is given), at −16 dBFS (Sec. 4.3)."""
    given = dict(gains or {})
    given = {name: values.number(f"gain for {name!r}", gain) for name, gain in given.items()}
    if wrong := [name for name, gain in given.items() if not math.isfinite(gain)]:
      raise UsageError(f"gain for {wrong[0]!r}: got {given[wrong[0]]}, expected a finite number")
    return levels.normalize(levels.mix(self.stems, given))

  def save(self, directory: str | Path, overwrite: bool = False) -> None:
    """Writes the song's folder, whole or not at all.

    One 32-bit float WAV per stem, `mix.wav`, `latents.safetensors`, `stems.png` with the activity
    asked for (or else found), `song.json`. With `overwrite`, of a folder that is there only the
    files of its song are replaced, as its song.json names them; whatever else is kept there stays.
    If the process is killed, the folder holds the old song or the new one, as song.json and
    `read_context` see it (audio/folders.py). DataError where a stem is no sound; OutputError where
    it cannot be written, or exists and `overwrite` is not set, or a file that is not the old song's
    has the name of a new stem.
    """
    directory = Path(directory).absolute()
    check_output(directory, overwrite, self.stems)
    for name, audio in self.stems.items():
      check_samples(f"stem {name!r}", audio, self.rate)
    with whole_folder(directory, song_files) as folder:
      title, bpm = self.info["request"]["prompt"], self.info["request"]["bpm"]
      about = dict(album=title[:TITLE], bpm=bpm)
      for name, audio in self.stems.items():
        write_wav(folder / f"{name}.wav", audio, self.rate, title=name, **about)
      write_wav(folder / MIX_FILE, self.mix(), self.rate, title="mix", **about)
      latents = {name: np.ascontiguousarray(z) for name, z in self.latents.items()}
      safetensors.save_file(latents, folder / LATENTS)
      lanes = {
        name: self.lanes.get(name, frame_activity(audio, self.hop))
        for name, audio in self.stems.items()
      }
      colours = {name: colour_of(stem["type"]) for name, stem in self.info["stems"].items()}
      stems_figure(folder / FIGURE, self.stems, lanes, self.rate, title, colours)
      (folder / INFO).write_text(json.dumps(self.info, indent=2) + "\n")


def song_files(folder: Path) -> set[str]:
  """Names of the files that are the song's in a folder, by its song.json; none without one."""
  if not (folder / INFO).is_file():
    return set()
  with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
    stems = json.loads((folder / INFO).read_text())["stems"]
    return {INFO, MIX_FILE, LATENTS, FIGURE, *(f"{name}.wav" for name in stems)}
  return {INFO, MIX_FILE, LATENTS, FIGURE}


def check_output(directory: Path, overwrite: bool, stems: Iterable[str] = ()) -> None:
  """OutputError where a song with these `stems` may not be written to `directory`.

  It is cheap, so it is asked before the work.
  """
  _refuse_unwritable(directory)
  if directory.exists():
    if not overwrite:
      raise OutputError(f"{directory}: already exists; choose another --out or add --overwrite")
    empty = directory.is_dir() and not any(directory.iterdir())
    if not empty and not (settled(directory) / INFO).is_file():
      raise OutputError(f"{directory}: is not the folder of a song, so it is not overwritten")
    names = [f"{name}.wav" for name in stems]
    refuse_taken(directory, names, song_files(directory))
  parent = next(parent for parent in (*directory.parents, Path(".")) if parent.exists())
  if not parent.is_dir() or not os.access(parent, os.W_OK):
    raise OutputError(f"{directory}: {parent} cannot be written to")


def _refuse_unwritable(directory: Path) -> None:
  """OutputError for a path that is none, is too long, or is a link to what is not there."""
  try:
    os.lstat(aside(directory))
  except (FileNotFoundError, NotADirectoryError):
    pass
  except (OSError, ValueError) as error:  # a null character is a ValueError
    reason = error.strerror if isinstance(error, OSError) else error
    raise OutputError(f"{str(directory)[:200]!r}: cannot be written ({reason})") from None
  if directory.is_symlink() and not directory.exists():
    raise OutputError(f"{directory}: is a link to what is not there; remove it")

"""A saved song, read again: what its folder holds counts, and what was changed by hand is said."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from stemphonic_jax.audio.files import is_audio, read_audio
from stemphonic_jax.audio.folders import settled
from stemphonic_jax.audio.lengths import LONGEST, samples_of
from stemphonic_jax.data.taxonomy import guess_type, knows
from stemphonic_jax.errors import DataError
from stemphonic_jax.generation import song_json
from stemphonic_jax.generation.session import digest, lanes_of, of_old
from stemphonic_jax.generation.song import Song, Take, read_latents
from stemphonic_jax.generation.song_folder import (
  INFO,
  LATENTS,
  MIX_FILE,
  TAKES,
  no_song,
  song_files,
  stamps,
)

HOP = 3584  # samples in a latent frame, where an older song does not say


def load_song(directory: str | Path) -> Song:
  """The song of a folder that `Song.save` wrote, with all its takes.

  Audio that was changed, added or removed since is what counts: it becomes a step "found". Added
  files are stems where they are named as one. MissingError where there is no song, DataError where
  it cannot be read, or where files do not fit to its length.
  """
  folder = Path(directory).absolute()
  info = _read_info(folder)
  rate, hop = info["sample_rate"], info.get("hop", HOP)
  now = info["steps"][info["now"]]
  samples = samples_of(now["seconds"], rate)
  files = {name: folder / f"{name}.wav" for name in now["stems"]}
  files = {name: file for name, file in files.items() if file.is_file()}
  added = _added(folder, list(now["stems"]), files)
  files |= {name: added.pop(name) for name in now["stems"] if name in added}
  seen = stamps(folder, {*song_files(folder), *(file.name for file in added.values())})
  names = [name for name in now["stems"] if name in files]
  removed = [name for name in now["stems"] if name not in files]
  lengths, audio = {}, {}
  for name, file in (files | added).items():
    lengths[name], audio[name] = _fitting(file, rate, samples, hop)
  if not audio:
    raise DataError(f"{folder}: none of its stems is there any more ({', '.join(removed)})")
  made = {name: info["steps"][step]["made"][name] for name, step in now["stems"].items()}
  changed = [
    name for name in names if made[name].get("sha256", "") not in ("", digest(audio[name]))
  ]
  latents = {n: z for n, z in read_latents(folder / LATENTS).items() if _fits(z, samples, hop)}
  latents = {name: latents[name] for name in names if name in latents and name not in changed}
  kept = {
    (number, name): folder / TAKES / str(number) / f"{name}.wav"
    for number, step in enumerate(info["steps"])
    for name in step["made"]
  }
  takes = {key: Take(file=file) for key, file in kept.items() if file.is_file()}
  song = Song(audio, rate, hop, latents, lanes_of(info, hop), info, takes, folder, seen=seen)
  if not (added or removed or changed):
    return song
  by_hand = {name: audio[name] for name in (*changed, *added)}
  for name in by_hand:
    if lengths[name] != samples:
      said = "%s: %s brought from %d to the song's %d samples"
      logging.info(said, folder, name, lengths[name], samples)
  song = replace(song, adopted=dict.fromkeys(by_hand, len(info["steps"])))
  types = {name: made[name]["type"] for name in changed} | {n: guess_type(n) for n in added}
  return found(song, by_hand, types, removed)


def found(
  song: Song,
  by_hand: Mapping[str, np.ndarray],
  types: Mapping[str, str | None],
  removed: Sequence[str],
) -> Song:
  """The song after a step "found": with stems that somebody put in its folder, or changed there."""
  what = {
    "added": [name for name in by_hand if name not in song.info["stems"]],
    "changed": [name for name in by_hand if name in song.info["stems"]],
    "removed": list(removed),
  }
  listed = "; ".join(f"{how} {', '.join(names)}" for how, names in what.items() if names)
  logging.info("found by hand%s: %s", f" in {song.folder}" if song.folder else "", listed)
  gone = {*by_hand, *removed}
  intact = {name: audio for name, audio in song.stems.items() if name not in gone}
  made = {name: Take(audio) for name, audio in by_hand.items()}
  about = {name: {"type": types[name], "given": True} for name in by_hand}
  return replace(song, stems=intact).edited("found", what, made, about)


def _read_info(folder: Path) -> dict[str, Any]:
  """What song.json says, checked as far as it is read."""
  if not (settled(folder) / INFO).is_file():
    raise no_song(folder)
  try:
    info = of_old(json.loads((folder / INFO).read_text()))
    song_json.check(info)
    step = info["steps"][info["now"]]
    samples = samples_of(step["seconds"], info["sample_rate"])
    if not step["stems"] or not 0 < samples <= samples_of(LONGEST, info["sample_rate"]):
      raise ValueError(f"{len(step['stems'])} stems, {step['seconds']} s")
    return dict(info)
  except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
    raise DataError(f"{folder}/{INFO}: not a song's ({error})") from None


def _added(folder: Path, listed: Sequence[str], there: Collection[str]) -> dict[str, Path]:
  """Audio files that lie in the folder and are named as a stem, but are none of the song's.

  Of the stems that are `listed`, those that are `there` have their WAV; another file of the same
  name stands for one that has not.
  """
  own = {f"{name}.wav".lower() for name in listed} | {MIX_FILE}
  found: dict[str, Path] = {}
  for file in sorted(folder.iterdir()):
    if file.name.lower() in own or file.name.startswith(".") or not is_audio(file):
      continue
    if not file.is_file():
      logging.info("%s: passed over: %s is a folder", folder, file.name)
    elif file.stem in {*there, *found}:
      logging.info("%s: passed over: %s, of which the song has another file", folder, file.name)
    elif file.stem in listed or knows(file.stem):
      found[file.stem] = file
    else:
      logging.info("%s: passed over: %s is not named as a stem", folder, file.name)
  return found


def _fitting(file: Path, rate: int, samples: int, hop: int) -> tuple[int, np.ndarray]:
  """A file's length, and its audio at that of the song.

  Less is padded with silence, a frame more is cut.
  """
  audio = read_audio(file, rate, LONGEST)
  if len(audio) - samples >= hop:
    raise DataError(
      f"{file}: lasts {len(audio) / rate:.2f} s and the song {samples / rate:.2f} s; cut it"
    )
  fitted = np.pad(audio[:samples], ((0, max(0, samples - len(audio))), (0, 0)))
  return len(audio), fitted


def _fits(latents: np.ndarray, samples: int, hop: int) -> bool:
  return latents.ndim == 2 and len(latents) == -(-samples // hop)

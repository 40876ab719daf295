"""Audio of one's own: sent as a file, looked at, and taken into a song as a stem that is given."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stemphonic_jax.audio.files import ENDINGS, KINDS, decode, to_stereo
from stemphonic_jax.audio.metre import COMMON, said
from stemphonic_jax.data.preparing import tempo
from stemphonic_jax.data.taxonomy import STEM_TYPES, guess_type, is_mix, knows
from stemphonic_jax.errors import DataError, MissingError, OutputError, UsageError
from stemphonic_jax.generation import session
from stemphonic_jax.generation.song import Song, Take
from stemphonic_jax.generation.stem_names import unique_name
from stemphonic_jax.studio import desk as desks
from stemphonic_jax.studio.library import check_name

STALE = 24 * 3600.0  # seconds after which what nobody took is removed
OTHER = "other"
LONGEST = 40  # letters of a token


class Uploads:
  """Files that were sent, each under a token of its own, until a song takes them."""

  def __init__(self, folder: Path):
    self._folder = folder
    for path in folder.glob("*"):
      if time.time() - path.stat().st_mtime > STALE:
        path.unlink(missing_ok=True)

  async def take(self, name: str, body: AsyncIterator[bytes], with_tempo: bool) -> dict[str, Any]:
    """Writes a file called `name` and says what it is; DataError where it is no audio."""
    ending = Path(name).suffix.lower()
    if ending not in ENDINGS:
      raise DataError(f"{name[:80]}: expected {KINDS}")
    self._folder.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8) + ending
    path = self._folder / token
    try:
      with path.open("wb") as file:
        async for chunk in body:
          await asyncio.to_thread(file.write, chunk)
      found = await asyncio.to_thread(_look, path, Path(name).name, with_tempo)
    except BaseException as error:
      path.unlink(missing_ok=True)
      if isinstance(error, OSError):
        raise OutputError(f"{name[:80]}: cannot be kept ({error.strerror or error})") from None
      raise
    return {"upload": token, **found}

  def path(self, token: Any) -> Path:
    """The file of a token; MissingError where there is none."""
    plain = isinstance(token, str) and token.replace(".", "").isalnum() and token[:1] != "."
    if not plain or len(token) > LONGEST or not (self._folder / token).is_file():
      raise MissingError(f"no upload {str(token)[:40]!r}; send the file again")
    return self._folder / token


def _look(path: Path, name: str, with_tempo: bool) -> dict[str, Any]:
  try:
    audio, rate = decode(path, desks.MOST)
  except (DataError, MissingError) as error:
    raise DataError(str(error).replace(str(path), name)) from None
  stem = Path(name).stem
  kind = OTHER if is_mix(stem) else guess_type(stem)
  found = {"name": name, "type": kind, "known": knows(stem), "seconds": len(audio) / rate}
  if with_tempo:
    stereo = np.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio
    found["bpm"] = tempo.estimate(stereo, rate)
  return found


def read(given: Any, uploads: Uploads, rate: int, taken: list[str]) -> dict[str, tuple]:
  """Uploads as stems: {name: (type, samples [samples, 2] at `rate` Hz)}."""
  if not isinstance(given, list) or not 0 < len(given) <= desks.MAX_STEMS:
    raise UsageError("uploads: expected a list, as [{'upload': '…', 'type': 'drums'}]")
  stems: dict[str, tuple] = {}
  for one in given:
    if not isinstance(one, Mapping):
      raise UsageError("uploads: expected objects, as {'upload': '…', 'type': 'drums'}")
    path, kind = uploads.path(one.get("upload")), check_name(one.get("type"))
    name = unique_name(kind, [*taken, *stems])
    audio, found = decode(path, desks.MOST)
    stems[name] = (kind, to_stereo(path, audio, found, rate))
  return stems


def begin(
  folder: Path, stems: Mapping[str, tuple], rate: int, model: Mapping[str, Any], desk: Mapping
) -> None:
  """Makes a song of given stems alone, as long as the longest."""
  samples = max(len(audio) for _, audio in stems.values())
  sounds = {name: _padded(audio, samples) for name, (_, audio) in stems.items()}
  about = _about(stems)
  request = {
    "prompt": desks.words_of(desk), "stems": [], "context": list(stems), "bpm": desk["bpm"],
    "seed": desk["seed"], "variation": 0, "duration": samples / rate, "activity": {},
    "metre": desk["metre"] or said(desks.words_of(desk)) or COMMON,
  }  # fmt: skip
  sampler = {"steps": model["steps"], "guidance": model["guidance"], "guided_steps": None}
  sampler |= {"passes": 1, "share_noise": True, "align_noise": False}
  info = {
    "request": request, "sampler": sampler, "model": model["fingerprint"], "sample_rate": rate,
    "hop": model["hop"], "stems": about, "latents": "latents.safetensors", "timings": {},
  }  # fmt: skip
  info = session.begun(info, "found", {"added": list(stems)}, sounds)
  Song(sounds, rate, model["hop"], {}, {}, info).save(folder)


def add(song: Song, stems: Mapping[str, tuple]) -> Song:
  """The song with given stems; DataError where one lasts longer than the song."""
  made = {}
  for name, (_, audio) in stems.items():
    if len(audio) - song.samples >= song.hop:
      lasts, most = len(audio) / song.rate, song.samples / song.rate
      raise DataError(f"{name}: lasts {lasts:.2f} s and the song {most:.2f} s; cut it")
    made[name] = Take(_padded(audio[: song.samples], song.samples))
  return song.edited("found", {"added": list(stems)}, made, _about(stems))


def _about(stems: Mapping[str, tuple]) -> dict[str, dict[str, Any]]:
  """What song.json says of given stems; one of no type that is known is heard, but not named."""
  types = {name: kind if kind in STEM_TYPES else None for name, (kind, _) in stems.items()}
  return {name: {"type": kind, "given": True} for name, kind in types.items()}


def _padded(audio: np.ndarray, samples: int) -> np.ndarray:
  return np.ascontiguousarray(np.pad(audio, ((0, max(0, samples - len(audio))), (0, 0))))

"""Native Instruments' .stem.mp4: a mix and its four parts in one file, for DJ programs.

Five AAC streams, encoded by ffmpeg, and in moov/udta a box `stem` with names and colours as JSON.
What is heard of a song is in it, as loud as it is, or all of it lower where the mix would clip.
"""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from absl import logging

from stemphonic_jax.audio import wav
from stemphonic_jax.audio.daw.project import Project, headroom, heard, placed
from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.audio.stems_mp4 import TIMEOUT, find_ffmpeg
from stemphonic_jax.errors import OutputError

PARTS = 4
BITRATE = "256k"
ROLES = {"drums": 0, "percussion": 0, "basses": 1, "vocals": 3, "synth-vocals": 3}  # others: 2
NAMES = ("Drums", "Bass", "Other", "Vocals")
GREY = "#6b7686"
# Where a player is to do nothing to the sum.
OFF = {
  "compressor": {
    "enabled": False, "input_gain": 0.0, "output_gain": 0.0, "dry_wet": 100, "attack": 0.003,
    "release": 0.3, "ratio": 1.0, "threshold": 0.0, "hp_cutoff": 20,
  },
  "limiter": {"enabled": False, "release": 0.05, "threshold": 0.0, "ceiling": 0.0},
}  # fmt: skip


def write(path: Path, project: Project) -> None:
  """Writes the file; MissingError where there is no ffmpeg, OutputError where it cannot."""
  program = find_ffmpeg()
  parts = _parts(project)
  names, sounds = ["Mix", *(name for name, _, _ in parts)], [audio for _, _, audio in parts]
  mix = np.sum(sounds, axis=0, dtype=np.float32)
  gain = np.float32(headroom([mix, *sounds], 24))
  with whole_file(path) as partial, tempfile.TemporaryDirectory() as folder:
    command = [program, "-nostdin", "-v", "error", "-y", "-protocol_whitelist", "file"]
    maps: list[str] = []
    for number, audio in enumerate([mix, *sounds]):
      source = Path(folder, f"{number}.wav")
      with source.open("wb") as file:
        wav.write(file, audio * gain, project.rate)
      command += ["-f", "wav", "-i", f"file:{source}"]
      shown = "default" if number == 0 else "0"
      maps += ["-map", f"{number}:a:0", f"-disposition:a:{number}", shown]
      maps += [f"-metadata:s:a:{number}", f"handler_name={_line(names[number])}"]
    options = ["-c:a", "aac", "-b:a", BITRATE, "-map_metadata", "-1", "-fflags", "+bitexact"]
    options += [
      "-flags:a",
      "+bitexact",
      "-brand",
      "M4A ",
      "-metadata",
      f"title={_line(project.title)}",
    ]
    if project.bpm:
      options += ["-metadata", f"tmpo={round(project.tempo)}"]
    _run([*command, *maps, *options, "-f", "mp4", f"file:{partial.absolute()}"], path)
    stems = [{"name": name, "color": colour.upper()} for name, colour, _ in parts]
    about = {"mastering_dsp": OFF, "version": 1, "stems": stems}
    _add_box(partial, json.dumps(about).encode())


def _line(text: str) -> str:
  return " ".join(text.replace("\0", " ").split())[:200]


def _parts(project: Project) -> list[tuple[str, str, np.ndarray]]:
  """Name, colour and samples of the four parts.

  Up to four stems are a part each; of more, those of one role are one, as DJ programs know them.
  """
  tracks, nothing = heard(project.tracks), np.zeros((project.samples, 2), np.float32)
  if len(tracks) <= PARTS:
    parts = [(track.name, track.colour, placed(track)) for track in tracks]
    return parts + [("-", GREY, nothing)] * (PARTS - len(parts))
  parts = []
  for role, name in enumerate(NAMES):
    ours = [track for track in tracks if ROLES.get(track.kind, 2) == role]
    logging.info("part %s: %s", name, ", ".join(track.name for track in ours) or "nothing")
    colour = ours[0].colour if ours else GREY
    parts.append((name, colour, sum(map(placed, ours), nothing)))
  return parts


def _run(command: list[str], path: Path) -> None:
  try:
    run = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
  except subprocess.TimeoutExpired:
    raise OutputError(f"{path}: ffmpeg did not end within {TIMEOUT:g} s") from None
  if run.returncode:
    reason = run.stderr.decode(errors="replace").strip().partition("\n")[0][:200]
    raise OutputError(f"{path}: cannot be encoded (ffmpeg: {reason or run.returncode})")


def _add_box(path: Path, content: bytes) -> None:
  """Puts a box `stem` into moov/udta, which ffmpeg writes after the samples: nothing moves."""
  data = path.read_bytes()
  moov, end = _find(data, b"moov", 0, len(data))
  if end != len(data):
    raise OutputError(f"{path}: ffmpeg wrote an MP4 of another form than expected")
  box = struct.pack(">I4s", 8 + len(content), b"stem") + content
  udta, last = _find(data, b"udta", moov + 8, end)
  if udta < 0:
    box = struct.pack(">I4s", 8 + len(box), b"udta") + box
    last = end
  grown = bytearray(data[:last] + box + data[last:])
  for place in (moov, udta) if udta >= 0 else (moov,):
    (size,) = struct.unpack_from(">I", grown, place)
    struct.pack_into(">I", grown, place, size + len(box))
  path.write_bytes(grown)


def _find(data: bytes, kind: bytes, start: int, end: int) -> tuple[int, int]:
  """Where a box of a kind begins and ends between two places; -1 where there is none."""
  while start + 8 <= end:
    size, found = struct.unpack_from(">I4s", data, start)
    if size == 1:
      (size,) = struct.unpack_from(">Q", data, start + 8)
    if found == kind:
      return start, start + size
    start += max(8, size)
  return -1, -1

"""A project of REAPER: its text form (.rpp), and the audio beside it."""

from __future__ import annotations

from collections.abc import Iterator

from stemphonic_jax.audio.daw.project import (
  Project,
  Track,
  file_name,
  wav_bytes,
  whole_bars,
)
from stemphonic_jax.audio.metre import figures

NO_TEMPO = 120.0  # what REAPER itself starts with
OWN_COLOUR = 0x1000000  # the bit that says that a track has one


def entries(project: Project, bits: int = 32) -> Iterator[tuple[str, bytes]]:
  """The files of a project by name; stems as they are, since the mixer is part of it."""
  yield f"{file_name(project.title)}.rpp", _text(project).encode()
  for track in project.tracks:
    yield _path(track), wav_bytes(track.audio, project, track.name, bits)


def _path(track: Track) -> str:
  return f"audio/{track.name}.wav"


def _text(project: Project) -> str:
  seconds = len(whole_bars(project.tracks[0].audio, project.rate, project.bar)) / project.rate
  lines = ['<REAPER_PROJECT 0.1 "7.0" 0', f"  SAMPLERATE {project.rate} 0 0"]
  above, below = figures(project.metre)
  lines.append(f"  TEMPO {project.tempo or NO_TEMPO:.10g} {above} {below}")
  for number, marker in enumerate(project.markers, 1):
    lines.append(f"  MARKER {number} {marker.time:.10g} {_quoted(marker.name)} 0")
  for track in project.tracks:
    lines += [
      "  <TRACK",
      f"    NAME {_quoted(track.name)}",
      f"    PEAKCOL {_colour(track.colour)}",
      f"    VOLPAN {10 ** (track.gain / 20):.10g} {track.pan:.10g} -1 -1 1",
      f"    MUTESOLO {int(track.mute)} {int(track.solo)} 0",
      "    NCHAN 2",
      "    <ITEM",
      "      POSITION 0",
      f"      LENGTH {seconds:.10g}",
      "      LOOP 0",
      f"      NAME {_quoted(track.name)}",
      "      <SOURCE WAVE",
      f"        FILE {_quoted(_path(track))}",
      "      >",
      "    >",
      "  >",
    ]
  return "\n".join([*lines, ">", ""])


def _quoted(text: str) -> str:
  """A text on one line; REAPER has three kinds of quotes, of which one is not in it."""
  text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
  mark = next((mark for mark in "\"'`" if mark not in text), None)
  return f"{mark}{text}{mark}" if mark else "`" + text.replace("`", "'") + "`"


def _colour(colour: str) -> int:
  red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
  return OWN_COLOUR | red | green << 8 | blue << 16

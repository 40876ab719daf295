"""The tempo of a MIDI file."""

from __future__ import annotations

from pathlib import Path

from stemphonic_jax.errors import DataError


def main_tempo(path: Path) -> float | None:
  """The tempo of a MIDI file in beats per minute: the median over its seconds.

  That is what most of a piece has, its fermatas and last bars let alone. None where the file names
  no tempo, since MIDI's default of 120 says nothing of the music; DataError where it is broken.
  """
  import mido

  try:
    file = mido.MidiFile(path, clip=True)
    if file.ticks_per_beat <= 0 or file.type == 2:
      raise ValueError("its ticks are no part of a beat")
    changes, last = [], 0
    for track in file.tracks:
      tick = 0
      for message in track:
        tick += message.time
        if message.type == "set_tempo" and message.tempo > 0:
          changes.append((tick, message.tempo))
      last = max(last, tick)
  except Exception as error:  # mido raises whatever its parser stumbles upon
    raise DataError(f"cannot be read as MIDI ({error or type(error).__name__})") from None
  if not changes:
    return None
  changes.sort(key=lambda change: change[0])
  ends = [tick for tick, _ in changes[1:]] + [last]
  spans = sorted(
    (tempo, (end - tick) * tempo) for (tick, tempo), end in zip(changes, ends, strict=True)
  )
  passed, half = 0, sum(span for _, span in spans) / 2
  for tempo, span in spans:
    passed += span
    if passed >= half:
      return 60e6 / tempo
  return None

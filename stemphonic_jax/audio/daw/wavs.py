"""A zip of WAVs: stems as they are heard on the page, and their mix; or stems as they are."""

from __future__ import annotations

from collections.abc import Iterator

from stemphonic_jax.audio.daw.project import (
  MIX,
  Project,
  headroom,
  heard,
  mix_of,
  placed,
  wav_bytes,
)


def entries(project: Project, bits: int = 32, raw: bool = False) -> Iterator[tuple[str, bytes]]:
  """Files by name, made one at a time. `raw` leaves out gain, pan, mute, solo, and the mix."""
  if raw:
    gain = headroom((track.audio for track in project.tracks), bits)
    for track in project.tracks:
      yield f"{track.name}.wav", wav_bytes(track.audio, project, track.name, bits, gain)
    return
  tracks, mix = heard(project.tracks), mix_of(project)
  gain = headroom((*map(placed, tracks), mix), bits)
  for track in tracks:
    yield f"{track.name}.wav", wav_bytes(placed(track), project, track.name, bits, gain)
  yield f"{MIX}.wav", wav_bytes(mix, project, MIX, bits, gain)

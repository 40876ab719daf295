"""DAWproject 1.0, the open form that Bitwig Studio, Studio One, Cubase and others exchange.

A zip of project.xml, metadata.xml and audio. Times are in beats where there is a tempo, and each
clip is tied to them at both ends, so that it follows where the tempo is changed; else in seconds.
Source: github.com/bitwig/dawproject, Project.xsd and Reference.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as xml

from stemphonic_jax import __version__
from stemphonic_jax.audio.daw.project import Project, Track, wav_bytes, whole_bars

APPLICATION = "stemphonic"
LOUDEST = 2.0  # of a fader: 6 dB


def entries(project: Project, bits: int = 32) -> Iterator[tuple[str, bytes]]:
  """The files of a project by name; stems as they are, since the mixer is part of it."""
  yield "project.xml", _bytes(_project(project))
  yield "metadata.xml", _bytes(_metadata(project))
  for track in project.tracks:
    yield _path(track), wav_bytes(track.audio, project, track.name, bits)


def _path(track: Track) -> str:
  return f"audio/{track.name}.wav"


def _bytes(root: xml.Element) -> bytes:
  xml.indent(root)
  return xml.tostring(root, encoding="UTF-8", xml_declaration=True)


def _metadata(project: Project) -> xml.Element:
  root = xml.Element("MetaData")
  xml.SubElement(root, "Title").text = _plain(project.title)
  xml.SubElement(root, "Comment").text = f"Made with {APPLICATION} {__version__}"
  return root


def _project(project: Project) -> xml.Element:
  root = xml.Element("Project", version="1.0")
  xml.SubElement(root, "Application", name=APPLICATION, version=__version__)
  if project.bpm:
    transport = xml.SubElement(root, "Transport")
    tempo = _number("Tempo", "bpm", project.tempo, 20, 999) | {"name": "Tempo", "id": "tempo"}
    xml.SubElement(transport, "Tempo", tempo)
    signature = dict(zip(("numerator", "denominator"), project.metre.split("/"), strict=True))
    xml.SubElement(transport, "TimeSignature", signature, id="meter")
  structure = xml.SubElement(root, "Structure")
  for number, track in enumerate(project.tracks):
    _track(structure, track, f"track{number}", "regular", "master-channel")
  master = Track("Master", "", project.tracks[0].audio, "#6b7686")
  _track(structure, master, "master", "master", None)
  _arrangement(root, project)
  xml.SubElement(root, "Scenes")
  return root


def _track(parent: xml.Element, track: Track, name: str, role: str, to: str | None) -> None:
  shown = {"id": name, "name": _plain(track.name), "color": track.colour}
  found = xml.SubElement(parent, "Track", shown, contentType="audio", loaded="true")
  solo = str(track.solo).lower()
  channel = {"id": f"{name}-channel", "audioChannels": "2", "role": role, "solo": solo}
  channel |= {"destination": to} if to else {}
  found = xml.SubElement(found, "Channel", channel)
  mute = {"value": str(track.mute).lower(), "id": f"{name}-mute", "name": "Mute"}
  xml.SubElement(found, "Mute", mute)
  pan = _number("Pan", "normalized", (track.pan + 1) / 2, 0, 1)
  xml.SubElement(found, "Pan", pan, id=f"{name}-pan", name="Pan")
  volume = _number("Volume", "linear", min(LOUDEST, 10 ** (track.gain / 20)), 0, LOUDEST)
  xml.SubElement(found, "Volume", volume, id=f"{name}-volume", name="Volume")


def _arrangement(root: xml.Element, project: Project) -> None:
  unit = "beats" if project.bpm else "seconds"
  scale = project.tempo / 60 if project.tempo else 1.0  # from seconds
  seconds = len(whole_bars(project.tracks[0].audio, project.rate, project.bar)) / project.rate
  arrangement = xml.SubElement(root, "Arrangement", id="arrangement")
  lanes = xml.SubElement(arrangement, "Lanes", timeUnit=unit, id="lanes")
  for number, track in enumerate(project.tracks):
    clips = xml.SubElement(lanes, "Clips", track=f"track{number}", id=f"clips{number}")
    shown = {"name": _plain(track.name), "color": track.colour}
    place = {"time": "0", "duration": _time(seconds * scale), "playStart": "0"}
    clip = xml.SubElement(clips, "Clip", place | shown, contentTimeUnit=unit)
    holder = clip
    if project.bpm:
      holder = xml.SubElement(clip, "Warps", contentTimeUnit="seconds", timeUnit="beats")
    sound = {"channels": "2", "sampleRate": str(project.rate), "duration": _time(seconds)}
    audio = xml.SubElement(holder, "Audio", sound, timeUnit="seconds", id=f"audio{number}")
    xml.SubElement(audio, "File", path=_path(track))
    if project.bpm:
      xml.SubElement(holder, "Warp", time="0", contentTime="0")
      xml.SubElement(holder, "Warp", time=_time(seconds * scale), contentTime=_time(seconds))
  if project.markers:
    markers = xml.SubElement(arrangement, "Markers", timeUnit=unit, id="markers")
    for marker in project.markers:
      xml.SubElement(markers, "Marker", time=_time(marker.time * scale), name=_plain(marker.name))


def _number(name: str, unit: str, value: float, low: float, high: float) -> dict[str, str]:
  return {"unit": unit, "value": f"{value:.6f}", "min": f"{low:.6f}", "max": f"{high:.6f}"}


def _time(value: float) -> str:
  """Seconds or beats: to a millionth of a sample, without the rounding of a division."""
  return f"{value:.11g}"


def _plain(text: str) -> str:
  """Text without the characters that XML has no way to write."""
  return "".join(letter if letter.isprintable() else " " for letter in text)

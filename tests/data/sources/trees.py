"""Small trees of files in the exact layouts of the public sets, with their known defects.

Every stem is a quiet sine of its own frequency, so that sums and mix-ups are heard and seen. Each
function fills `root`, which need not exist, and returns it.
"""

import json
import uuid
from pathlib import Path
from typing import Any

import mido
import numpy as np
import soundfile
import yaml

RATE = 44_100


def tone(
  path: Path, number: int, seconds: float, channels: int = 2, rate: int = RATE, trim: int = 0
) -> np.ndarray:
  """Writes sine `number` to a 16-bit file, `trim` samples short; returns [samples, channels]."""
  path.parent.mkdir(parents=True, exist_ok=True)
  t = np.arange(round(seconds * rate) - trim) / rate
  # Each channel begins elsewhere, so that swapped or dropped ones are seen.
  phases = np.arange(channels) * 0.5
  audio = 0.1 * np.sin(2 * np.pi * (110.0 + 37.0 * number) * t[:, None] + phases)
  soundfile.write(path, audio, rate, subtype="VORBIS" if path.suffix == ".ogg" else "PCM_16")
  return audio


def write_musdb(root: Path, mixes: int = 3, seconds: float = 0.5, packed: bool = False) -> Path:
  """MUSDB18-HQ; or MUSDB18, in files that only look like it, where `packed`.

  The first song is of train, the second is validated on, the last is of test; all others train.
  """
  titles = ["A Band - Sång 00", "ANiMAL - Rockshow"]
  titles += [f"A Band - Song {number:02d}" for number in range(2, mixes)]
  for number, title in enumerate(titles[:mixes]):
    part = root / ("test" if 1 < number == mixes - 1 else "train")
    if packed:
      part.mkdir(parents=True, exist_ok=True)
      (part / f"{title}.stem.mp4").write_bytes(b"\0\0\0 ftypisom")
      continue
    folder = part / title
    stems = [
      tone(folder / f"{stem}.wav", 4 * number + position, seconds)
      for position, stem in enumerate(("drums", "bass", "other", "vocals"))
    ]
    soundfile.write(folder / "mixture.wav", sum(stems), RATE, subtype="PCM_16")
    (folder / "._drums.wav").write_bytes(b"\0\5\x16\7")  # what macOS leaves behind
  (root / "README.md").write_text("MUSDB18")
  return root


def write_moisesdb(root: Path, mixes: int = 2, seconds: float = 0.5) -> Path:
  """MoisesDB: stems that end some milliseconds early, one in mono, one listed twice, a click."""
  for number in range(mixes):
    song = Song(root / "moisesdb_v0.1" / str(uuid.UUID(int=number + 1)), seconds)
    song.stem("drums", ("kick_drum", True, {}), ("snare_drum", False, {}))
    song.stem("bass", ("bass_guitar", False, {"trim": 441}))
    song.stem(
      "guitar",
      ("distorted_electric_guitar", False, {}),
      ("distorted_electric_guitar", False, {}),
      ("acoustic_guitar", False, {"trim": 100}),
    )
    song.stem("other_plucked", ("banjo,_mandolin,_ukulele,_harp_etc", False, {}))
    song.stem("piano", ("grand_piano", False, {"channels": 1}))
    song.stem("other_keys", ("organ,_electric_organ", False, {}), ("synth_pad", False, {}))
    song.stem("vocals", ("lead_female_singer", False, {}))
    song.stem("other", ("click_track", False, {}))
    song.stem("drums", ("overheads", False, {}))
    song.write("rock" if number % 2 == 0 else "singer_songwriter")
  return root


class Song:
  """One song of MoisesDB: a folder of stems, and the data.json that describes them."""

  def __init__(self, folder: Path, seconds: float):
    self.folder, self.seconds = folder, seconds
    self.stems: list[dict[str, Any]] = []
    self.count = 0

  def stem(self, name: str, *tracks: tuple[str, bool, dict[str, int]]) -> None:
    """A stem of `tracks`: what each is, whether others bleed into it, and options of `tone`."""
    listed = []
    for track_type, bleed, options in tracks:
      self.count += 1
      track = str(uuid.UUID(int=1000 + self.count))
      tone(self.folder / name / f"{track}.wav", self.count, self.seconds, **options)
      listed.append({"id": track, "trackType": track_type, "extension": "wav", "has_bleed": bleed})
    self.stems.append({"id": str(uuid.UUID(int=len(self.stems))), "stemName": name})
    self.stems[-1]["tracks"] = listed

  def write(self, genre: str) -> None:
    content = {"song": "Song", "artist": "A Band", "genre": genre, "stems": self.stems}
    (self.folder / "data.json").write_text(json.dumps(content))


def write_slakh(root: Path, mixes: int = 3, seconds: float = 0.5) -> Path:
  """Slakh2100: mono, a stem that was never rendered and one that is missing; one track omitted.

  The first track is of train, the second of validation, the last of test; all others train. They
  are at 120 beats per minute but for a slow ending.
  """
  for number in range(mixes):
    split = "validation" if number == 1 else "test" if 1 < number == mixes - 1 else "train"
    write_slakh_track(root / split / f"Track{number + 1:05d}", seconds)
  write_slakh_track(root / "omitted" / f"Track{mixes + 1:05d}", seconds)
  return root


SLAKH_STEMS = (  # class, program and its number, drums, rendered, there
  ("Guitar", "Distortion Guitar", 30, False, True, True),
  ("Bass", "Fretless Bass", 35, False, True, True),
  ("Drums", "Drums", 128, True, True, True),
  ("Sound effects", "Applause", 126, False, False, False),
  ("Guitar", "Acoustic Guitar (steel)", 25, False, True, True),
  ("Strings (continued)", "String Ensemble 1", 48, False, True, True),
  ("Piano", "Electric Piano 1", 4, False, True, False),
  ("Synth Pad", "Pad 2 (warm)", 89, False, True, True),
)


def write_slakh_track(folder: Path, seconds: float, suffix: str = ".flac") -> None:
  stems = {}
  total = 0.0
  (folder / "MIDI").mkdir(parents=True)
  for number, (group, program, code, drums, rendered, there) in enumerate(SLAKH_STEMS):
    name = f"S{number:02d}"
    if there:
      total = total + tone(folder / "stems" / f"{name}{suffix}", number, seconds, channels=1)
    stems[name] = {
      "audio_rendered": rendered,
      "inst_class": group,
      "integrated_loudness": -13.1 if rendered else None,
      "is_drum": drums,
      "midi_program_name": program,
      "midi_saved": rendered,
      "plugin_name": "plugin.nkm",
      "program_num": code,
    }
  soundfile.write(folder / f"mix{suffix}", total, RATE, subtype="PCM_16")
  content = {
    "UUID": "0" * 32,
    "audio_dir": "stems",
    "lmd_midi_dir": "lmd_matched/A/B/C/TRABC/0.mid",
    "midi_dir": "MIDI",
    "normalization_factor": -13.0,
    "normalized": True,
    "overall_gain": 0.18,
    "stems": stems,
    "target_peak": -1.0,
  }
  (folder / "metadata.yaml").write_text(yaml.safe_dump(content))
  write_midi(folder / "all_src.mid", [(120.0, 30), (60.0, 2)])


def write_midi(path: Path, tempi: list[tuple[float, int]]) -> None:
  """A MIDI file of one long note; `tempi` are beats per minute, and for how many beats."""
  file = mido.MidiFile(ticks_per_beat=480)
  conductor, notes = mido.MidiTrack(), mido.MidiTrack()
  file.tracks.extend([conductor, notes])
  wait = 0
  for bpm, beats in tempi:
    conductor.append(mido.MetaMessage("set_tempo", tempo=round(60e6 / bpm), time=480 * wait))
    wait = beats
  notes.append(mido.Message("note_on", note=60, velocity=80, time=0))
  total = sum(beats for _, beats in tempi) or 8
  notes.append(mido.Message("note_off", note=60, velocity=0, time=480 * total))
  file.save(path)


def write_folder(root: Path, mixes: int = 2, seconds: float = 0.5) -> Path:
  """Anybody's stems in several formats; every second mix is described by a mix.json."""
  for number in range(mixes):
    folder = root / f"mix {number:02d}"
    tone(folder / "drums.wav", 1, seconds)
    tone(folder / "Gitar 2.flac", 2, seconds)
    tone(folder / "guitar_1.wav", 3, seconds, rate=48_000)
    tone(folder / "Lead Vocal.ogg", 4, seconds)
    tone(folder / "theremin.aiff", 5, seconds, channels=1)
    tone(folder / "mixture.wav", 6, seconds)
    (folder / "notes.txt").write_text("tuned to 442 Hz")
    if number % 2 == 1:
      content = {"caption": "Slow surf rock.", "bpm": 92.5, "genre": "surf"}
      content["types"] = {"theremin.aiff": "synths"}
      (folder / "mix.json").write_text(json.dumps(content))
  return root


def write_mixes(root: Path, mixes: int = 3, seconds: float = 0.5) -> Path:
  """Whole songs in folders: the first described by a JSON file, the second by a text, in turn."""
  for number in range(mixes):
    path = root / f"album {number // 2}" / f"song {number:02d}.wav"
    tone(path, number, seconds)
    if number % 3 == 0:
      content = {"caption": "A waltz.", "genre": "waltz", "bpm": 180}
      path.with_suffix(".json").write_text(json.dumps(content))
    elif number % 3 == 1:
      path.with_suffix(".txt").write_text("A slow\nmarch.\n")
  return root

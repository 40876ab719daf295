"""A saved song for other programs: WAVs in a zip, DAWproject, REAPER, a .stem.mp4.

    export(Path("runs/song"), "dawproject")     → runs/song.dawproject

Stems go out as they are, and gain, pan, mute and solo with them (generation/mixer.py): in the
project where the form has a mixer, else in the sound.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType

from stemphonic_jax.audio.daw import dawproject, reaper, stem_file, wavs
from stemphonic_jax.audio.daw.project import MIX, Project, Track, file_name, write_zip
from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.audio.folders import whole_folder
from stemphonic_jax.audio.lengths import LONGEST
from stemphonic_jax.audio.metre import COMMON, METRES, bar_seconds
from stemphonic_jax.data.stems import BPM_RANGE
from stemphonic_jax.data.taxonomy import guess_type
from stemphonic_jax.errors import DataError, OutputError, UsageError
from stemphonic_jax.generation.colours import colour_of
from stemphonic_jax.generation.context import read_context
from stemphonic_jax.generation.mixer import Strip, read_mixer
from stemphonic_jax.generation.sections import sections
from stemphonic_jax.generation.song_folder import INFO, no_song
from stemphonic_jax.generation.song_json import FASTEST
from stemphonic_jax.generation.stem_names import unique_name

ENDINGS = {"zip": ".zip", "dawproject": ".dawproject", "reaper": "-reaper", "stem": ".stem.mp4"}
FORMS = tuple(ENDINGS)
FILES = {"zip": ".zip", "dawproject": ".dawproject", "stem": ".mp4"}  # how their names have to end
TITLE = 120  # letters


def read_project(folder: Path, title: str = "", labels: Mapping[str, str] | None = None) -> Project:
  """A saved song as a project; MissingError or DataError where the folder holds none.

  It is called by its prompt, and tracks as their stems, where no `title` or `labels` are given.
  """
  if not (folder / INFO).is_file():
    raise no_song(folder)
  info, rate, bpm, metre = _info(folder)
  context = read_context(folder, rate, LONGEST)
  strips = read_mixer(folder)
  called = {name: file_name(label) for name, label in (labels or {}).items() if label}
  tracks: list[Track] = []
  for name, audio in context.audio.items():
    kind = info["stems"][name].get("type") or context.types.get(name) or guess_type(name)
    strip = strips.get(name, Strip())
    place = (strip.gain, strip.pan, strip.mute, strip.solo)
    taken = [MIX, *(track.name for track in tracks), *(context.audio.keys() - called - {name})]
    shown = unique_name(called[name], taken) if name in called else name
    tracks.append(Track(shown, kind, audio, colour_of(kind), *place))
  if len(set(lengths := [len(track.audio) for track in tracks])) > 1:
    raise DataError(
      f"{folder}: stems of {min(lengths)} and {max(lengths)} samples, expected one length; make the"
      f" song again"
    )
  markers = sections({track.name: track.audio for track in tracks}, rate, bar_seconds(bpm, metre))
  title = " ".join(str(title or info["request"]["prompt"]).split())[:TITLE] or folder.name
  return Project(title, rate, bpm, tracks, markers, metre)


def _info(folder: Path) -> tuple[dict, int, float | None, str]:
  """What song.json says, the rate, the tempo and the metre."""
  try:
    info = json.loads((folder / INFO).read_text(encoding="utf-8"))
    rate, bpm = info["sample_rate"], info["request"]["bpm"]
    info["request"]["prompt"].encode()  # which half of a letter cannot be
    kinds = [stem.get("type", "") for stem in info["stems"].values()]
    if not isinstance(rate, int) or not all(isinstance(k, (str, NoneType)) for k in kinds):
      raise ValueError("it has not what a song has")
    if not 0 < rate <= FASTEST:
      raise ValueError(f"a sample rate of {str(rate)[:40]}")
    if bpm is not None and not BPM_RANGE[0] <= bpm <= BPM_RANGE[1]:
      raise ValueError(f"a tempo of {bpm}")
    if (metre := info["request"].get("metre", COMMON)) not in METRES:
      raise ValueError(f"a metre of {metre!r}")
    return info, rate, bpm, metre
  except OSError as error:
    raise DataError(f"{folder / INFO}: cannot be read ({error.strerror or error})") from None
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise DataError(f"{folder / INFO}: not a song's ({error})") from None


def default_place(folder: Path, form: str) -> Path:
  """Where an export goes that nobody gave a place to: beside the song's folder."""
  if folder.name in ("", ".."):
    folder = folder.resolve()
  return folder.with_name(folder.name + ENDINGS[form])


def export(
  folder: Path,
  form: str,
  out: Path | None = None,
  *,
  bits: int = 32,
  raw: bool = False,
  title: str = "",
  labels: Mapping[str, str] | None = None,
) -> Path:
  """Writes a saved song in one of FORMS and says where it is; nothing that is there is replaced.

  REAPER's is a folder, or a zip of it where `out` ends in .zip; the others are files. `raw` is for
  the zip: stems as they were made, whatever the mixer says. `title` and `labels` are what people
  call the song and its stems. OutputError where it cannot be written.
  """
  if form not in FORMS:
    raise UsageError(f"export as {form!r}: expected {', '.join(FORMS)}")
  if raw and form != "zip":
    raise UsageError("--raw is of --as zip; a project has the stems as they are, and its own mixer")
  if bits != 32 and form == "stem":
    raise UsageError("--bits is of WAVs; a .stem.mp4 has AAC")
  out = out or default_place(folder, form)
  if not out.name.lower().endswith(ending := FILES.get(form, "")):
    raise UsageError(
      f"--out {out}: other programs know it by its ending; expected a name in {ending}"
    )
  if out.exists() or out.is_symlink():
    raise OutputError(f"{out}: already exists; choose another --out")
  project = read_project(folder, title, labels)
  try:
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
  if form == "stem":
    stem_file.write(out, project)
  elif form == "reaper" and out.suffix != ".zip":
    _write_folder(out, reaper.entries(project, bits))
  else:
    with whole_file(out) as partial, partial.open("wb") as file:
      write_zip(file, entries(project, form, bits=bits, raw=raw))
  return out


def entries(
  project: Project, form: str, *, bits: int = 32, raw: bool = False
) -> Iterable[tuple[str, bytes]]:
  """The files by name of a form that is a zip: zip, dawproject or reaper."""
  if form == "zip":
    return wavs.entries(project, bits, raw)
  return (
    dawproject.entries(project, bits) if form == "dawproject" else reaper.entries(project, bits)
  )


def _write_folder(out: Path, files: Iterable[tuple[str, bytes]]) -> None:
  with whole_folder(out) as folder:
    for name, content in files:
      (folder / name).parent.mkdir(exist_ok=True)
      (folder / name).write_bytes(content)

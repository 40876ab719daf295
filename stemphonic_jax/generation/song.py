"""A song: stems of equal length, the mix of them, and what they were made from, take by take."""

import difflib
import functools
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import Float32, Int8
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from stemphonic_jax.audio import levels
from stemphonic_jax.audio.activity import frame_activity
from stemphonic_jax.audio.figures import stems_figure
from stemphonic_jax.audio.files import check_samples, read_audio, write_wav
from stemphonic_jax.audio.folders import whole_folder
from stemphonic_jax.audio.lengths import samples_of
from stemphonic_jax.audio.metre import COMMON
from stemphonic_jax.errors import DataError, MissingError, OutputError, UsageError
from stemphonic_jax.generation import values
from stemphonic_jax.generation.colours import colour_of
from stemphonic_jax.generation.session import Info, described, digest, lanes_of, stepped
from stemphonic_jax.generation.song_folder import (
  FIGURE,
  INFO,
  LATENTS,
  MIX_FILE,
  TAKES,
  check_output,
  song_files,
  stamps,
  steps_in,
)

QUIET = 6.0  # dB by which a mix is too quiet before it is said
TITLE = 120  # letters of a prompt in the header of a WAV
CHANGED = (
  "was changed since it was read; nothing is saved; read the song again, or save to another folder"
)


@dataclass(frozen=True, eq=False)
class Take:
  """A stem as a step made it, in memory or in a WAV `file` with its latents beside it."""

  audio: Float32[np.ndarray, "samples 2"] | None = None
  latents: Float32[np.ndarray, "T C"] | None = None
  file: Path | None = None

  def read(self, rate: int) -> "Take":
    """The take in memory; errors are those of `read_audio`."""
    if self.file is None:
      return self
    latents = read_latents(self.file.with_suffix(".safetensors"))
    return Take(read_audio(self.file, rate), latents.get("latents"))

  def write(self, path: Path, rate: int, **about: Any) -> None:
    """Writes the WAV file and, where there are latents, those; `about` is for `write_wav`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    take = self.read(rate)
    write_wav(path, take.audio, rate, title=path.stem, **about)
    if take.latents is not None:
      _write_latents(path.with_suffix(".safetensors"), {"latents": take.latents})


@dataclass(frozen=True, eq=False)
class Song:
  """Stems by name, float32 [samples, 2] at `rate` Hz; given ones (context) first and untouched.

  `latents` [T, C] are those of the generated stems, `lanes` the activity asked for, `info` what
  song.json records. `takes` are those that are not heard now, by step and stem (session.py). Of a
  song that was read, `folder` is where it lies, `adopted` are stems that somebody put or changed
  there, each with the step that found it, and `seen` are its files with the time and size of each,
  for this song and those that it is edited to: `save` brings them up to date.
  """

  stems: Mapping[str, Float32[np.ndarray, "samples 2"]]
  rate: int
  hop: int
  latents: Mapping[str, Float32[np.ndarray, "T C"]]
  lanes: Mapping[str, Int8[np.ndarray, "T"]]
  info: Mapping[str, Any]
  takes: Mapping[tuple[int, str], Take] = field(default_factory=dict)
  folder: Path | None = None
  adopted: Mapping[str, int] = field(default_factory=dict)
  seen: dict[str, tuple[int, int]] = field(default_factory=dict)

  @property
  def samples(self) -> int:
    """The length of every stem."""
    return samples_of(self.info["request"]["duration"], self.rate)

  def mix(self, gains: Mapping[str, float] | None = None) -> Float32[np.ndarray, "samples 2"]:
    """Sum of the stems times their linear gains (1 where none is given), at −16 dBFS (Sec. 4.3).

    Where a player would clip it, it is quieter than that.
    """
    given = dict(gains or {})
    given = {name: values.number(f"gain for {name!r}", gain) for name, gain in given.items()}
    if wrong := [name for name, gain in given.items() if not math.isfinite(gain)]:
      raise UsageError(f"gain for {wrong[0]!r}: got {given[wrong[0]]}, expected a finite number")
    return levels.normalize(levels.mix(self.stems, given), most=1.0)

  def take(self, name: str, step: int) -> Take:
    """A stem as a step made it; UsageError where none did, MissingError where its file is gone."""
    if self._heard.get(name) == step:
      return Take(self.stems[name], self.latents.get(name))
    if (step, name) in self.takes:
      return self.takes[step, name].read(self.rate)
    made = [n for n, done in enumerate(self.info["steps"]) if name in done["made"]]
    if step in made:
      raise MissingError(f"the take of {name!r} of step {step} is not there any more")
    known = f"step {', '.join(map(str, made))} did" if made else "none did"
    raise UsageError(f"step {step} made no take of {name!r}; {known}")

  def at(self, step: int) -> "Song":
    """The song as it was after a step, to undo what came later or to do it again."""
    steps, step = self.info["steps"], values.whole("step", step)
    if not 0 <= step < len(steps):
      raise UsageError(f"step: got {step}, expected 0 to {len(steps) - 1}, the last of this song")
    return self._hearing({**self.info, "now": step}, steps[step]["stems"])

  def use(self, stem: str, step: int) -> "Song":
    """The song with another take of one stem, that of `step`; UsageError where lengths differ."""
    name, step = values.text("stem", stem), values.whole("step", step)
    take = self.take(name, step)
    if len(take.audio) != self.samples:
      raise UsageError(
        f"the take of {name!r} of step {step} lasts {len(take.audio) / self.rate:.2f} s and the"
        f" song {self.samples / self.rate:.2f} s; go back to that step instead"
      )
    stems = {**self._heard, name: step}
    return self._hearing(self._stepped("use", {"stem": name, "step": step}, stems), stems)

  def remove(self, stems: Sequence[str]) -> "Song":
    """The song without some of its stems, of which one has to stay."""
    names = check_names(self, stems)
    left = {name: step for name, step in self._heard.items() if name not in names}
    if not left:
      raise UsageError(f"remove {', '.join(names)}: no stem would be left")
    return self._hearing(self._stepped("remove", {"stems": names}, left), left)

  def edited(
    self,
    do: str,
    ask: Mapping[str, Any],
    made: Mapping[str, Take],
    about: Mapping[str, Mapping[str, Any]],
    timings: Mapping[str, float] | None = None,
  ) -> "Song":
    """The song after a step that `made` takes of these stems, with what there is to say of each.

    Where it is longer or shorter than before, it consists of these stems alone.
    """
    number = len(self.info["steps"])
    samples = len(next(iter(made.values())).audio) if made else self.samples
    heard = self._heard if samples == self.samples else {}
    stems = {**heard, **dict.fromkeys(made, number)}
    order = [name for name in self.info["stems"] if name in stems]
    stems = {name: stems[name] for name in dict.fromkeys([*order, *stems])}
    takes = {**self._takes, **{(number, name): take for name, take in made.items()}}
    sounds = {name: take.audio for name, take in made.items()}
    info = {**self.info, "timings": dict(timings or {})}
    info = stepped(info, do, ask, stems, sounds, about, samples / self.rate)
    return replace(self, takes=takes, stems={})._hearing(info, stems)

  @property
  def _heard(self) -> Mapping[str, int]:
    """The stems, each with the step that made the take that is heard."""
    steps, now = self.info["steps"], self.info["now"]
    return {name: steps[now]["stems"][name] for name in self.stems}

  @property
  def _takes(self) -> dict[tuple[int, str], Take]:
    """All takes that are there, heard or not."""
    heard = {(step, name): self.take(name, step) for name, step in self._heard.items()}
    return {**self.takes, **heard}

  def _stepped(self, do: str, ask: Mapping[str, Any], stems: Mapping[str, int]) -> Info:
    return stepped(self.info, do, ask, stems, {}, {}, self.samples / self.rate)

  def _hearing(self, info: Info, stems: Mapping[str, int]) -> "Song":
    """The song with these takes heard, and `info` brought up to them."""
    takes = self._takes
    missing = [(step, name) for name, step in stems.items() if (step, name) not in takes]
    if missing:
      raise MissingError("the take of {1!r} of step {0} is not there any more".format(*missing[0]))
    heard = {
      name: self._read(takes.pop((step, name)), info, info["steps"][step]["made"][name])
      for name, step in stems.items()
    }
    sounds = {name: take.audio for name, take in heard.items()}
    info = described(info, stems)
    return replace(
      self,
      stems=sounds,
      latents={name: take.latents for name, take in heard.items() if take.latents is not None},
      lanes=lanes_of(info, self.hop),
      info=info,
      takes=takes,
    )

  def _read(self, take: Take, info: Info, made: Mapping[str, Any]) -> Take:
    """A take in memory; one whose file was changed since it was `made` is said in the log.

    DataError where that does not last as long as the song of the step that is heard.
    """
    read = take.read(self.rate)
    if take.file is None:
      return read
    lasts, seconds = len(read.audio) / self.rate, info["steps"][info["now"]]["seconds"]
    if len(read.audio) != samples_of(seconds, self.rate):
      raise DataError(
        f"{take.file}: lasts {lasts:.2f} s, and the song of that step {seconds:.2f} s; bring back"
        f" the file that was made"
      )
    if made.get("sha256", "") not in ("", digest(read.audio)):
      logging.info("%s: was changed since it was made; what is there counts", take.file)
    return read

  def save(self, directory: str | Path, overwrite: bool = False) -> None:
    """Writes the song's folder, whole or not at all.

    One 32-bit float WAV per stem, `mix.wav`, `latents.safetensors`, `stems.png` with the activity
    asked for (or else found), `song.json`; other takes in `takes`. With `overwrite`, of a folder
    that is there only the files of its song are replaced, as its song.json names them; whatever
    else is kept there stays. If the process is killed, the folder holds the old song or the new
    one, as song.json and `read_context` see it (audio/folders.py). DataError where a stem is no
    sound; OutputError where it cannot be written, or exists and `overwrite` is not set, or a file
    that is not the old song's has the name of a new stem, or where the song was read from that
    folder and somebody else has changed it since. A stem or take that came to it since then stays.
    """
    directory = Path(directory).absolute()
    check_output(directory, overwrite, {*self.stems} - {*self.adopted})
    if directory != self.folder and (steps := steps_in(directory)) > 1:
      logging.info("%s: replaces a song of %d steps, takes and all", directory, steps)
    for name, audio in self.stems.items():
      check_samples(f"stem {name!r}", audio, self.rate)
    takes = {f"{TAKES}/{step}/{name}.wav": take for (step, name), take in self.takes.items()}
    stay = {name for name, take in takes.items() if take.file == directory / name}
    stay |= {f"{name}.wav" for name in self._in_place(directory)}
    self._refuse_changed(directory, stay)
    with whole_folder(directory, functools.partial(self._replaced, stay)) as folder:
      title, bpm = self.info["request"]["prompt"], self.info["request"]["bpm"]
      metre = self.info["request"].get("metre", COMMON)
      about = dict(album=title[:TITLE], bpm=bpm, metre=metre)
      for name, audio in self.stems.items():
        if f"{name}.wav" not in stay:
          write_wav(folder / f"{name}.wav", audio, self.rate, title=name, **about)
      for name in takes.keys() - stay:
        takes[name].write(folder / name, self.rate, **about)
      mix = self.mix()
      self._say_quiet(mix)
      write_wav(folder / MIX_FILE, mix, self.rate, title="mix", **about)
      _write_latents(folder / LATENTS, self.latents)
      lanes = {
        name: self.lanes.get(name, frame_activity(audio, self.hop, self.rate))
        for name, audio in self.stems.items()
      }
      colours = {name: colour_of(stem["type"]) for name, stem in self.info["stems"].items()}
      stems_figure(folder / FIGURE, self.stems, lanes, self.rate, title, colours, self.hop)
      (folder / INFO).write_text(json.dumps(self.info, indent=2) + "\n")
    if directory == self.folder:
      self.seen.clear()
      self.seen.update(stamps(directory, song_files(directory)))

  def _say_quiet(self, mix: Float32[np.ndarray, "samples 2"]) -> None:
    """Says in the log which peak keeps a mix far below the level that it should have."""
    if not -math.inf < (level := levels.dbfs(mix)) < levels.MIX_DBFS - QUIET:
      return
    peaks = {name: np.abs(audio).max(axis=1) for name, audio in self.stems.items()}
    name = max(peaks, key=lambda name: peaks[name].max())
    place = int(peaks[name].argmax())
    said = "mix: at %.1f dBFS instead of %g, because %s reaches %+.1f dBFS at %.1f s"
    peak = 20 * math.log10(peaks[name][place])
    logging.info(said, level, levels.MIX_DBFS, name, peak, place / self.rate)

  def _in_place(self, directory: Path) -> list[str]:
    """Stems of which the folder that the song was read from holds the take that is heard."""
    if directory != self.folder:
      return []
    info = json.loads((directory / INFO).read_text())
    there = info["steps"][info["now"]]["stems"] if "steps" in info else {}
    heard = self._heard
    same = [name for name in heard if there.get(name) == heard[name]]
    mine = [name for name, step in self.adopted.items() if heard.get(name) == step]
    return [name for name in (*same, *mine) if (directory / f"{name}.wav").is_file()]

  def _refuse_changed(self, directory: Path, stay: Collection[str]) -> None:
    """OutputError where the song was read from a folder in which something else is heard by now.

    What is to `stay` has to lie where it did: who goes back to a step moves takes.
    """
    if directory != self.folder:
      return
    steps = json.loads((directory / INFO).read_text()).get("steps", [])
    same = steps == json.loads(json.dumps(self.info["steps"][: len(steps)]))
    here = {name for name in stay if (directory / name).is_file()}
    heard = {f"{name}.wav" for name in self._in_place(directory)}
    if not same or here != stay or heard != {name for name in stay if "/" not in name}:
      raise OutputError(f"{directory}: {CHANGED}")

  def _replaced(self, stay: Collection[str], directory: Path) -> set[str]:
    """The files of the song in a folder that are to go, or to be replaced: not those that `stay`.

    It is asked for while nobody else may write there.
    """
    self._refuse_changed(directory, stay)
    own = song_files(directory)
    if directory == self.folder:
      own |= {f"{name}.wav" for name in self.adopted}
      # What came since the song was read, or is another file by now, is somebody else's work.
      there = stamps(directory, own - set(stay))
      theirs = {name for name, stamp in there.items() if self.seen.get(name) != stamp}
      new = {f"{name}.wav" for name in self.stems}
      new |= {f"{TAKES}/{step}/{name}.wav" for step, name in self.takes}
      if lost := sorted(new & theirs):
        raise OutputError(f"{directory / lost[0]}: {CHANGED}")
      own -= theirs
    latents = {str(Path(name).with_suffix(".safetensors")) for name in stay}
    return own - set(stay) - latents


def listed(stems: Sequence[str]) -> list[str]:
  """Names of stems as a list, each once; UsageError for what is no list of names."""
  if isinstance(stems, str):
    raise UsageError(f"stems: got the text {stems!r}, expected a list, as [{stems!r}]")
  try:
    return list(dict.fromkeys(values.text("stem", name) for name in stems))
  except TypeError:
    raise UsageError(f"stems: got {str(stems)[:60]!r}, expected a list of names") from None


def check_names(song: Song, stems: Sequence[str]) -> list[str]:
  """Names of stems of a song, each once; UsageError for what is not one."""
  names = listed(stems)
  for name in names:
    if name not in song.stems:
      near = difflib.get_close_matches(name, song.stems, n=1)
      hint = f" did you mean {near[0]!r}?" if near else ""
      raise UsageError(f"no stem {name!r} in this song;{hint} it has {', '.join(song.stems)}")
  if not names:
    raise UsageError(f"no stems named; this song has {', '.join(song.stems)}")
  return names


def read_latents(path: Path) -> dict[str, np.ndarray]:
  """Latents by stem; none where there are none, or none that can be read, which the log says."""
  if not path.is_file():
    return {}
  try:
    return safetensors.load_file(path)
  except (OSError, ValueError, SafetensorError) as error:
    logging.warning("%s: cannot be read (%s); stems are encoded anew", path, error)
    return {}


def _write_latents(path: Path, latents: Mapping[str, Float32[np.ndarray, "T C"]]) -> None:
  """With the rights that other files of the song have, which safetensors' own writer withholds."""
  from stemphonic_jax.weights.tensors import save_params  # with jax, which the studio is without

  save_params(path, dict(latents))

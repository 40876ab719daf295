"""Models asked for songs in one way or another, and what is measured of them: cells of a table."""

from __future__ import annotations

import functools
import platform
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import Int8

from stemphonic_jax.data.bar import bar
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.errors import DataError, DivergedError, MismatchError
from stemphonic_jax.evaluation import features, kept
from stemphonic_jax.evaluation.features import SongFeatures
from stemphonic_jax.evaluation.kept import Cell, Heard
from stemphonic_jax.evaluation.listeners.ears import Ears, Listener
from stemphonic_jax.evaluation.measures import metrics
from stemphonic_jax.evaluation.measures.baselines import together
from stemphonic_jax.evaluation.scores import bootstrap
from stemphonic_jax.evaluation.songs import asking, corpus
from stemphonic_jax.evaluation.songs.asking import Prompt
from stemphonic_jax.evaluation.songs.trained import Model
from stemphonic_jax.generation.pipeline import StemPipeline


@dataclass(frozen=True)
class Run:
  """How a model is asked for the stems of a piece."""

  share_noise: bool = True
  passes: int | str = 1
  activity: bool = False

  def __str__(self) -> str:
    noise = "one noise" if self.share_noise else "a noise for each stem"
    return f"{noise}, passes {self.passes}, activity {'given' if self.activity else 'open'}"


@dataclass(frozen=True, eq=False)
class Pieces:
  """Real pieces: what asks for them, how they sound, noise as loud, and others to compare with.

  All of them by the same `ears`, as are the songs that are compared with them. `read` gives the
  audio of a real piece by its id.
  """

  prompts: Sequence[Prompt]
  real: Sequence[SongFeatures]
  noise: Sequence[SongFeatures]
  reference: Sequence[SongFeatures]
  ears: Ears = field(default_factory=Ears)
  read: Callable[[str], Mix] | None = None

  @functools.cached_property
  def asked(self) -> str:
    """Equal for equal prompts."""
    return kept.digest([asdict(prompt) for prompt in self.prompts])

  @functools.cached_property
  def stamp(self) -> str:
    """Equal for equal prompts and pieces, by all that is measured of them."""
    heard = (self.real, self.noise, self.reference)
    return kept.digest([self.asked, *map(kept.digest_of, heard)])

  @property
  def lanes(self) -> list[dict[str, Int8[np.ndarray, "T"]]]:
    """When the stems of each real piece sound."""
    return [{name: stem.lane for name, stem in song.stems.items()} for song in self.real]


def check_model(model: Model, runs: Iterable[Run]) -> None:
  """MismatchError where a model cannot be asked in one of these ways."""
  dropout = model.bundle.config["dropout"]
  for run in runs:
    needed = {"activity": run.activity, "context": run.passes != 1}
    for name in (name for name, asked in needed.items() if asked and dropout[name] >= 1):
      raise MismatchError(f"{model.name}: was trained without {name}, which this table is about")


def pieces(
  mixes: tuple[Sequence[Mix], Sequence[Mix]],
  counts: Mapping[int | None, int],
  reference: int,
  seed: int,
  ears: Ears,
) -> dict[int | None, Pieces]:
  """For each number of stems K (None for any) as many pieces as `counts` says, or as there are.

  They are to be compared with `reference` others. DataError where there is none of some K, or
  nothing to compare with.
  """
  prompts, others = corpus.Noted(mixes[0]), mixes[1]
  logging.info("looking at real pieces")
  compared = corpus.held_out(others, reference, ears.listen)

  def look(mix: Mix) -> tuple[Prompt, SongFeatures, SongFeatures]:
    noise = metrics.noise_like(mix, seed)
    return asking.prompt_of(mix), ears.listen(mix), ears.listen(noise)

  found = {}
  for stems, count in counts.items():
    looks = corpus.held_out(prompts, count, look, stems)
    if not looks or not compared:
      what = f"of {stems} stems" if stems else "of two stems or more"
      raise DataError(f"there are no held-out pieces {what} to measure with; use a larger set")
    found[stems] = Pieces(*map(list, zip(*looks, strict=True)), compared, ears, prompts.read)
  return found


def ask(
  out: Path,
  model: Model,
  load: Callable[[], StemPipeline],
  run: Run,
  real: Pieces,
  *,
  seconds: float,
  seed: int,
  timed: bool = False,
) -> Cell:
  """The cell of a model and a run: a song for each prompt, all of them measured; see kept.py.

  `load` is called where a song is not there yet. Songs are scored by the activity of the real
  stems, whether the model was given it or not. One that is no sound does not count; DivergedError
  if none counts.
  """
  key = {
    "model": model.bundle.fingerprint,
    "run": asdict(run),
    "prompts": real.asked,
    "seconds": seconds,
    "seed": seed,
    "timed": timed,
    "hardware": hardware(),
  }
  hop, rate = model.bundle.hop, model.bundle.config["sample_rate"]

  def make(first: int) -> Iterator[Heard]:
    made = asking.generate(
      load(), real.prompts[first:], seconds=seconds, seed=seed + first,
      passes=run.passes, share_noise=run.share_noise, activity=run.activity, timed=timed,
    )  # fmt: skip
    told = bar(made, model.name, len(real.prompts), "songs", first)
    return corpus.in_threads(functools.partial(_heard, real.ears, hop), told)

  @functools.cache
  def sounding() -> tuple[list[Heard], list[dict[str, Int8[np.ndarray, "T"]]]]:
    heard = kept.songs(out, key, len(real.prompts), make, real.ears.complete)
    lanes = [asking.asked_lanes(prompt, seconds, rate, hop) for prompt in real.prompts]
    sound = [(one, asked) for one, asked in zip(heard, lanes, strict=True) if one.song.stems]
    if not sound:
      raise DivergedError(f"{model.name}: none of {len(heard)} songs is sound; the log says why")
    return tuple(map(list, zip(*sound, strict=True)))

  def measured() -> Cell:
    heard, lanes = sounding()
    scores = metrics.measure([one.song for one in heard], real.reference, lanes)
    times = [one.seconds for one in heard]
    return Cell(scores, bootstrap(statistics.fmean, times) if timed else None)

  key_of_cell = key | {"pieces": real.stamp}
  cell = kept.cell(out, key_of_cell, measured)
  return judged(out, key_of_cell, cell, lambda: [one.song for one in sounding()[0]], real)


def _heard(ears: Ears, hop: int, made: asking.Made) -> Heard:
  if made.mix is None:
    return Heard(SongFeatures("", None, {}), 0.0)
  return Heard(ears.listen(made.mix, hop, keep=False), sum(made.seconds.values()))


def judged(
  out: Path,
  key: Mapping[str, Any],
  cell: Cell,
  found: Callable[[], Sequence[SongFeatures]],
  real: Pieces,
) -> Cell:
  """A cell with what each listener says of its songs, which are `found` where that is not kept."""
  for listener in real.ears.listeners:
    one = kept.cell(
      out,
      key | {"listener": listener.key},
      lambda listener=listener: _judged(real, listener, found()),
    )
    cell = replace(cell, scores=cell.scores | one.scores, detail=cell.detail | one.detail)
  return cell


def _judged(real: Pieces, listener: Listener, songs: Sequence[SongFeatures]) -> Cell:
  scores, detail = real.ears.scored(listener, songs, real.reference)
  return Cell(scores, detail=detail)


def baselines(out: Path, real: Pieces, seed: int) -> dict[str, Cell]:
  """The cells of what the numbers are read beside: the pieces, their stems shuffled, and noise.

  Their activity is scored as if they had been asked for that of the pieces.
  """
  rows: dict[str, Callable[[], Sequence[SongFeatures]]] = {
    "real": lambda: real.real,
    "shuffled": lambda: metrics.shuffled(real.real, seed),
    "noise": lambda: real.noise,
  }
  found = {}
  for name, make in rows.items():
    key = {"baseline": name, "seed": seed, "pieces": real.stamp}
    cell = kept.cell(
      out, key, lambda make=make: Cell(metrics.measure(make(), real.reference, real.lanes))
    )
    if name == "shuffled":
      make = functools.cache(functools.partial(_together, real, make))
    found[name] = judged(out, key, cell, make, real)
  return found


def _together(real: Pieces, make: Callable[[], Sequence[SongFeatures]]) -> list[SongFeatures]:
  """Shuffled songs as listeners hear them: of their mixes they have heard nothing yet."""
  mixes = together(make(), real.real, real.read)
  told = bar(mixes, "shuffled", len(real.real), "songs")
  return list(corpus.in_threads(real.ears.listen, told))


def through_autoencoder(out: Path, model: Model, mixes: Sequence[Mix], real: Pieces) -> Cell:
  """The cell of the pieces' own stems, each sent through a model's autoencoder."""

  @functools.cache
  def found() -> list[SongFeatures]:
    through = asking.autoencoded(model.bundle)
    return corpus.held_out(mixes, len(real.prompts), lambda mix: real.ears.listen(through(mix)))

  key = {"model": model.bundle.fingerprint, "run": "autoencoder", "pieces": real.stamp}
  cell = kept.cell(out, key, lambda: Cell(metrics.measure(found(), real.reference, real.lanes)))
  return judged(out, key, cell, found, real)


def playing_along(
  out: Path,
  model: Model,
  load: Callable[[], StemPipeline],
  mixes: Sequence[Mix],
  real: Pieces,
  seed: int,
) -> dict[str, Cell]:
  """The cells of a given and a generated stem of each piece, and of the same pairs as they were."""

  @functools.cache
  def pairs() -> list[list[SongFeatures]]:
    count = len(real.prompts)
    both = asking.accompany(load(), corpus.ensembles(mixes, count), seed)
    looks = corpus.in_threads(lambda pair: tuple(map(features.features, pair)), both)
    found = list(looks)
    if not found:
      raise DivergedError(f"{model.name}: plays nothing to {count} pieces; the log says why")
    return list(map(list, zip(*found, strict=True)))

  rows: dict[str, Callable[[], Sequence[SongFeatures]]] = {
    "generated to real": lambda: pairs()[1],
    "real to real": lambda: pairs()[0],
    "shuffled": lambda: metrics.shuffled(pairs()[0], seed),
  }
  key = {"model": model.bundle.fingerprint, "pieces": real.stamp, "seed": seed}
  return {
    name: kept.cell(
      out,
      key | {"run": f"accompany: {name}", "hardware": hardware()},
      lambda make=make: Cell(metrics.measure(make(), real.reference, None)),
    )
    for name, make in rows.items()
  }


def hardware() -> str:
  """What songs are generated on, by the name its maker gave it."""
  device = jax.devices()[0]
  if device.platform != "cpu":
    return device.device_kind
  info = Path("/proc/cpuinfo")
  names = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.M) if info.is_file() else []
  name = names[0].strip() if names else platform.processor() or platform.machine()
  return f"CPU, {len(names) or 1} × {name}"

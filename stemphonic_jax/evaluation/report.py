"""One static page to listen to per table: index.html, with its audio and pictures beside it.

It asks nothing of a network or a server, and works from a disk. Without JavaScript, which only
plays stems in step, every part still has a player of its own.

    OUT/table_1/index.html
    OUT/table_1/audio/1/0-real/{1-drums.ogg, 2-basses.ogg, mix.ogg, spectrogram.png}
    OUT/table_1/audio/1/1-c-ii/...
"""

from __future__ import annotations

import functools
import html
import importlib.resources
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
import soundfile

from stemphonic_jax.audio import levels
from stemphonic_jax.audio.activity import active_ranges, frame_activity
from stemphonic_jax.audio.figures import spectrogram_figure
from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.audio.folders import whole_folder
from stemphonic_jax.data.stems import Mix
from stemphonic_jax.evaluation.shown.sheet import Sheet, cells_of, legend_of
from stemphonic_jax.evaluation.songs import asking, corpus
from stemphonic_jax.evaluation.songs.asking import Prompt
from stemphonic_jax.evaluation.songs.corpus import FRAME
from stemphonic_jax.evaluation.tables.basis import Measured
from stemphonic_jax.generation.pipeline import StemPipeline

SHOWN = 4  # pieces to listen to
BLOCK = 1 << 14  # samples that go to the encoder at once; libvorbis overflows its stack over many
PLAYED = re.compile(r"\d+/\d+-[a-z0-9-]+/(?:mix\.ogg|spectrogram\.png|\d+-[a-z0-9-]+\.ogg)")
Ranges = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Version:
  """A piece as it is heard: real, or as some model made it; paths are relative to the page.

  `stems` maps names to file, the seconds in which it was asked to sound, if it was, and those in
  which it does.
  """

  label: str
  folder: str
  seconds: float
  stems: Mapping[str, tuple[str, Ranges | None, Ranges]]


@dataclass(frozen=True)
class Piece:
  """What was asked for, and its versions."""

  prompt: Prompt
  versions: list[Version]


def write_report(out: Path, measured: Measured, seed: int) -> Path:
  """Writes the page of what was measured, with some real pieces beside what models make of them.

  It goes to a folder of `out` with the first sheet's name, where of what is in its `audio` only
  files named as here are replaced. OutputError where it cannot be written.
  """
  home = out / measured.sheets[0].name
  each = math.ceil(SHOWN / len(measured.counts))
  real = [
    mix
    for k, count in measured.counts.items()
    for mix in corpus.held_out(measured.real, min(each, count), lambda mix: mix, k)
  ]
  prompts = [asking.prompt_of(mix) for mix in real]
  pieces = [Piece(prompt, []) for prompt in prompts]
  load = functools.cache(lambda model: StemPipeline(model.bundle))
  with whole_folder(home / "audio", _played) as folder:
    for number, (piece, mix) in enumerate(zip(pieces, real, strict=True), 1):
      piece.versions.append(_save(folder, f"{number}/0-real", "real", mix, {}))
    for version, (label, (model, run)) in enumerate(measured.asked.items(), 1):
      made = asking.generate(
        load(model), prompts, seconds=real[0].seconds, seed=seed,
        passes=run.passes, share_noise=run.share_noise, activity=run.activity,
      )  # fmt: skip
      for number, (piece, song) in enumerate(zip(pieces, made, strict=True), 1):
        if song.mix is None:
          continue
        told = piece.prompt.active if run.activity else {}
        piece.versions.append(
          _save(folder, f"{number}/{version}-{_slug(label)}", label, song.mix, told)
        )
  path = home / "index.html"
  with whole_file(path) as partial:
    partial.write_text(page(measured.sheets, pieces), encoding="utf-8")
  return path


def _played(audio: Path) -> set[str]:
  """The files in a folder of audio that are named as those of a page."""
  names = (path.relative_to(audio).as_posix() for path in audio.glob("*/*/*"))
  return set(filter(PLAYED.fullmatch, names))


def page(sheets: Sequence[Sheet], pieces: Sequence[Piece]) -> str:
  """The page's HTML, all text in it escaped."""
  first, *others = sheets
  return Template(PAGE).substitute(
    title=_text(first.title),
    numbers="\n".join([_table(first, "h1"), *(_table(sheet, "h2") for sheet in others)]),
    songs="\n".join(_piece(number, piece) for number, piece in enumerate(pieces, 1)),
    style=_beside("page.css"),
    script=_beside("page.js"),
  )


def _save(audio: Path, place: str, label: str, mix: Mix, asked: Mapping[str, Ranges]) -> Version:
  """Writes the stems of a version and their mix, all by one gain, and the picture of them."""
  folder = audio / place
  folder.mkdir(parents=True)
  whole = mix.audio()
  loud = levels.normalize(whole)
  parts = {name: stem.audio for name, stem in mix.stems.items()}
  peak = max(float(np.abs(part).max()) for part in (whole, *parts.values()))
  power = float(np.abs(whole).max())
  gain = min(float(np.abs(loud).max()) / power, 1 / peak) if power else 1.0
  _write_ogg(folder / "mix.ogg", whole * np.float32(gain), mix.rate)
  stems = {}
  for k, (name, part) in enumerate(parts.items(), 1):
    file = f"{k}-{_slug(name)}.ogg"
    _write_ogg(folder / file, part * np.float32(gain), mix.rate)
    found = active_ranges(frame_activity(part, FRAME, mix.rate), FRAME, mix.rate)
    stems[name] = (file, asked.get(name), [(a, min(b, mix.seconds)) for a, b in found])
  spectrogram_figure(folder / "spectrogram.png", {"mix": whole, **parts}, mix.rate, label)
  return Version(label, f"audio/{place}", mix.seconds, stems)


def _write_ogg(path: Path, audio: np.ndarray, rate: int) -> None:
  with soundfile.SoundFile(path, "w", rate, audio.shape[1], format="OGG") as file:
    for start in range(0, len(audio), BLOCK):
      file.write(audio[start : start + BLOCK])


def _table(sheet: Sheet, heading: str) -> str:
  head, rows = cells_of(sheet)
  width = len(sheet.columns)
  top = "".join(f'<th scope="col">{_text(word)}</th>' for word in head)
  body = "\n".join(
    "<tr>"
    + "".join(
      f'<th scope="row">{_text(word)}</th>'
      if column < width
      else f"<td{' class=best' if best else ''}>{_text(word)}</td>"
      for column, (word, best) in enumerate(row)
    )
    + "</tr>"
    for row in rows
  )
  terms = "".join(f"<dt>{_text(n)}</dt><dd>{_text(said)}</dd>" for n, said in legend_of(sheet))
  return f"""<section><{heading}>{_text(sheet.title)}</{heading}>
<div class="wide" tabindex="0" role="region" aria-label="{_text(sheet.title)}"><table>
<thead><tr>{top}</tr></thead>
<tbody>{body}</tbody></table></div>
<p class="note">{_text(sheet.note)}</p>
<details><summary>What the numbers mean</summary><dl>{terms}</dl></details></section>"""


def _piece(number: int, piece: Piece) -> str:
  prompt = piece.prompt
  tempo = f"{prompt.bpm:.0f} BPM, " if prompt.bpm else ""
  versions = "\n".join(map(_version, piece.versions))
  return f"""<section><h3>{number}. {_text(prompt.caption)}</h3>
<p class="note">{_text(tempo + ", ".join(prompt.types))}
<span class="id">{_text(prompt.id)}</span></p>
{versions}</section>"""


def _version(version: Version) -> str:
  folder, label = version.folder, _text(version.label)
  rows = "\n".join(
    f"""<tr><th scope="row">{_text(name)}</th><td>{_lanes(version.seconds, asked, found)}</td>
<td class="buttons"><button type="button" data-mute aria-pressed="false">mute</button>
<button type="button" data-solo aria-pressed="false">solo</button></td>
<td><audio controls preload="none" src="{folder}/{file}" aria-label="{_text(name)}"></audio></td>
</tr>"""
    for name, (file, asked, found) in version.stems.items()
  )
  return f"""<article aria-label="{label}"><h4>{label}</h4>
<p class="row"><span>mix</span><audio controls preload="none" src="{folder}/mix.ogg"
 aria-label="{label}, mix"></audio></p>
<p class="row script"><button type="button" data-play>play stems together</button>
<input type="range" min="0" max="{version.seconds:.2f}" step="0.05" value="0" aria-label="position">
</p><table class="stems">{rows}</table>
<details><summary>Spectrograms</summary><img loading="lazy" src="{folder}/spectrogram.png"
 alt="Spectrograms of the mix and of each stem, {label}"></details></article>"""


def _lanes(seconds: float, asked: Ranges | None, found: Ranges) -> str:
  """When a stem was asked to sound, above when it does, as a picture that can also be read."""
  said = f"sounds {_spoken(found)}"
  if asked is not None:
    said = f"asked for {_spoken(asked)}; {said}"
  bars = list(_bars(asked or (), 0, "asked")) + list(_bars(found, 6, "found"))
  return (
    f'<svg class="lanes" viewBox="0 0 {seconds:.2f} 10" preserveAspectRatio="none" role="img"'
    f' aria-label="{said}"><title>{said}</title>{"".join(bars)}</svg>'
  )


def _bars(ranges: Ranges, top: int, kind: str) -> Iterable[str]:
  for start, end in ranges:
    yield f'<rect class="{kind}" x="{start:.3f}" y="{top}" width="{end - start:.3f}" height="4"/>'


def _spoken(ranges: Ranges) -> str:
  return ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in ranges) or "never"


def _beside(name: str) -> str:
  return (importlib.resources.files(__package__) / name).read_text(encoding="utf-8")


def _slug(label: str) -> str:
  return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "x"


def _text(word: str) -> str:
  return html.escape(word, quote=True)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style></head>
<body><main>
$numbers
<section><h2>Listen</h2>
<p class="note">Levels: each mix at −16 dBFS, or as near as full scale lets it come; its stems by
the same gain. In the lanes, when a stem was asked to sound is above when it does.</p></section>
$songs
</main><script>$script</script></body></html>
"""

"""`stemphonic again`, `vary`, `add`, `extend`, `loop`, `remove`: a song edited in its folder."""

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stemphonic_jax import door
from stemphonic_jax.audio.activity import parse_ranges
from stemphonic_jax.cli.arguments import (
  activity_of,
  command,
  guidance_of,
  path,
  place,
  seed,
  words_of,
)
from stemphonic_jax.cli.model import known
from stemphonic_jax.cli.showing import shown

STEMS = "stems of the song, as drums,guitars"
RANGE = "seconds, as 8-16, or several, as 8-16,24-28"


def add(commands: Any) -> None:
  """Adds the commands and their arguments to argparse's subparsers."""
  again = _command(commands, "again", "make stems of a song, or ranges of them, again")
  again.add_argument("--stems", metavar="A,B,…", help=f"{STEMS}; default all that were generated")
  again.add_argument("--range", metavar="S-S,…", help=f"{RANGE}; default the whole")
  _options(again, activity=True)

  vary = _command(commands, "vary", "make stems of a song again, keeping something of them")
  vary.add_argument(
    "--strength", type=float, required=True, metavar="X", help="0.01 to 1: the less, the more stays"
  )
  vary.add_argument("--stems", metavar="A,B,…", help=f"{STEMS}; default all that were generated")
  vary.add_argument("--range", metavar="S-S,…", help=f"{RANGE}; default the whole")
  _options(vary, activity=True)

  more = _command(commands, "add", "add stems to a song, which fit to those that are there")
  more.add_argument("--stems", required=True, metavar="A,B,…", help="what to make, as keys,winds")
  _options(more, activity=True)

  extend = _command(commands, "extend", "let a song go on, all stems together")
  extend.add_argument(
    "--seconds", type=float, required=True, metavar="S", help="how long it is to be then"
  )
  extend.add_argument("--left", action="store_true", help="begin earlier, instead of going on")
  _options(extend)

  loop = _command(commands, "loop", "make a loop of a song, or of a range of it")
  loop.add_argument(
    "--range",
    metavar="S-S",
    help="seconds, as 8-16; default the whole; on bars where --bpm was given",
  )
  _options(loop)

  remove = _command(commands, "remove", "take stems out of a song; their takes are kept")
  remove.add_argument("--stems", required=True, metavar="A,B,…", help=STEMS)


def _command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
  parser = command(commands, name, run, summary)
  parser.set_defaults(do=name)
  parser.add_argument("song", type=path, metavar="SONG", help="the folder of a song")
  parser.add_argument(
    "--out", type=path, metavar="DIR", help="another folder for it; default SONG itself, takes kept"
  )
  parser.add_argument("--overwrite", action="store_true", help="replace a song that is in --out")
  return parser


def _options(parser: argparse.ArgumentParser, activity: bool = False) -> None:
  """What all edits share that a model makes."""
  parser.add_argument("--prompt", metavar="TEXT", help="other words; default those of the song")
  parser.add_argument(
    "--negative", metavar="TEXT", help="what to lead away from; default as it was"
  )
  if activity:
    parser.add_argument(
      "--activity",
      action="extend",
      nargs="+",
      default=[],
      metavar="STEM=S-S,…",
      help="when a stem plays: drums=0-4; default as it was",
    )
  parser.add_argument("--seed", type=seed, metavar="N", help="default the next that was not used")
  parser.add_argument(
    "--steps", type=int, metavar="N", help="steps from noise to music; default as it was"
  )
  parser.add_argument(
    "--guidance", metavar="G", help="1 is off; or by condition, words=3,context=1.5; as it was"
  )
  parser.add_argument(
    "--model",
    type=place,
    default="demo",
    metavar="DIR",
    help="the model that made the song: a folder, a workdir, hf://owner/name, or demo (default)",
  )


def run(request: argparse.Namespace) -> None:
  """Edits a song and says where it is."""
  ask = {
    name: _VALUES.get(name, _same)(value)
    for name, value in vars(request).items()
    if name in _ASKED and value is not None
  }

  def work(song: Any) -> Any:
    if request.do == "remove":
      return song.remove(**ask)
    from stemphonic_jax.generation import editing
    from stemphonic_jax.generation.making import make

    model, load = known(request.model)
    asked = editing.check(model, song, request.do, **ask)
    with shown(request.do) as tell:
      return make(load(), asked, tell)

  edited(request.song, request.out, request.overwrite, work)


def edited(folder: Path, out: Path | None, overwrite: bool, work: Callable[[Any], Any]) -> None:
  """Does some `work` on the song of a folder, and saves what comes of it there or in `out`."""
  door.set_up()
  from stemphonic_jax.audio.folders import alone
  from stemphonic_jax.generation.saved import load_song
  from stemphonic_jax.generation.song_folder import check_output

  if out is not None:
    check_output(out, overwrite)
  with alone(folder) if out is None else contextlib.nullcontext():
    song = load_song(folder)
    if out is None:
      check_output(song.folder, True)
    song = work(song)
    song.save(song.folder if out is None else out, overwrite=overwrite or out is None)
  print(folder if out is None else out)


def _same(value: Any) -> Any:
  return value


_ASKED = ("stems", "range", "strength", "seconds", "left", "prompt", "activity", "seed", "steps")
_ASKED += ("guidance", "negative")
_VALUES = {
  "stems": words_of,
  "activity": activity_of,
  "guidance": guidance_of,
  "range": lambda text: parse_ranges(text, "range"),
}

"""`stemphonic takes`, `stemphonic replay`: what was made of a song, heard or made once more."""

import argparse
from collections.abc import Mapping
from typing import Any

from absl import logging

from stemphonic_jax import door
from stemphonic_jax.cli.arguments import command, path, place, whole
from stemphonic_jax.cli.edit import edited
from stemphonic_jax.cli.model import known
from stemphonic_jax.errors import UsageError

SHOWN = ("range", "strength", "seconds", "seed", "prompt")  # of what a step was asked


def add(commands: Any) -> None:
  """Adds the commands and their arguments to argparse's subparsers."""
  takes = command(commands, "takes", run, "list the steps of a song, go back to one, or use a take")
  takes.add_argument("song", type=path, metavar="SONG", help="the folder of a song")
  takes.add_argument(
    "--step", type=whole(0), metavar="N", help="let the song be as after this step"
  )
  takes.add_argument("--use", metavar="STEM=N", help="let one stem be as step N made it")

  replay = command(commands, "replay", run_replay, "make a song once more, step by step")
  replay.add_argument("song", type=path, metavar="SONG", help="the folder of a song")
  replay.add_argument("--out", type=path, required=True, metavar="DIR", help="folder for it")
  replay.add_argument(
    "--model",
    type=place,
    default="demo",
    metavar="DIR",
    help="the model that made the song: a folder, a workdir, hf://owner/name, or demo (default)",
  )
  replay.add_argument("--overwrite", action="store_true", help="replace a song that is in --out")


def run(request: argparse.Namespace) -> None:
  """Lists the steps of a song, or changes which take is heard."""
  if request.step is not None and request.use is not None:
    raise UsageError("takes: name either --step or --use")
  if request.step is not None:
    edited(request.song, None, False, lambda song: song.at(request.step))
  elif request.use is not None:
    stem, equals, step = request.use.rpartition("=")
    if not equals or not step.isdecimal():
      raise UsageError(f"--use {request.use!r}: expected STEM=STEP, as in guitars=2")
    edited(request.song, None, False, lambda song: song.use(stem, int(step)))
  else:
    from stemphonic_jax.generation.saved import load_song

    info = load_song(request.song).info
    for number, step in enumerate(info["steps"]):
      print(_line(number, step, number == info["now"]))


def run_replay(request: argparse.Namespace) -> None:
  """Makes a song once more, and says whether it is the same."""
  door.set_up()
  from stemphonic_jax.generation.edit_request import check_model
  from stemphonic_jax.generation.replaying import differences
  from stemphonic_jax.generation.saved import load_song
  from stemphonic_jax.generation.song import check_output

  check_output(request.out, request.overwrite)
  song = load_song(request.song)
  model, load = known(request.model)
  check_model(model, song)
  again = load().replay(song)
  again.save(request.out, request.overwrite)
  if other := differences(song, again):
    listed = ", ".join(f"{name!r} of step {step}" for step, name in other)
    logging.warning("not the same to the bit: %s; another machine or version made it", listed)
  else:
    logging.info("the same to the bit, all %d steps", len(song.info["steps"]))
  print(request.out)


def _line(number: int, step: Mapping[str, Any], heard: bool) -> str:
  from stemphonic_jax.generation.windows import pairs

  asked = {name: step["ask"].get(name) for name in SHOWN}
  if asked["range"]:
    asked["range"] = ",".join(f"{start:g}-{end:g}" for start, end in pairs(asked["range"]))
  what = "  ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
  of = "" if step["from"] in (None, number - 1) else f"  from {step['from']}"
  stems = ", ".join(step["made"] or step["ask"].get("stems") or [])
  if step["do"] == "use":
    stems = f"{step['ask']['stem']} of step {step['ask']['step']}"
  return f"{'*' if heard else ' '} {number:3}  {step['do']:8}  {stems}{of}  {what}".rstrip()

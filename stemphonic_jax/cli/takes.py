"""`stemphonic takes`, `stemphonic replay`: what was made of a song, heard or made once more."""

import argparse
from collections.abc import Mapping
from typing import Any

from absl import logging

from stemphonic_jax import door
from stemphonic_jax.cli.arguments import command, path, place, whole
from stemphonic_jax.cli.edit import edited
from stemphonic_jax.cli.model import known
from stemphonic_jax.cli.showing import shown
from stemphonic_jax.errors import UsageError

SHOWN = ("range", "strength", "seconds", "left", "activity", "seed", "prompt")  # of what was asked
DIGITS = 6  # of the number of a step


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
    if not equals or not step.isdecimal() or len(step) > DIGITS:
      raise UsageError(f"--use {request.use[:60]!r}: expected STEM=STEP, as in guitars=2")
    edited(request.song, None, False, lambda song: song.use(stem, int(step)))
  else:
    from stemphonic_jax.generation.saved import load_song

    info, prompt = load_song(request.song).info, None
    for number, step in enumerate(info["steps"]):
      print(_line(number, step, number == info["now"], prompt))
      prompt = step["ask"].get("prompt", prompt)


def run_replay(request: argparse.Namespace) -> None:
  """Makes a song once more, and says whether it is the same."""
  door.set_up()
  from stemphonic_jax.generation.edit_request import check_model
  from stemphonic_jax.generation.replaying import differences
  from stemphonic_jax.generation.saved import load_song
  from stemphonic_jax.generation.song_folder import check_output

  check_output(request.out, request.overwrite)
  song = load_song(request.song)
  model, load = known(request.model)
  check_model(model, song)
  with shown("replay") as tell:
    again = load().replay(song, tell)
  again.save(request.out, request.overwrite)
  if other := differences(song, again):
    listed = ", ".join(f"{name!r} of step {step}" for step, name in other)
    logging.warning("not the same to the bit: %s; another machine or version made it", listed)
  else:
    logging.info("the same to the bit, all %d steps", len(song.info["steps"]))
  print(request.out)


def _line(number: int, step: Mapping[str, Any], heard: bool, prompt: str | None) -> str:
  """A step; its prompt where it is another than the `prompt` of the step above."""
  from stemphonic_jax.generation.windows import pairs

  def seconds(ranges: Any) -> str:
    return ",".join(f"{round(start, 2):g}-{round(end, 2):g}" for start, end in pairs(ranges))

  ask = {name: value for name, value in step["ask"].items() if value not in (None, {})}
  if ask.get("prompt") == prompt:
    ask.pop("prompt", None)
  if ask.get("left") is False:
    del ask["left"]
  asked = {name: ask[name] for name in SHOWN if name in ask}
  if "range" in asked:
    asked["range"] = seconds(asked["range"])
  if "activity" in asked:
    asked["activity"] = " ".join(f"{name}={seconds(on)}" for name, on in ask["activity"].items())
  what = "  ".join(name if value is True else f"{name} {value}" for name, value in asked.items())
  of = "" if step["from"] in (None, number - 1) else f"  from {step['from']}"
  stems = ", ".join(step["made"] or step["ask"].get("stems") or [])
  if step["do"] == "use":
    stems = f"{step['ask']['stem']} of step {step['ask']['step']}"
  return f"{'*' if heard else ' '} {number:3}  {step['do']:8}  {stems}{of}  {what}".rstrip()

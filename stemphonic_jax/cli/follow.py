"""`stemphonic follow`: stems to audio of any length."""

import argparse
from typing import Any

from stemphonic_jax import door
from stemphonic_jax.cli.arguments import (
  activity_of,
  command,
  guidance_of,
  music_options,
  path,
  place,
  words_of,
)
from stemphonic_jax.cli.generate import named_folder
from stemphonic_jax.cli.model import known
from stemphonic_jax.cli.showing import shown


def add(commands: Any) -> None:
  """Adds the command and its arguments to argparse's subparsers."""
  follow = command(
    commands, "follow", run, "make stems that follow audio from its start to its end"
  )
  follow.add_argument("audio", type=place, metavar="FILE|DIR", help="a mix, or a folder of stems")
  follow.add_argument("prompt", help="the music, in words")
  follow.add_argument("--stems", required=True, metavar="A,B,…", help="what to make, as drums,keys")
  follow.add_argument(
    "--out",
    type=path,
    metavar="DIR",
    help="folder for the song; default one in runs, named by the prompt",
  )
  music_options(follow)


def run(request: argparse.Namespace) -> None:
  """Makes the stems and says where the song is."""
  from stemphonic_jax.generation.editing import follow
  from stemphonic_jax.generation.making import make
  from stemphonic_jax.generation.song_folder import check_output

  out = request.out or named_folder(request.prompt, request.overwrite)
  check_output(out, request.overwrite)
  options = dict(
    bpm=request.bpm,
    metre=request.metre,
    activity=activity_of(request.activity),
    seed=request.seed,
    steps=request.steps,
    guidance=guidance_of(request.guidance),
    negative=request.negative,
  )
  stems = words_of(request.stems)
  door.set_up()
  model, load = known(request.model)
  asked = follow.check(model, request.audio, request.prompt, stems, **options)
  with shown("follow") as tell:
    song = make(load(), asked, tell)
  song.save(out, request.overwrite)
  print(out)

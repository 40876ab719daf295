"""The door for people who make music.

stemphonic generate "…" --stems drums,basses                   songs
stemphonic again | vary | add | extend | loop | remove SONG    a song, edited
stemphonic follow FILE "…" --stems drums                       stems to audio of any length
stemphonic takes SONG, replay SONG                             what was made of it
stemphonic studio                                              the same in a browser
stemphonic export SONG --as zip|dawproject|reaper|stem         for a DAW
stemphonic prepare SOURCE ROOT OUT --model DIR                 stems on disk, to train on
stemphonic bundle import | export | verify | show | convert    models as folders
stemphonic checkpoint verify DIR                               are a run's checkpoints whole?
stemphonic evaluate --table N | --model DIR                    the paper's tables, measured
stemphonic bench                                               what this machine does with them
"""

import argparse
import sys
from typing import NoReturn

from stemphonic_jax import __version__, door
from stemphonic_jax.cli import (
  bench,
  bundle,
  checkpoint,
  edit,
  evaluate,
  export,
  follow,
  generate,
  prepare,
  studio,
  takes,
)
from stemphonic_jax.cli.arguments import Parser

COMMANDS = (generate, edit, follow, takes, studio, export)
COMMANDS += (prepare, bundle, checkpoint, evaluate, bench)


def main() -> NoReturn:
  """Entry point of the console script."""
  sys.exit(door.run(lambda: run(sys.argv[1:])))


def run(arguments: list[str]) -> None:
  """Parses the command line and does what it says; raises StemphonicError."""
  request = parser().parse_args(arguments)
  door.pass_over_tpus()  # not every command sets up a log
  request.run(request)


def parser() -> Parser:
  """The parser of the command line, with all commands and their arguments."""
  parser = Parser(
    prog="stemphonic",
    description=__doc__,
    allow_abbrev=False,
    formatter_class=argparse.RawDescriptionHelpFormatter,  # a table has lines
  )
  parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
  commands = parser.add_subparsers(required=True, metavar="COMMAND")
  for command in COMMANDS:
    command.add(commands)
  return parser

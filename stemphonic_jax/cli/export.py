"""`stemphonic export`: a song for a DAW, a sampler or a DJ program."""

import argparse
from typing import Any

from stemphonic_jax import door
from stemphonic_jax.cli.arguments import command, path

FORMS = ("zip", "dawproject", "reaper", "stem")


def add(commands: Any) -> None:
  """Adds the command and its arguments to argparse's subparsers."""
  export = command(commands, "export", run, "hand a song over to a DAW")
  export.add_argument("song", type=path, help="the folder of a song, as runs/song")
  export.add_argument(
    "--as",
    dest="form",
    required=True,
    choices=FORMS,
    help="WAVs; a project of Bitwig, Studio One, Cubase; of REAPER; a .stem.mp4 for DJs",
  )
  export.add_argument(
    "--out", type=path, metavar="PATH", help="a new file or folder; default beside the song"
  )
  export.add_argument(
    "--bits", type=int, choices=(24, 32), default=32, help="of WAVs; 32 are floats (default)"
  )
  export.add_argument(
    "--raw",
    action="store_true",
    help="of a zip: stems as made, whatever the mixer of the page says",
  )


def run(request: argparse.Namespace) -> None:
  """Writes the export and says where it is."""
  door.set_up()
  from stemphonic_jax.generation import handover
  from stemphonic_jax.studio.desk import named

  title, labels = named(request.song)
  options = dict(bits=request.bits, raw=request.raw, title=title, labels=labels)
  print(handover.export(request.song, request.form, request.out, **options))

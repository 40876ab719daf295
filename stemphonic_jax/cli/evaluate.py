"""`stemphonic evaluate`: what models are worth, in numbers."""

import argparse
from pathlib import Path
from typing import Any

from stemphonic_jax import door
from stemphonic_jax.audio.lengths import LONGEST
from stemphonic_jax.cli.arguments import command, count, number, path, place, seed
from stemphonic_jax.errors import UsageError


def add(commands: Any) -> None:
  """Adds the command and its arguments to argparse's subparsers."""
  evaluate = command(commands, "evaluate", run, "measure models without other models")
  what = evaluate.add_mutually_exclusive_group(required=True)
  what.add_argument(
    "--table", metavar="1|2|3|ensemble", help="of the paper, or of an ensemble, on --models"
  )
  what.add_argument(
    "--model", type=place, metavar="DIR", help="one model beside real pieces; or hf://…"
  )
  evaluate.add_argument(
    "--models", type=path, metavar="DIR", help="folder with a_0, a_1, … b_0, … c_0, … act_0, …"
  )
  evaluate.add_argument("--out", type=path, default=Path("runs/evaluation"), metavar="DIR")
  evaluate.add_argument("--songs", type=count, default=60, metavar="N", help="default 60")
  evaluate.add_argument(
    "--reference", type=count, metavar="N", help="other real pieces to compare with; default 150"
  )
  evaluate.add_argument(
    "--seconds", type=number(1, LONGEST), metavar="S", help="of a song; default all it can"
  )
  evaluate.add_argument("--seed", type=seed, default=0, help="of pieces, and of noise")
  evaluate.add_argument("--source", default="demo", help="of prompts: demo, musdb, moisesdb, …")
  evaluate.add_argument("--root", type=place, metavar="DIR", help="where the source is")
  evaluate.add_argument(
    "--held-out",
    type=count,
    metavar="N",
    help="of a source that the model was trained on: mixes that the training left out; default as"
    " its workdir says, else all of the source is measured on",
  )
  evaluate.add_argument(
    "--captions", type=place, metavar="FILE", help="of the source, as in the training"
  )
  evaluate.add_argument(
    "--accompany", action="store_true", help="measure --model on playing along with given stems too"
  )
  evaluate.add_argument("--report", action="store_true", help="write a page to listen to as well")


def run(request: argparse.Namespace) -> None:
  """Measures a table or a model, prints it, and writes it down."""
  if bool(request.table) != bool(request.models):
    raise UsageError("evaluate: --table N takes --models DIR, and --model DIR stands alone")
  if request.accompany and request.table:
    raise UsageError("--accompany is an option of `stemphonic evaluate --model DIR`")
  if (request.source == "demo") != (request.root is None):
    raise UsageError("evaluate: a --source on disk takes --root DIR, and demo takes none")
  if request.source == "demo" and (request.held_out or request.captions):
    raise UsageError("--held-out and --captions are of a --source on disk")
  door.set_up()
  from stemphonic_jax.evaluation import report, sheet, tables
  from stemphonic_jax.weights.hub import find_model

  options = tables.Options(
    request.songs,
    request.reference or tables.REFERENCE,
    request.seconds,
    request.seed,
    request.source,
    request.root or "",
    request.held_out,
    request.captions or "",
  )
  if request.table:
    measured = tables.table(request.table, request.models, request.out, options)
  else:
    model = find_model(request.model)
    measured = tables.one_model(model, request.out, options, request.accompany)
  for one in measured.sheets:
    sheet.write(one, request.out)
    print(sheet.markdown(one))
  if request.report:
    print(report.write_report(request.out, measured, request.seed))

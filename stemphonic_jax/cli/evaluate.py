"""`stemphonic evaluate`: what models and songs are worth, in numbers."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemphonic_jax import door
from stemphonic_jax.audio.folders import if_file
from stemphonic_jax.audio.lengths import LONGEST
from stemphonic_jax.cli.arguments import command, count, number, path, place, seed
from stemphonic_jax.errors import MissingError, UsageError

if TYPE_CHECKING:
  from stemphonic_jax.evaluation.listeners.ears import Listener
  from stemphonic_jax.evaluation.tables.basis import Measured, Options

FAD = ("default", "google", "gudgud96", "fadtk")
SONGS = 60
HEAR = ("vggish", "clap", "music")  # options that add metrics
OF_PAPERS = ("1", "2", "3", "ensemble")  # tables of many models
# Tables of one model, and what may be added to them.
OF_ONE = {
  "musicgen-stem": (), "stemgen": ("vggish",), "repairs": (), "continuation": (), "prompts": (),
}  # fmt: skip

# Options that name what has to be there: whether it is a folder, and what is said where it is not.
PLACES = {
  "models": (True, "no such folder of models"),
  "songs_from": (True, "no such folder of songs; expected {0.name}/SONG/STEM.wav"),
  "embeddings": (False, "no such file of embeddings"),
  "vggish": (False, "no such file of VGGish's weights"),
  "clap": (True, "no such folder of a CLAP, with weights and the tokenizer's files"),
  "root": (True, "no such folder; expected the root of a data set"),
  "captions": (False, "no such file of captions"),
  "prompts": (False, "no such file of prompts"),
  "soundfont": (False, "no such file; expected a SoundFont, as FluidR3_GM.sf2"),
}


def add(commands: Any) -> None:
  """Adds the command and its arguments to argparse's subparsers."""
  evaluate = command(commands, "evaluate", run, "measure models, or songs that others made")
  evaluate.add_argument(
    "--table",
    metavar="NAME",
    help="1, 2 or 3 of the paper, or ensemble, on --models; musicgen-stem (editing) or stemgen"
    " (accompaniment), repairs, continuation or prompts, on --model",
  )
  evaluate.add_argument(
    "--models", type=path, metavar="DIR", help="folder with a_0, a_1, … b_0, … c_0, … act_0, …"
  )
  evaluate.add_argument(
    "--model", type=place, metavar="DIR", help="one model beside real pieces; or hf://…"
  )
  evaluate.add_argument(
    "--songs-from",
    type=path,
    nargs="+",
    metavar="DIR",
    help="folders of songs in stems that any system made, DIR/SONG/STEM.wav, beside real pieces",
  )
  evaluate.add_argument(
    "--systems",
    type=place,
    nargs="+",
    metavar="DIR",
    help="models of any systems, on the same prompts, heard as bass, drums and other",
  )
  evaluate.add_argument(
    "--embeddings",
    type=path,
    nargs=2,
    metavar=("MADE", "REAL"),
    help="two .npz of embeddings by any other code, an array [windows, size] of each song",
  )
  evaluate.add_argument(
    "--vggish", type=path, metavar="FILE", help="weights of VGGish: adds FAD, its limit and KAD"
  )
  evaluate.add_argument(
    "--clap", type=path, metavar="DIR", help="folder of LAION's CLAP: adds CLAP of mix and text"
  )
  evaluate.add_argument(
    "--music", action="store_true", help="adds HAR, BEAT and MIRDD, told without weights"
  )
  evaluate.add_argument(
    "--fad", choices=FAD, default=FAD[0], help="the tool whose FAD is computed; default as it is"
  )
  evaluate.add_argument("--out", type=path, default=Path("runs/evaluation"), metavar="DIR")
  evaluate.add_argument(
    "--songs", type=count, metavar="N", help=f"default {SONGS}; of --songs-from all"
  )
  evaluate.add_argument(
    "--reference", type=count, metavar="N", help="other real pieces to compare with; default 150"
  )
  evaluate.add_argument(
    "--seconds",
    type=number(1, LONGEST),
    metavar="S",
    help="of a song; default all that the model can, or the shortest of --songs-from",
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
    "--prompts",
    type=path,
    metavar="FILE",
    help="of --table prompts, one a line; default 200 of ours",
  )
  evaluate.add_argument(
    "--corpus", type=count, metavar="N", help="version of the demo corpus; default the training's"
  )
  evaluate.add_argument(
    "--soundfont", type=place, metavar="FILE", help="that plays a share of the demo corpus"
  )
  evaluate.add_argument(
    "--accompany", action="store_true", help="measure --model on playing along with given stems too"
  )
  evaluate.add_argument("--report", action="store_true", help="write a page to listen to as well")


def run(request: argparse.Namespace) -> None:
  """Measures a table, a model or songs, prints it, and writes it down."""
  _check(request)
  _check_places(request)
  door.set_up()
  from stemphonic_jax.evaluation import report
  from stemphonic_jax.evaluation.shown import sheet
  from stemphonic_jax.evaluation.tables import basis

  options = basis.Options(
    request.songs or SONGS,
    request.reference or basis.REFERENCE,
    request.seconds,
    request.seed,
    request.source,
    request.root or "",
    request.held_out,
    request.captions or "",
    request.corpus,
    request.soundfont or "",
  )
  measured = _measured(request, options, _listeners(request))
  for one in measured.sheets:
    sheet.write(one, request.out)
    print(sheet.markdown(one))
  if request.report:
    print(report.write_report(request.out, measured, request.seed))


def _check(request: argparse.Namespace) -> None:
  """UsageError where options do not go together."""
  named = ("models", "model", "songs_from", "systems", "embeddings")
  asked = {f"--{name.replace('_', '-')}": getattr(request, name) for name in named}
  if sum(map(bool, asked.values())) != 1:
    raise UsageError(f"evaluate: expected one of {', '.join(asked)}; see `stemphonic evaluate -h`")
  if request.table in OF_ONE and not request.model:
    raise UsageError(f"evaluate: --table {request.table} takes --model DIR")
  if request.models and request.table and request.table not in OF_PAPERS:
    raise UsageError(f"table {request.table}: expected one of {', '.join(OF_PAPERS)}")
  if request.table and request.table not in (*OF_ONE, *OF_PAPERS):
    known = ", ".join((*OF_PAPERS, *OF_ONE))
    raise UsageError(f"table {request.table!r}: expected one of {known}")
  if request.table not in OF_ONE and bool(request.table) != bool(request.models):
    raise UsageError("evaluate: --table NAME takes --models DIR, and --model DIR stands alone")
  added = [name for name in HEAR if getattr(request, name)]
  if idle := [name for name in added if name not in OF_ONE.get(request.table, HEAR)]:
    raise UsageError(f"--{idle[0]} adds nothing to --table {request.table}; leave it out")
  if request.prompts and request.table != "prompts":
    raise UsageError("--prompts FILE is of `stemphonic evaluate --table prompts --model DIR`")
  if request.accompany and (request.table or not request.model):
    raise UsageError("--accompany is an option of `stemphonic evaluate --model DIR`")
  others = request.songs_from or request.systems or request.embeddings or request.table in OF_ONE
  if request.report and others:
    raise UsageError("--report is of `evaluate --model DIR` and of the paper's tables")
  if (request.source == "demo") != (request.root is None):
    raise UsageError("evaluate: a --source on disk takes --root DIR, and demo takes none")
  if request.source == "demo" and (request.held_out or request.captions):
    raise UsageError("--held-out and --captions are of a --source on disk")
  if request.source != "demo" and (request.corpus or request.soundfont):
    raise UsageError("--corpus and --soundfont are of the demo corpus, and the --source is another")
  if request.fad != FAD[0] and not (request.vggish or request.embeddings):
    raise UsageError(f"--fad {request.fad} is of VGGish's embeddings; add --vggish FILE")


def _check_places(request: argparse.Namespace) -> None:
  """MissingError where something that is named is not there; before jax, which takes longer."""
  from stemphonic_jax.data.sources.catalogue import check_source
  from stemphonic_jax.weights.hub import find_model
  from stemphonic_jax.weights.known import read_known

  if request.source != "demo":
    check_source(request.source)
  for name, (folder, message) in PLACES.items():
    named = getattr(request, name) or []
    for named_path in map(Path, named if isinstance(named, list) else [named]):
      if not (named_path.is_dir() if folder else named_path.is_file()):
        hint = if_file(named_path) if folder else ""
        raise MissingError(f"{named_path}: {message.format(named_path)}{hint}")
  for model in [request.model] if request.model else request.systems or []:
    read_known(find_model(str(model)))


def _listeners(request: argparse.Namespace) -> list["Listener"]:
  from stemphonic_jax.evaluation.listeners import networks

  found = []
  if request.vggish:
    from stemphonic_jax.evaluation.judges import vggish

    found.append(networks.fad(vggish.open_judge(request.vggish, request.fad), request.fad))
  if request.music:
    from stemphonic_jax.evaluation.listeners import music

    found.append(music.listener())
  if request.clap:
    from stemphonic_jax.evaluation.judges import clap

    found.append(networks.clap(clap.open_judge(request.clap)))
  return found


def _measured(
  request: argparse.Namespace, options: "Options", listeners: Sequence["Listener"]
) -> "Measured":
  from stemphonic_jax.evaluation.tables import (
    accompanying,
    compared,
    continuing,
    editing,
    embeddings,
    paper,
    prompts,
    repairing,
    systems,
  )
  from stemphonic_jax.weights.hub import find_model

  if request.models:
    return paper.table(request.table, request.models, request.out, options, listeners)
  if request.embeddings:
    return embeddings.measure(*request.embeddings, request.out, options, request.fad)
  if request.systems:
    found = [find_model(str(place)) for place in request.systems]
    return compared.measure(found, request.out, options, listeners)
  if request.songs_from:
    return systems.measure(request.songs_from, request.out, options, listeners, request.songs)
  model = find_model(request.model)
  of_one = {"musicgen-stem": editing, "repairs": repairing, "continuation": continuing}
  if request.table in of_one:
    return of_one[request.table].measure(model, request.out, options)
  if request.table == "prompts":
    return prompts.measure(model, request.out, options, request.prompts)
  if request.table == "stemgen":
    return accompanying.measure(model, request.out, options, listeners)
  return paper.one_model(model, request.out, options, request.accompany, listeners)

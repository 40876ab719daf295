"""The door for people who make music.

stemphonic generate "…" --stems drums,basses                   songs
stemphonic prepare SOURCE ROOT OUT --model DIR                 stems on disk, to train on
stemphonic bundle import | export | verify | show | convert    models as folders
stemphonic checkpoint verify DIR                               are a run's checkpoints whole?
stemphonic evaluate --table N | --model DIR                    the paper's tables, measured
stemphonic bench                                               what this machine does with them
"""

import argparse
import itertools
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from stemphonic_jax import door
from stemphonic_jax.audio.activity import parse_ranges
from stemphonic_jax.errors import DataError, MissingError, UsageError


def main() -> NoReturn:
  """Entry point of the console script."""
  sys.exit(door.run(lambda: run(sys.argv[1:])))


def run(arguments: list[str]) -> None:
  """Parses the command line and does what it says; raises StemphonicError."""
  request = _parser().parse_args(arguments)
  request.run(request)


class _Parser(argparse.ArgumentParser):
  """Reports a wrong command line like every other error: in one line."""

  def error(self, message: str) -> NoReturn:
    raise UsageError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(prog="stemphonic", description=__doc__, allow_abbrev=False)
  commands = parser.add_subparsers(required=True, metavar="COMMAND")
  _add_generate(commands)
  _add_prepare(commands)
  _add_bundle(commands)
  _add_checkpoint(commands)
  _add_evaluate(commands)
  _add_bench(commands)
  return parser


def _add_generate(commands: Any) -> None:
  generate = _command(commands, "generate", _generate, "make synchronised stems from a prompt")
  generate.add_argument("prompt", help="the music, in words; shared by all stems")
  generate.add_argument(
    "--stems", required=True, metavar="A,B,…", help="what to make, as drums,basses,guitars"
  )
  generate.add_argument(
    "--out",
    type=Path,
    metavar="DIR",
    help="folder for the song (DIR/1, … for more); default one in runs, named by the prompt",
  )
  generate.add_argument(
    "--model",
    default="demo",
    metavar="DIR",
    help="a model folder, a workdir, hf://owner/name, or the demo model of the package (default)",
  )
  generate.add_argument("--bpm", type=float, help="tempo, 20 to 400")
  generate.add_argument("--seed", type=int, default=0, help="another seed, another song")
  generate.add_argument("--duration", type=float, metavar="S", help="seconds")
  generate.add_argument(
    "--context", metavar="FILE|DIR", help="audio to play along with: a mix, or a folder of stems"
  )
  generate.add_argument(
    "--activity",
    action="extend",
    nargs="+",
    default=[],
    metavar="STEM=S-S,…",
    help="when a stem plays: drums=0-4",
  )
  generate.add_argument(
    "--passes", default="1", metavar="1|2|K", help="all stems at once, in two passes, one by one"
  )
  generate.add_argument("--variations", type=int, default=1, metavar="V", help="songs to make")
  generate.add_argument("--steps", type=int, metavar="N", help="Euler steps")
  generate.add_argument("--guidance", type=float, metavar="G", help="1 is off")
  generate.add_argument(
    "--own-noise", action="store_true", help="a noise for each stem: unsynchronised, for comparison"
  )
  generate.add_argument("--overwrite", action="store_true", help="replace an existing song")


def _add_prepare(commands: Any) -> None:
  prepare = _command(commands, "prepare", _prepare, "check a data set and encode it for training")
  prepare.add_argument("source", help="folder, mixes, musdb, moisesdb or slakh")
  prepare.add_argument("root", type=Path, help="where it is")
  prepare.add_argument("out", type=Path, help="a folder; a run that was cut off goes on there")
  prepare.add_argument("--model", metavar="DIR", help="whose autoencoder encodes, or hf://…")
  prepare.add_argument("--check-only", action="store_true", help="write the report, encode nothing")
  prepare.add_argument(
    "--captions", type=Path, metavar="FILE", help="a JSON object with id and caption on each line"
  )
  prepare.add_argument("--no-tempo", action="store_true", help="do not estimate what is not stated")
  prepare.add_argument(
    "--held-out", type=_count, default=64, metavar="N", help="mixes to measure on, at most a tenth"
  )
  prepare.add_argument(
    "--max-bad", type=float, default=0.01, metavar="SHARE", help="of unusable mixes, to go on with"
  )
  prepare.add_argument(
    "--evaluate", action="store_true", help="all of it to measure on, as in the paper"
  )
  prepare.add_argument("--submixes", type=int, default=56, metavar="N", help="stored of a segment")
  prepare.add_argument(
    "--submix", choices=("cached", "online"), default="cached",
    help="encoded here, or by the trainer from stored waveforms",
  )  # fmt: skip
  prepare.add_argument(
    "--posterior", choices=("mean", "sample"), default="mean",
    help="train on means, or on draws around them, for which deviations are stored",
  )  # fmt: skip
  prepare.add_argument("--whole-mixes", action="store_true", help="the mix itself is the only stem")
  prepare.add_argument("--shard", type=_count, default=8, metavar="N", help="mixes to a file")
  prepare.add_argument("--processes", type=int, default=0, metavar="N", help="default one per core")
  prepare.add_argument("--host", default="0/1", metavar="I/N", help="this one of several hosts")
  prepare.add_argument("--seed", type=int, default=0)


def _add_bundle(commands: Any) -> None:
  bundle = commands.add_parser("bundle", allow_abbrev=False, help="models as folders")
  actions = bundle.add_subparsers(required=True, metavar="ACTION")

  export = _command(actions, "export", _export, "copy a checked model, to pass on")
  export.add_argument("model", help="a training's workdir, a model folder, demo or hf://owner/name")
  export.add_argument("out", type=Path, help="a new folder")
  export.add_argument("--licence", help="instead of the one it has")
  export.add_argument("--source", help="note of who made it, from what")
  export.add_argument(
    "--decoder", type=Path, metavar="DIR", help="workdir that fine-tuned the decoder, to have that"
  )
  export.add_argument("--half", action="store_true", help="weights of 16 bits: half the size")

  imported = _command(actions, "import", _import, "make a model of public weights")
  imported.add_argument("kind", choices=["stable-audio"], help="whose weights")
  imported.add_argument("folder", type=Path, help="as downloaded, in either public layout")
  imported.add_argument("out", type=Path, help="a new folder")
  imported.add_argument(
    "--text-encoder", type=Path, metavar="DIR", help="T5 folder, where the download has none"
  )

  verify = _command(actions, "verify", _verify, "check every file and tensor of a model")
  verify.add_argument("model", help="folder, or hf://owner/name")
  show = _command(actions, "show", _show, "say what a model is")
  show.add_argument("model", help="folder, or hf://owner/name")

  convert = _command(actions, "convert", _convert, "a PyTorch checkpoint to safetensors")
  convert.add_argument("checkpoint", type=Path, help="a .ckpt, .pt, .pth or .bin file")
  convert.add_argument("out", type=Path, help="a new .safetensors file")
  convert.add_argument("--trust", action="store_true", help="you know where the file comes from")


def _add_checkpoint(commands: Any) -> None:
  checkpoint = commands.add_parser("checkpoint", allow_abbrev=False, help="trainings under way")
  actions = checkpoint.add_subparsers(required=True, metavar="ACTION")
  verify = _command(actions, "verify", _verify_checkpoint, "compare every bit with what was saved")
  verify.add_argument("folder", type=Path, metavar="DIR", help="workdir, or a checkpoints folder")


def _add_evaluate(commands: Any) -> None:
  evaluate = _command(commands, "evaluate", _evaluate, "measure models without other models")
  what = evaluate.add_mutually_exclusive_group(required=True)
  what.add_argument("--table", type=_count, metavar="1|2|3", help="of the paper, on --models")
  what.add_argument("--model", metavar="DIR", help="one model beside real pieces; or hf://…")
  evaluate.add_argument(
    "--models", type=Path, metavar="DIR", help="folder with a_0, a_1, … b_0, … c_0, … act_0, …"
  )
  evaluate.add_argument("--out", type=Path, default=Path("runs/evaluation"), metavar="DIR")
  evaluate.add_argument("--songs", type=_count, default=60, metavar="N", help="default 60")
  evaluate.add_argument(
    "--reference", type=_count, metavar="N", help="other real pieces to compare with; default 150"
  )
  evaluate.add_argument("--seconds", type=float, metavar="S", help="of a song; default all it can")
  evaluate.add_argument("--seed", type=int, default=0, help="of pieces, and of noise")
  evaluate.add_argument("--source", default="demo", help="of prompts: demo, musdb, moisesdb, …")
  evaluate.add_argument("--root", metavar="DIR", help="where the source is")
  evaluate.add_argument(
    "--held-out", type=_count, metavar="N", help="mixes, as in the training; default 64"
  )
  evaluate.add_argument("--captions", metavar="FILE", help="of the source, as in the training")
  evaluate.add_argument(
    "--accompany", action="store_true", help="measure --model on playing along with given stems too"
  )
  evaluate.add_argument("--report", action="store_true", help="write a page to listen to as well")


def _add_bench(commands: Any) -> None:
  bench = _command(commands, "bench", _bench, "measure this machine")
  bench.add_argument(
    "what",
    nargs="?",
    choices=["generation", "sampler", "train", "vae", "data"],
    help="requests to a model, passes of 1 to 6 stems, a training step part by part, the"
    " autoencoders, or the data path; without it, what --peer names",
  )
  bench.add_argument("--peer", choices=["torch"], help="compare with PyTorch on equal weights")
  bench.add_argument(
    "--model", metavar="DIR", help="of generation; of vae, to measure what it gives back"
  )
  bench.add_argument("--full", action="store_true", help="the transformer of configs/c_ii.py")
  bench.add_argument("--repeats", type=_count, metavar="N", help="default 5; not of data")


def _command(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
  parser = commands.add_parser(name, allow_abbrev=False, help=summary, description=summary)
  parser.set_defaults(run=run)
  return parser


def _generate(request: argparse.Namespace) -> None:
  """Makes the songs of one request and says where they are."""
  from stemphonic_jax.generation.request import MAX_VARIATIONS
  from stemphonic_jax.generation.song import check_output

  count = request.variations
  numbers = range(1, min(count, MAX_VARIATIONS) + 1)  # asking for more is refused below
  out = request.out or _named_folder(request.prompt, request.overwrite)
  folders = [out] if count == 1 else [out / str(number) for number in numbers]
  for folder in folders:
    check_output(folder, request.overwrite)
  options = dict(
    count=count,
    bpm=request.bpm,
    seed=request.seed,
    context=request.context,
    activity=_activity(request.activity),
    duration=request.duration,
    passes=_passes(request.passes),
    steps=request.steps,
    guidance=request.guidance,
    share_noise=False if request.own_noise else None,
  )
  stems = [word.strip() for word in request.stems.split(",") if word.strip()]

  door.set_up()
  from stemphonic_jax.generation.pipeline import StemPipeline

  songs = StemPipeline.load(request.model).variations(request.prompt, stems, **options)
  for song, folder in zip(songs, folders, strict=True):
    song.save(folder, request.overwrite)
    print(folder)


def _named_folder(prompt: str, overwrite: bool) -> Path:
  """In runs, by the first words of a prompt; a number tells it from one that is to be left."""
  name = re.sub(r"\W+", "-", prompt.lower())[:40].strip("-") or "song"
  names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
  folders = (Path("runs", name) for name in names)
  return next(folder for folder in folders if overwrite or not folder.exists())


def _prepare(request: argparse.Namespace) -> None:
  from stemphonic_jax.data.sources.catalogue import scan

  host, hosts = _host(request.host)
  if not request.model and not request.check_only:
    raise UsageError("prepare: name a model that encodes (--model DIR), or add --check-only")
  door.set_up()
  from stemphonic_jax.training.inputs import prepare
  from stemphonic_jax.weights.bundle import load_bundle
  from stemphonic_jax.weights.hub import find_model

  model = load_bundle(find_model(request.model)) if request.model else None
  prepare.prepare_set(
    model,
    scan(request.source, request.root),
    request.out,
    encode=not request.check_only,
    captions=request.captions,
    estimate_tempo=not request.no_tempo,
    held_out=request.held_out,
    max_bad=request.max_bad,
    evaluate=request.evaluate,
    submixes=request.submixes,
    submix=request.submix,
    posterior=request.posterior,
    whole_mixes=request.whole_mixes,
    shard=request.shard,
    processes=request.processes,
    host=host,
    hosts=hosts,
    seed=request.seed,
  )
  print(request.out)


def _host(word: str) -> tuple[int, int]:
  number, _, count = word.partition("/")
  if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
    raise UsageError(f"host {word!r}: expected I/N with I from 0 to N - 1, as in 0/4")
  return int(number), int(count)


def _count(word: str) -> int:
  """A whole number from 1 on, for argparse."""
  if not word.isdecimal() or not int(word):
    raise argparse.ArgumentTypeError(f"got {word!r}, expected a whole number from 1 on")
  return int(word)


def _export(request: argparse.Namespace) -> None:
  from stemphonic_jax.weights.bundle import export_bundle
  from stemphonic_jax.weights.hub import find_model

  notes = {name: getattr(request, name) for name in ("licence", "source")}
  given = {name: note for name, note in notes.items() if note is not None}
  options = dict(half=request.half, decoder=request.decoder)
  export_bundle(find_model(request.model), request.out, **options, **given)
  print(request.out)


def _import(request: argparse.Namespace) -> None:
  from stemphonic_jax.weights.stable_audio import import_stable_audio

  import_stable_audio(request.folder, request.out, request.text_encoder)
  print(request.out)


def _verify(request: argparse.Namespace) -> None:
  from stemphonic_jax.weights.bundle import load_bundle
  from stemphonic_jax.weights.hub import find_model

  bundle = load_bundle(find_model(request.model))
  print(f"{bundle.directory}: whole, fingerprint {bundle.fingerprint}")


def _show(request: argparse.Namespace) -> None:
  from stemphonic_jax.weights.bundle import describe, load_bundle
  from stemphonic_jax.weights.hub import find_model

  print(describe(load_bundle(find_model(request.model))))


def _convert(request: argparse.Namespace) -> None:
  from stemphonic_jax.weights.checkpoint import convert_checkpoint

  convert_checkpoint(request.checkpoint, request.out, request.trust)
  print(request.out)


def _verify_checkpoint(request: argparse.Namespace) -> None:
  """Says of each checkpoint whether it is whole; DataError where one is not."""
  from stemphonic_jax.training.run.checkpoints import verify

  folders = sorted(request.folder.glob("*/checkpoints")) or [request.folder]
  found, damaged = {folder: verify(folder) for folder in folders}, []
  if not any(found.values()):
    raise MissingError(f"{request.folder}: holds no checkpoint; name the workdir of a run")
  for folder, steps in found.items():
    for step, findings in steps.items():
      print(f"{folder / str(step)}: {'; '.join(findings) or 'whole'}")
      damaged += [str(folder / str(step))] if findings else []
  if damaged:
    raise DataError(
      f"damaged: {', '.join(damaged)}; training goes on from the newest whole one by itself"
    )


def _evaluate(request: argparse.Namespace) -> None:
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
  from stemphonic_jax.evaluation import report, sheet, songs, tables
  from stemphonic_jax.weights.hub import find_model

  options = tables.Options(
    request.songs,
    request.reference or tables.REFERENCE,
    request.seconds,
    request.seed,
    request.source,
    request.root or "",
    request.held_out or songs.HELD_OUT,
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


def _bench(request: argparse.Namespace) -> None:
  """Runs one benchmark, which prints its table."""
  from stemphonic_jax import bench

  if request.peer and request.what:
    raise UsageError(f"--peer {request.peer} has a table of its own; leave out {request.what!r}")
  if request.model and request.what not in ("generation", "vae"):
    raise UsageError("--model is an option of `stemphonic bench generation` and `vae`")
  if request.full and request.what not in ("generation", "sampler", "train"):
    raise UsageError("--full is an option of `stemphonic bench generation`, `sampler` and `train`")
  if request.repeats and request.what == "data":
    raise UsageError("bench data: takes no --repeats")
  repeats = request.repeats or 5
  if request.what == "generation":
    bench.generation.run(request.model or "demo", request.full, repeats)
  elif request.what == "sampler":
    bench.sampler.run(request.full, repeats)
  elif request.what == "train":
    bench.train.run(request.full, repeats)
  elif request.what == "vae" and request.model:
    bench.reconstruction.run(request.model, repeats=repeats)
  elif request.what == "vae":
    bench.vae.run(repeats=repeats)
  elif request.what == "data":
    bench.data.run()
  elif request.peer:
    bench.peer.run(repeats)
  else:
    raise UsageError(
      "bench: name what to measure: generation, sampler, train, vae, data, or --peer torch"
    )


def _activity(words: list[str]) -> dict[str, Any]:
  activity: dict[str, Any] = {}
  for word in words:
    name, equals, ranges = word.partition("=")
    if not equals:
      raise UsageError(f"activity {word!r}: expected STEM=START-END, as in drums=0-8,16-32")
    activity.setdefault(name, []).extend(parse_ranges(ranges))
  return activity


def _passes(word: str) -> int | str:
  if word.upper() == "K":
    return "K"
  try:
    return int(word)
  except ValueError:
    raise UsageError(f"passes: got {word!r}, expected a number, or K for one by one") from None

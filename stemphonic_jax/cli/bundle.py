"""`stemphonic bundle`: models as folders, made, checked and passed on."""

import argparse
from pathlib import Path
from typing import Any

from stemphonic_jax import door
from stemphonic_jax.cli.arguments import command, group, path, place


def add(commands: Any) -> None:
  """Adds the command and its arguments to argparse's subparsers."""
  actions = group(commands, "bundle", "models as folders")

  export = command(actions, "export", _export, "copy a checked model, to pass on")
  export.add_argument(
    "model", type=place, help="a training's workdir, a model folder, demo or hf://owner/name"
  )
  export.add_argument("out", type=path, help="a new folder")
  export.add_argument("--licence", help="instead of the one it has")
  export.add_argument("--source", help="note of who made it, from what")
  export.add_argument(
    "--decoder",
    type=path,
    metavar="DIR",
    help="workdir that trained its decoder or envelope",
  )
  export.add_argument(
    "--average",
    type=place,
    metavar="DIR",
    help="model that its training began with: half of both",
  )
  export.add_argument("--half", action="store_true", help="weights of 16 bits: half the size")

  imported = command(actions, "import", _import, "make a model of public weights")
  imported.add_argument("kind", choices=["stable-audio", "musicgen-stem"], help="whose weights")
  imported.add_argument("folder", type=path, help="as downloaded, in either public layout")
  imported.add_argument("out", type=path, help="a new folder")
  imported.add_argument(
    "--text-encoder", type=path, metavar="DIR", help="T5 folder, where the download has none"
  )

  verify = command(actions, "verify", _verify, "check every file and tensor of a model")
  verify.add_argument("model", type=place, help="folder, or hf://owner/name")
  show = command(actions, "show", _show, "say what a model is")
  show.add_argument("model", type=place, help="folder, or hf://owner/name")

  convert = command(actions, "convert", _convert, "a PyTorch checkpoint to safetensors")
  convert.add_argument("checkpoint", type=path, help="a .ckpt, .pt, .pth or .bin file")
  convert.add_argument("out", type=path, help="a new .safetensors file")


def _found(name: str) -> Path:
  """The folder of a model, whose config is one; asked before jax is loaded, which takes longer."""
  from stemphonic_jax.weights.hub import find_model
  from stemphonic_jax.weights.signed import read_config

  folder = find_model(name)
  read_config(folder)
  return folder


def _export(request: argparse.Namespace) -> None:
  model = _found(request.model)
  average = _found(request.average) if request.average else None
  from stemphonic_jax.weights.models import export_model

  notes = {name: getattr(request, name) for name in ("licence", "source")}
  given = {name: note for name, note in notes.items() if note is not None}
  options = dict(half=request.half, decoder=request.decoder, average=average)
  export_model(model, request.out, **options, **given)
  print(request.out)


def _import(request: argparse.Namespace) -> None:
  from stemphonic_jax.weights.musicgen_stem import import_musicgen_stem
  from stemphonic_jax.weights.stable_audio import import_stable_audio

  door.set_up()
  read = {"stable-audio": import_stable_audio, "musicgen-stem": import_musicgen_stem}
  read[request.kind](request.folder, request.out, request.text_encoder)
  print(request.out)


def _verify(request: argparse.Namespace) -> None:
  model = _found(request.model)
  from stemphonic_jax.weights.models import open_model

  bundle = open_model(model)
  print(f"{bundle.directory}: whole, fingerprint {bundle.fingerprint}")


def _show(request: argparse.Namespace) -> None:
  model = _found(request.model)
  from stemphonic_jax.weights.models import describe, open_model

  print(describe(open_model(model)))


def _convert(request: argparse.Namespace) -> None:
  from stemphonic_jax.weights.checkpoint import convert_checkpoint

  door.set_up()
  convert_checkpoint(request.checkpoint, request.out)
  print(request.out)

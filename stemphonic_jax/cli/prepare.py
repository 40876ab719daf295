"""`stemphonic prepare`: a data set on disk, checked and encoded."""

import argparse
from typing import Any

from stemphonic_jax import door
from stemphonic_jax.audio.lengths import LONGEST
from stemphonic_jax.cli.arguments import command, count, number, path, place, seed, whole
from stemphonic_jax.errors import UsageError


def add(commands: Any) -> None:
  """Adds the command and its arguments to argparse's subparsers."""
  prepare = command(commands, "prepare", run, "check a data set and encode it for training")
  prepare.add_argument("source", help="folder, mixes, musdb, moisesdb or slakh")
  prepare.add_argument("root", type=path, help="where it is")
  prepare.add_argument("out", type=path, help="a folder; a run that was cut off goes on there")
  prepare.add_argument(
    "--model", type=place, metavar="DIR", help="whose autoencoder encodes, or hf://…"
  )
  prepare.add_argument("--check-only", action="store_true", help="write the report, encode nothing")
  prepare.add_argument(
    "--captions", type=path, metavar="FILE", help="a JSON object with id and caption on each line"
  )
  prepare.add_argument("--no-tempo", action="store_true", help="do not estimate what is not stated")
  prepare.add_argument(
    "--held-out", type=whole(0), default=64, metavar="N",
    help="mixes to measure on, at most a tenth but one at least; with 0 all are trained on",
  )  # fmt: skip
  prepare.add_argument(
    "--max-bad", type=number(0, 1), default=0.01, metavar="SHARE",
    help="of unusable mixes, to go on with",
  )  # fmt: skip
  prepare.add_argument(
    "--tolerance", type=number(0, LONGEST), default=1.0, metavar="S",
    help="by which stems of one mix may end apart; the shorter are padded",
  )  # fmt: skip
  prepare.add_argument(
    "--evaluate", action="store_true", help="all of it to measure on, as in the paper"
  )
  prepare.add_argument(
    "--submixes", type=whole(0), default=56, metavar="N", help="stored of a segment"
  )
  prepare.add_argument(
    "--submix", choices=("cached", "online"), default="cached",
    help="encoded here, or by the trainer from stored waveforms",
  )  # fmt: skip
  prepare.add_argument(
    "--posterior", choices=("mean", "sample"), default="mean",
    help="train on means, or on draws around them, for which deviations are stored",
  )  # fmt: skip
  prepare.add_argument("--whole-mixes", action="store_true", help="the mix itself is the only stem")
  prepare.add_argument("--shard", type=count, default=8, metavar="N", help="mixes to a file")
  prepare.add_argument(
    "--processes", type=whole(0, 1024), default=0, metavar="N", help="default one per core"
  )
  prepare.add_argument("--host", default="0/1", metavar="I/N", help="this one of several hosts")
  prepare.add_argument("--seed", type=seed, default=0)


def run(request: argparse.Namespace) -> None:
  """Does what the command says; raises StemphonicError."""
  from stemphonic_jax.data.preparing.captions import read_captions
  from stemphonic_jax.data.sources.catalogue import check_source, scan
  from stemphonic_jax.weights.hub import find_model
  from stemphonic_jax.weights.known import read_known
  from stemphonic_jax.weights.signed import check_stemphonic, find_bundle, read_config

  host, hosts = _host(request.host)
  check_source(request.source)
  if not request.model and not request.check_only:
    raise UsageError("prepare: name a model that encodes (--model DIR), or add --check-only")
  door.set_up()
  if request.captions:
    read_captions(request.captions)
  folder = find_model(request.model) if request.model else None
  if folder:
    instead = "others prepare in their own training (--mode=prepare)"
    check_stemphonic(folder, read_config(find_bundle(folder)), "this command", instead)
    read_known(folder)
  catalogue = scan(request.source, request.root)

  from stemphonic_jax.training.inputs import prepare  # with jax, when all is well
  from stemphonic_jax.weights.bundle import load_bundle

  prepare.prepare_set(
    load_bundle(folder) if folder else None,
    catalogue,
    request.out,
    encode=not request.check_only,
    captions=request.captions,
    estimate_tempo=not request.no_tempo,
    tolerance=request.tolerance,
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
  digits = number.isdecimal() and count.isdecimal() and len(word) < 20
  if not (digits and int(number) < int(count)):
    raise UsageError(f"host {word[:40]!r}: expected I/N with I from 0 to N - 1, as in 0/4")
  return int(number), int(count)

"""`stemphonic bench`: what this machine does with models."""

import argparse
from typing import Any

from stemphonic_jax.cli.arguments import command, count, place
from stemphonic_jax.errors import UsageError


def add(commands: Any) -> None:
  """Adds the command and its arguments to argparse's subparsers."""
  bench = command(commands, "bench", run, "measure this machine")
  bench.add_argument(
    "what",
    nargs="?",
    choices=["generation", "sampler", "train", "vae", "data", "evaluate"],
    help="requests to a model, passes of 1 to 6 stems, a training step part by part, the"
    " autoencoders, the data path, or networks that hear beside PyTorch's; without it, what --peer"
    " names",
  )
  bench.add_argument("--peer", choices=["torch"], help="compare with PyTorch on equal weights")
  bench.add_argument(
    "--model",
    type=place,
    metavar="DIR",
    help="of generation; of vae, to measure what it gives back",
  )
  bench.add_argument("--full", action="store_true", help="the transformer of configs/c_ii.py")
  bench.add_argument("--repeats", type=count, metavar="N", help="default 5; not of data")


def run(request: argparse.Namespace) -> None:
  """Runs one benchmark, which prints its table."""
  if request.peer and request.what:
    raise UsageError(f"--peer {request.peer} has a table of its own; leave out {request.what!r}")
  if request.model and request.what not in ("generation", "vae"):
    raise UsageError("--model is an option of `stemphonic bench generation` and `vae`")
  if request.full and request.what not in ("generation", "sampler", "train"):
    raise UsageError("--full is an option of `stemphonic bench generation`, `sampler` and `train`")
  if request.repeats and request.what == "data":
    raise UsageError("bench data: takes no --repeats")
  if not request.what and not request.peer:
    raise UsageError(
      "bench: name what to measure: generation, sampler, train, vae, data, evaluate, or --peer"
      " torch"
    )
  from stemphonic_jax import bench  # with jax

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
  elif request.what == "evaluate":
    bench.evaluate.run(repeats)
  else:
    bench.peer.run(repeats)

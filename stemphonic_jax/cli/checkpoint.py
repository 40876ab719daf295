"""`stemphonic checkpoint`: what trainings under way have saved."""

import argparse
from typing import Any

from stemphonic_jax.cli.arguments import command, group, path
from stemphonic_jax.errors import DataError, MissingError


def add(commands: Any) -> None:
  """Adds the command and its arguments to argparse's subparsers."""
  actions = group(commands, "checkpoint", "trainings under way")
  verify = command(actions, "verify", _verify, "compare every bit with what was saved")
  verify.add_argument("folder", type=path, metavar="DIR", help="workdir, or a checkpoints folder")


def _verify(request: argparse.Namespace) -> None:
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

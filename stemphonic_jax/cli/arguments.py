"""What the commands' arguments share: a parser whose errors are one line, and types of values."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from stemphonic_jax.errors import UsageError


class Parser(argparse.ArgumentParser):
  """Reports a wrong command line like every other error: in one line."""

  def error(self, message: str) -> NoReturn:
    raise UsageError(f"{message}; see `{self.prog} --help`")


def command(
  commands: Any, name: str, run: Callable[[argparse.Namespace], None], summary: str
) -> argparse.ArgumentParser:
  """Adds a command to `commands`, argparse's subparsers; the arguments it gets are for `run`."""
  parser = commands.add_parser(name, allow_abbrev=False, help=summary, description=summary)
  parser.set_defaults(run=run)
  return parser


def group(commands: Any, name: str, summary: str) -> Any:
  """Adds a command that only has commands of its own, which are added to what is returned."""
  parser = commands.add_parser(name, allow_abbrev=False, help=summary, description=summary)
  return parser.add_subparsers(required=True, metavar="ACTION")


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
  """A type of argument: a whole number from `low` on or, with `high`, up to that."""

  def parse(word: str) -> int:
    try:
      value = int(word)
    except ValueError:
      value = None
    if value is None or value < low or (high is not None and value > high):
      upto = "on" if high is None else f"to {high}"
      raise argparse.ArgumentTypeError(
        f"got {word[:40]!r}, expected a whole number from {low} {upto}"
      )
    return value

  return parse


def number(low: float, high: float) -> Callable[[str], float]:
  """A type of argument: a number from `low` to `high`."""

  def parse(word: str) -> float:
    try:
      value = float(word)
    except ValueError:
      value = math.nan
    if not low <= value <= high:  # nor is NaN
      raise argparse.ArgumentTypeError(
        f"got {word[:40]!r}, expected a number from {low:g} to {high:g}"
      )
    return value

  return parse


def place(word: str) -> str:
  """A type of argument: a path, or the name of a model; "" is an unset variable of a shell."""
  if not word.strip():
    raise argparse.ArgumentTypeError(f"got {word!r}, expected a path; name the folder here as .")
  return word


def path(word: str) -> Path:
  """A type of argument: a path."""
  return Path(place(word))


count = whole(1)
seed = whole(0, 2**32 - 1)

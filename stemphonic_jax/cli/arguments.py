"""What the commands' arguments share: a parser whose errors are one line, and types of values."""

import argparse
from collections.abc import Callable
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


def count(word: str) -> int:
  """A whole number from 1 on, for argparse."""
  if not word.isdecimal() or not int(word):
    raise argparse.ArgumentTypeError(f"got {word!r}, expected a whole number from 1 on")
  return int(word)

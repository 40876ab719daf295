"""What the commands' arguments share: a parser whose errors are one line, and types of values."""

import argparse
import difflib
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from stemphonic_jax.audio.activity import parse_ranges
from stemphonic_jax.errors import UsageError


class Parser(argparse.ArgumentParser):
  """Reports a wrong command line like every other error: in one line, with what was meant."""

  _words: Sequence[str] = ()

  def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
    """As argparse does; what a command does not know is said by it, not by the whole program."""
    self._words = args or ()
    namespace, rest = super().parse_known_args(args, namespace)
    if rest:
      self.error(f"unrecognized arguments: {' '.join(rest)}{_loose(rest)}")
    return namespace, rest

  def error(self, message: str) -> NoReturn:
    if message.startswith(("unrecognized", "the following")):
      message = self._misspelt() or message
    for kind, what in (("float", "a number"), ("int", "a whole number")):
      message = re.sub(f"invalid {kind} value: (.*)", rf"got \1, expected {what}", message)
    stop = "" if message.endswith("?") else ";"
    raise UsageError(f"{message}{stop} see `{self.prog} --help`")

  def _misspelt(self) -> str:
    """The first word that is nearly an option, with that option; "" where none is."""
    known = [option for option in self._option_string_actions if option.startswith("--")]
    for word in self._words:
      name = word.partition("=")[0]
      if re.match("-+[a-z]", name) and " " not in name and name not in self._option_string_actions:
        # Also what is short for one (--dur), which is not understood: it may be of two one day.
        short = [option for option in known if option.startswith("--" + name.lstrip("-"))]
        if near := short or difflib.get_close_matches(name, known, 1, 0.8):
          return f"unknown option {name}; did you mean {near[0]}?"
    return ""


def _loose(rest: Sequence[str]) -> str:
  """What to do about words that are nobody's: most often quotes or commas are missing."""
  if rest[0].startswith("-"):
    return ""
  return "; put text that holds spaces in quotes, and commas between stems, as in drums,basses"


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
  if os.sep == "/" and re.match(r"[A-Za-z]:[\\/]", word):  # it would be a name like any other
    raise argparse.ArgumentTypeError(
      f"got {word!r}, a path of Windows; folders are parted by /, and in WSL C: is /mnt/c"
    )
  return word


def path(word: str) -> Path:
  """A type of argument: a path."""
  return Path(place(word))


count = whole(1)
seed = whole(0, 2**32 - 1)


def model_option(parser: argparse.ArgumentParser) -> None:
  """The model that is to make something."""
  parser.add_argument(
    "--model",
    type=place,
    default="demo",
    metavar="DIR",
    help="a model folder, a workdir, hf://owner/name, or the demo model of the package (default)",
  )


def music_options(parser: argparse.ArgumentParser) -> None:
  """What `generate` and `follow` share: how new music is made, and where it goes."""
  model_option(parser)
  parser.add_argument("--bpm", type=float, help="tempo, 20 to 400")
  parser.add_argument(
    "--metre", metavar="N/N", help="of its bars, as 3/4; default what the prompt says, or 4/4"
  )
  parser.add_argument("--seed", type=int, default=0, help="another seed, other music")
  parser.add_argument(
    "--activity",
    action="extend",
    nargs="+",
    default=[],
    metavar="STEM=S-S,…",
    help="when a stem plays: drums=0-4",
  )
  parser.add_argument("--steps", type=int, metavar="N", help="steps from noise to music")
  parser.add_argument(
    "--guidance", metavar="G", help="1 is off; or by condition, as words=3,context=1.5"
  )
  parser.add_argument("--negative", metavar="TEXT", help="what to lead away from, in words")
  parser.add_argument(
    "--overwrite",
    action="store_true",
    help="replace an existing song, but no other file in its folder",
  )


def words_of(text: str) -> list[str]:
  """What stands between commas, or between semicolons where there are any, as of --stems."""
  parts = text.split(";" if ";" in text else ",")
  return [word.strip() for word in parts if word.strip()]


def activity_of(words: list[str]) -> dict[str, list[tuple[float, float]]]:
  """Ranges of seconds by stem, of words such as drums=0-8,16-32."""
  activity: dict[str, list[tuple[float, float]]] = {}
  for word in words:
    name, equals, ranges = word.partition("=")
    if not equals:
      raise UsageError(f"activity {word!r}: expected STEM=START-END, as in drums=0-8,16-32")
    activity.setdefault(name, []).extend(parse_ranges(ranges))
  return activity


def guidance_of(text: str | None) -> float | dict[str, float] | None:
  """A number, or weights as words=3,context=1.5, where a number by itself is that of the rest."""
  weights: dict[str, float] = {}
  for word in text.split(",") if text is not None else ():
    name, equals, weight = word.rpartition("=")
    name = name.strip() if equals else "rest"
    try:
      value = float(weight)
    except ValueError:
      raise UsageError(
        f"guidance {text[:40]!r}: expected a number, or weights, as in words=3,context=1.5"
      ) from None
    if name in weights:
      raise UsageError(f"guidance {text[:40]!r}: says {name} twice")
    weights[name] = value
  return weights["rest"] if weights.keys() == {"rest"} else weights or None

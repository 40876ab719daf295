"""Errors a user can act on: one line with what, where, got, expected and the next thing to do.

Library code raises these; the two doors (`main.py`, `cli/`) print the line and exit with the
code, which follows sysexits.h: 2, 65, 66, 73, 76 and 78 come back however often a run is started
again, 75 asks for it.
"""

from __future__ import annotations


class StemphonicError(Exception):
  """Base of every error with a one-line message meant for the user."""

  exit_code = 70


class UsageError(StemphonicError):
  """A request, flag or configuration that cannot be served."""

  exit_code = 2


class DataError(StemphonicError):
  """An input file that exists but does not hold what it should."""

  exit_code = 65


class TooLongError(DataError):
  """Audio that lasts longer than it may; whoever reads it may know what to do but cut it."""


class MissingError(StemphonicError):
  """A file or folder that should exist and does not."""

  exit_code = 66


class OutputError(StemphonicError):
  """A place that cannot be written, or that must not be overwritten."""

  exit_code = 73


class PreemptedError(StemphonicError):
  """A run that was told to stop, and has saved where it is; start it again to go on."""

  exit_code = 75


class DivergedError(StemphonicError):
  """A training whose updates are no longer finite, or a model that makes what is no sound."""

  exit_code = 76


class MismatchError(StemphonicError):
  """A model, checkpoint or workdir that belongs to another configuration."""

  exit_code = 78


def first_line(error: Exception) -> str:
  """An error of a library in one short line."""
  return f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"

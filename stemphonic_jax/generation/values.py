"""The values of a request as plain Python, whatever kind of number or text they come as.

Notebooks hand over numpy's and jax's scalars and arrays of one number, which compute like numbers
but are not written to JSON like them. What is none of what is expected is a UsageError.
"""

import numbers
from typing import Any

from stemphonic_jax.errors import UsageError


def text(name: str, value: Any) -> str:
  """A text as str."""
  found = _single(value)
  if not isinstance(found, str):
    raise _wrong(name, value, "a text")
  return str(found)


def number(name: str, value: Any) -> float:
  """A real number as float."""
  found = _single(value)
  if isinstance(found, bool) or not isinstance(found, numbers.Real):
    raise _wrong(name, value, "a number")
  try:
    return float(found)
  except OverflowError:
    raise _wrong(name, value, "a number of ordinary size") from None


def whole(name: str, value: Any) -> int:
  """A whole number as int; 3.0 is one."""
  found = _single(value)
  if isinstance(found, bool) or not isinstance(found, numbers.Real):
    raise _wrong(name, value, "a whole number")
  if not isinstance(found, numbers.Integral) and not number(name, found).is_integer():
    raise _wrong(name, value, "a whole number")
  return int(found)


def flag(name: str, value: Any) -> bool:
  """True or False, or 1 or 0."""
  found = _single(value)
  if not isinstance(found, numbers.Real) or found not in (0, 1):
    raise _wrong(name, value, "True or False")
  return bool(found)


def _single(value: Any) -> Any:
  """What a scalar or an array of one holds."""
  if getattr(value, "size", None) != 1 or not hasattr(value, "item"):
    return value
  try:
    return value.item()
  except (NotImplementedError, TypeError, ValueError):  # jax's keys hold no number, nor tracers
    return value


def _wrong(name: str, value: Any, expected: str) -> UsageError:
  shown = " ".join(repr(value).split())
  shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
  return UsageError(f"{name}: got {shown}, expected {expected}")

"""Counting in programs: products before compilation, and what devices send one another after it.

Both follow loops, whose bodies XLA's own analysis counts once.
"""

import math
import re
from typing import Any

SENDING = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8}
_HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALL = re.compile(
  r"(?:calls|to_apply|body|condition|branch_computations|called_computations)="
  r"(?:%?([\w.\-]+)|\{([^}]*)\})"
)
_SENT = re.compile(rf"= (.*?) ({'|'.join(SENDING)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+)\[([\d,]*)\]")


def product_flops(jaxpr: Any) -> float:
  """FLOPs of all products of a traced program; a loop's as often as it runs."""
  total = 0.0
  for equation in jaxpr.eqns:
    if equation.primitive.name == "dot_general":
      (over, _), _ = equation.params["dimension_numbers"]
      summed = math.prod(equation.invars[0].aval.shape[axis] for axis in over)
      total += 2 * summed * math.prod(equation.outvars[0].aval.shape)
    inside = [product_flops(inner) for inner in _inner(equation.params)]
    if equation.primitive.name == "cond":
      total += max(inside)
    else:
      total += sum(inside) * equation.params.get("length", 1)
  return total


def _inner(params: dict[str, Any]) -> list[Any]:
  """The programs that an equation calls."""
  found = []
  for value in params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      item = getattr(item, "jaxpr", item)
      if hasattr(item, "eqns"):
        found.append(item)
  return found


def collectives(text: str) -> dict[str, tuple[int, float]]:
  """From a compiled program's text: by kind, how many collectives a device takes part in, and the
  bytes of their results on it."""
  bodies, entry = _computations(text)
  times: dict[str, int] = {}

  def visit(name: str, count: int) -> None:
    times[name] = max(times.get(name, 0), count)
    for line in bodies.get(name, ()):
      runs = _trips(bodies, line) if " while(" in line else 1
      for one, several in _CALL.findall(line):
        for called in [one] if one else re.findall(r"[\w.\-]+", several):
          visit(called, count * runs)

  visit(entry, 1)
  # One that goes on beside other work is in several computations, under one channel.
  seen: dict[tuple[str, str], tuple[int, float]] = {}
  for name, count in times.items():
    for i, line in enumerate(bodies.get(name, ())):
      if sent := _SENT.search(line):
        kind, result = sent[2], sent[1]
        if name.startswith("all-reduce-scatter"):  # one operation of a TPU, spelt out here
          kind = "reduce-scatter"
          result = next(row for row in bodies[name] if "ROOT" in row).split("= ")[1].split("(")[0]
        channel = re.search(r"channel_id=(\d+)", line)
        key = (kind, channel[1] if channel else f"{name} {i}")
        # Of what a start returns, its operand and its result, the latter.
        parts = [_size(*array) for array in _ARRAY.findall(result)]
        size = max(parts) if sent[3] else sum(parts)
        seen[key] = max(seen.get(key, (0, 0.0)), (count, size))
  found: dict[str, tuple[int, float]] = {}
  for (kind, _), (count, size) in seen.items():
    many, total = found.get(kind, (0, 0.0))
    found[kind] = many + count, total + count * size
  return found


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
  """The lines of every computation by its name, and the name of the one to begin with."""
  bodies: dict[str, list[str]] = {}
  entry = name = ""
  for line in text.splitlines():
    if head := _HEAD.match(line):
      name = head[1]
      bodies[name] = []
      entry = name if line.startswith("ENTRY") else entry
    elif name:
      bodies[name].append(line)
  return bodies, entry


def _trips(bodies: dict[str, list[str]], line: str) -> int:
  """How often a loop runs: jax's compare a counter from zero with a constant."""
  condition = re.search(r"condition=%?([\w.\-]+)", line)[1]
  limits = re.findall(r"s32\[\]\S* constant\((\d+)\)", "\n".join(bodies.get(condition, ())))
  return max(map(int, limits), default=1)


def _size(kind: str, shape: str) -> float:
  return _BYTES.get(kind, 4) * math.prod(int(n) for n in shape.split(",") if n)

"""How the stems of a song are mixed by ear: gain, pan, mute and solo, kept in its folder.

`mixer.json` beside song.json; a song without one is as it was made.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stemphonic_jax.audio.files import whole_file
from stemphonic_jax.errors import DataError, UsageError
from stemphonic_jax.generation import values

FILE = "mixer.json"
LOWEST, HIGHEST = -60.0, 6.0  # dB


@dataclass(frozen=True)
class Strip:
  """What a mixer does to one stem: gain in dB, pan from −1 (left) to 1, mute, solo."""

  gain: float = 0.0
  pan: float = 0.0
  mute: bool = False
  solo: bool = False


def check_strip(name: str, given: Any) -> Strip:
  """A strip of what somebody sends, as {"gain": -3}; UsageError where it is none."""
  if not isinstance(given, Mapping):
    raise UsageError(f"mixer {name!r}: expected an object, as {{'gain': -3, 'pan': 0}}")
  if unknown := sorted(set(map(str, given)) - set(asdict(Strip()))):
    raise UsageError(f"mixer {name!r}: got {unknown[0][:40]!r}, expected gain, pan, mute or solo")
  gain = values.number(f"mixer {name!r} gain", given.get("gain", 0.0))
  pan = values.number(f"mixer {name!r} pan", given.get("pan", 0.0))
  if not LOWEST <= gain <= HIGHEST:
    raise UsageError(f"mixer {name!r} gain: got {gain:g}, expected {LOWEST:g} to {HIGHEST:g} dB")
  if not -1 <= pan <= 1:
    raise UsageError(f"mixer {name!r} pan: got {pan:g}, expected -1 (left) to 1 (right)")
  flags = (values.flag(f"mixer {name!r} {key}", given.get(key, False)) for key in ("mute", "solo"))
  return Strip(gain, pan, *flags)


def read_mixer(folder: Path) -> dict[str, Strip]:
  """The strips of a song's stems that have one; none where nobody mixed. DataError if damaged."""
  path = folder / FILE
  try:
    given = json.loads(path.read_text(encoding="utf-8"))
    return {name: check_strip(name, strip) for name, strip in given.items()}
  except FileNotFoundError:
    return {}
  except (OSError, ValueError, AttributeError, RecursionError, UsageError) as error:
    raise DataError(f"{path}: is no mixer ({error}); remove it to have all as it was") from None


def save_mixer(folder: Path, strips: Mapping[str, Strip]) -> None:
  """Writes the strips of all stems, whole or not at all; OutputError where it cannot."""
  content = {name: asdict(strip) for name, strip in strips.items()}
  with whole_file(folder / FILE) as partial, partial.open("w", encoding="utf-8") as file:
    file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    file.flush()
    os.fsync(file.fileno())

"""Models of all systems, opened by what their config says they are."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stemphonic_jax.errors import MismatchError
from stemphonic_jax.weights import bundle, code_bundle
from stemphonic_jax.weights.bundle import Bundle
from stemphonic_jax.weights.code_bundle import CodeBundle
from stemphonic_jax.weights.signed import STEMPHONIC, find_bundle, read_config, system_of

Model = Bundle | CodeBundle
OPEN: Mapping[str, Callable[[Path], Model]] = {
  STEMPHONIC: bundle.load_bundle,
  **dict.fromkeys(code_bundle.NETWORKS, code_bundle.load_code_bundle),
}
EXPORT: Mapping[str, Callable[..., Model]] = {
  STEMPHONIC: bundle.export_bundle,
  **dict.fromkeys(code_bundle.NETWORKS, code_bundle.export_code_bundle),
}
SAY: Mapping[str, Callable[[Any], str]] = {
  STEMPHONIC: bundle.describe,
  **dict.fromkeys(code_bundle.NETWORKS, code_bundle.describe),
}


def open_model(directory: Path) -> Model:
  """The model in a folder, or in the workdir of a training, after checking all of it.

  Errors as of `bundle.load_bundle`; MismatchError where nobody here knows its system.
  """
  return OPEN[_system(directory)](directory)


def export_model(model: Path, out: Path, **options: Any) -> Model:
  """Copies a checked model to `out`, as `bundle.export_bundle` does."""
  return EXPORT[_system(model)](model, out, **options)


def describe(model: Model) -> str:
  """What a model is, in a few lines."""
  return SAY[system_of(model.config)](model)


def _system(directory: Path) -> str:
  directory = find_bundle(directory)
  system = system_of(read_config(directory))
  if system not in OPEN:
    raise MismatchError(
      f"{directory}: is a model of {system!r}, expected one of {', '.join(OPEN)}; update"
      f" stemphonic_jax"
    )
  return system

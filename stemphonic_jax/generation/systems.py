"""What makes songs with a model, by the system that it is of.

They have the methods of `pipeline.StemPipeline`; what a system cannot do is refused in one line.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stemphonic_jax.weights.models import open_model
from stemphonic_jax.weights.signed import MUSICGEN_STEM, STEMGEN, STEMPHONIC, system_of

PIPELINES = {
  STEMPHONIC: ("stemphonic_jax.generation.pipeline", "StemPipeline"),
  MUSICGEN_STEM: ("stemphonic_jax.generation.musicgen_stem", "MusicGenStem"),
  STEMGEN: ("stemphonic_jax.generation.stemgen", "StemGenPipeline"),
}


def open_pipeline(folder: Path) -> Any:
  """The model in a folder, ready to be asked for songs; errors as of `open_model`."""
  return pipeline_of(open_model(folder))


def pipeline_of(model: Any, *arguments: Any) -> Any:
  """What makes songs with a model that is open."""
  return pipeline_class(model.config)(model, *arguments)


def pipeline_class(config: Mapping[str, Any]) -> Any:
  """The class of what makes songs with models that have such a config."""
  module, name = PIPELINES[system_of(config)]
  return getattr(importlib.import_module(module), name)

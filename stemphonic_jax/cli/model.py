"""The model of a command: what is known of it at once, and all of it when a request is checked."""

from collections.abc import Callable
from typing import Any


def known(name: str) -> tuple[Any, Callable[[], Any]]:
  """What a request to a model is checked by, and what loads the pipeline, with jax, after that.

  It is the pipeline itself where its system checks requests in its own way.
  """
  from stemphonic_jax.weights.hub import find_model
  from stemphonic_jax.weights.known import read_known

  folder = find_model(name)

  def load() -> Any:
    from stemphonic_jax.generation.pipeline import StemPipeline

    return StemPipeline.load(folder)

  if found := read_known(folder):
    return found, load
  pipe = load()
  return pipe, lambda: pipe

"""What systems that generate codes have in common."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from stemphonic_jax.errors import UsageError
from stemphonic_jax.systems import numbers
from stemphonic_jax.training.inputs import codes
from stemphonic_jax.training.inputs.corpora import check_set
from stemphonic_jax.training.inputs.start import check_start, start_codes


def check_places(config: ConfigDict, workdir: Path, stages: Sequence[str]) -> None:
  """Errors for codecs, records or a model that a config names and a new run could not use."""
  from stemphonic_jax.training.trainers.coded import check_codecs

  if "train" in stages:
    check_start(config)
  codecs = codes.codecs_at_hand(config, workdir)
  codes.check_records(config, codecs)
  if "train" in stages:
    check_codecs(start_codes(config), codecs)
  if not config.data.records:
    check_set(config)
  if "train" in stages:
    numbers.check_rows(config)


def compile_for(config: ConfigDict, topology: str) -> str:
  """UsageError: only a diffusion transformer is compiled for a machine that is not there."""
  raise UsageError(
    f"--mode=compile: is for configs of the system stemphonic, and this is {config.system};"
    f" --mode=describe says what a step takes"
  )

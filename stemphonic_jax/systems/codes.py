"""What systems that generate codes have in common."""

from ml_collections import ConfigDict

from stemphonic_jax.errors import UsageError


def compile_for(config: ConfigDict, topology: str) -> str:
  """UsageError: only a diffusion transformer is compiled for a machine that is not there."""
  raise UsageError(
    f"--mode=compile: is for configs of the system stemphonic, and this is {config.system};"
    f" --mode=describe says what a step takes"
  )

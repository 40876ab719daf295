"""What is found wrong with a config before its first stage, instead of after days of others."""

import json
from fnmatch import fnmatch

from ml_collections import ConfigDict

from stemphonic_jax.data.sources import demo
from stemphonic_jax.errors import UsageError
from stemphonic_jax.generation.guided import check_guidance
from stemphonic_jax.generation.limits import MAX_STEPS
from stemphonic_jax.training.distributed import mesh
from stemphonic_jax.training.run import shares
from stemphonic_jax.training.run.identity import flat
from stemphonic_jax.training.run.optimizer import build_optimizer
from stemphonic_jax.weights import config_json
from stemphonic_jax.weights.signed import check_sampler

# Numbers of which there is no zero.
COUNTS = ("sample_rate", "*.width", "*.depth", "*.heads", "*.length", "*.batch_size")
COUNTS += ("*.micro_batches", "*.latent", "*.levels", "*.entries")
OF_TEXT = {"t5": ("path",), "learned": ("vocabulary", "depth", "heads")}  # what an encoder needs


def check(config: ConfigDict) -> None:
  """UsageError for numbers that no stage of any system can use."""
  for name, value in flat(json.loads(config.to_json())).items():
    if value == 0 and any(fnmatch(name, count) for count in COUNTS):
      raise UsageError(f"{name}: got {value}, expected more")
  shares.check(config)
  if config.data.source == "demo":
    demo.Edition(config.data.corpus, share=config.data.soundfont_share)
  if "text" in config:
    _check_text(config.text)
  check_guidance(config.sample.guidance, None)
  steps = config.sample.get("steps", 1)
  if steps > MAX_STEPS:
    raise UsageError(f"sample.steps: got {steps}, expected at most {MAX_STEPS}")
  _check_optimizers(config)
  try:
    check_sampler(config)
    config_json.check_run(json.loads(config.to_json()))
  except ValueError as error:
    raise UsageError(str(error)) from None


def check_rows(config: ConfigDict) -> None:
  """UsageError where a batch of the training does not divide over the devices of this machine."""
  c, devices = config.train, mesh.make_mesh(**config.mesh)
  mesh.check_rows(devices, c.batch_size, c.micro_batches, config.data.get("block") or 1)


def _check_optimizers(config: ConfigDict) -> None:
  """UsageError for an optimiser that is none; what is fitted without a gradient has none."""
  for name in ("train", "train_vae"):
    if "optimizer" in config[name]:
      try:
        build_optimizer(config[name])
      except UsageError as error:
        raise UsageError(f"{name}.{error}") from None


def _check_text(text: ConfigDict) -> None:
  """UsageError for a text encoder that is none, or that another size of the config has."""
  if text.encoder not in OF_TEXT:
    raise UsageError(f"text.encoder: got {text.encoder!r}, expected {' or '.join(OF_TEXT)}")
  if missing := [name for name in OF_TEXT[text.encoder] if name not in text]:
    other = "without" if text.encoder == "t5" else "with"
    raise UsageError(
      f"text.encoder: got {text.encoder!r}, for which there is no text.{missing[0]}; take the"
      f" config {other} :small or :tiny"
    )

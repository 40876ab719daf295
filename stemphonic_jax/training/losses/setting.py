"""The loss that a config asks for."""

from ml_collections import ConfigDict

from stemphonic_jax.errors import UsageError
from stemphonic_jax.models.dit import DiT
from stemphonic_jax.training.losses.distilled import check_steps, distilled_loss
from stemphonic_jax.training.losses.velocity import velocity_loss
from stemphonic_jax.training.run import shares, state


def check(config: ConfigDict) -> None:
  """UsageError for numbers that no transformer can be trained with."""
  d = config.data
  if config.dit.ensemble and not (d.block and d.group_stems):
    raise UsageError(
      f"dit.ensemble: got data.block={d.block}, data.group_stems={d.group_stems}; stems that hear"
      f" each other are grouped, within blocks of rows"
    )
  shares.check(config)
  if not config.distil.to:
    return
  if not config.init_from:
    raise UsageError("distil.to: there is no teacher; name a model, --config.init_from=DIR")
  try:
    check_steps(config.distil.to, config.distil.of, config.distil.interval)
  except ValueError as error:
    raise UsageError(f"distil: {error}") from None


def loss_of(config: ConfigDict, dit: DiT) -> state.Loss:
  """The loss of a diffusion transformer by the numbers of a config."""
  if config.distil.to:
    options = dict(dropout=config.dropout.to_dict(), seconds=config.seconds)
    return distilled_loss(dit, **config.distil, **options, share=config.sample.noise_share)
  return velocity_loss(
    dit,
    dropout=config.dropout.to_dict(),
    time_mean=config.timestep.mean,
    time_std=config.timestep.std,
    seconds=config.seconds,
    # Of a network whose rows never meet, the vector `group` says it.
    share=float(config.data.share_noise) if dit.ensemble else 1.0,
  )
